//! Checks the cache against a model with random schedules.
//!
//! A schedule mixes reads, fetches, writes, resets, mode changes and faults of the shard. A key's value on the shard is a
//! version number that each write increments. A fetch calls the shard at some moment and ends later. A write increments
//! the version and later invalidates the cache. Calls pass the shard's breaker and its budget of retries, so they may
//! fail at once, or be repeated.
//!
//! Checked properties:
//!
//! - A read that begins after a write has ended never sees an older version. This includes copies that are refreshed
//!   early and copies that are served past their time to live.
//! - There is no second fetch while a read could still join the first.
//! - The mode `hot_only` stores hot keys only.
//! - All readers of a fetch get its result, also if that is an error. Nothing of a failed fetch is stored.
//! - An error is remembered only if the negative cache is on, until the next write of the key ends.

use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{Key, ShardId};

use super::flight::Flight;
use super::{Cache, CacheMode, CacheSettings, Fetch, FetchEnd, Read};
use crate::error::Error;
use crate::upstream::answer::{Fetched, Found, ObjectText};
use crate::upstream::model::{Conduct, SimulatedShard, Written, conduct};

const KEYS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Read this key, this many seconds from now. Copies live for 60 s and may be stale for 10 s more.
    Read(usize, u64),
    /// A fetch in progress calls the shard.
    FetchCalls(usize),
    FetchEnds(usize),
    FetchPanics(usize),
    /// A write is sent. The shard applies it if it is not refused.
    WriteLands(usize),
    /// The write is answered.
    WriteEnds(usize),
    Reset,
    OffAndOn,
    /// Set the hot keys, one bit per key.
    Hot(usize),
    /// The shard changes its conduct.
    Shard(Conduct),
    /// Time passes for the breaker: enough for a check and a trial, or for a check only.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..KEYS, prop_oneof![4 => Just(0u64), 2 => Just(55), 2 => Just(65), 1 => Just(71)])
            .prop_map(|(at, age)| Step::Read(at, age)),
        4 => (0usize..8).prop_map(Step::FetchCalls),
        4 => (0usize..8).prop_map(Step::FetchEnds),
        1 => (0usize..8).prop_map(Step::FetchPanics),
        3 => (0..KEYS).prop_map(Step::WriteLands),
        3 => (0..KEYS).prop_map(Step::WriteEnds),
        1 => Just(Step::Reset),
        1 => Just(Step::OffAndOn),
        1 => (0usize..1 << KEYS).prop_map(Step::Hot),
        2 => conduct().prop_map(Step::Shard),
        2 => prop_oneof![Just(600u64), Just(10_000)].prop_map(Step::Pass),
    ]
}

/// A fetch in progress.
struct Out {
    key: usize,
    fetch: Fetch,
    result: Option<Fetched>,
    /// The lowest version that the waiters of this fetch may see.
    least: u64,
    /// Whether a read may still join it.
    joinable: bool,
    /// The number of writes of the key, and of resets, that had ended when it began.
    began: (u64, u64),
}

fn raw(version: u64) -> Found {
    Found { value: ObjectText::new(&format!("{{\"v\":{version}}}")), shard: ShardId(0) }
}

fn version(found: &Found) -> u64 {
    let text = std::str::from_utf8(found.value.as_bytes()).unwrap();
    let version = text.strip_prefix("{\"v\":").and_then(|text| text.strip_suffix('}'));
    version.unwrap().parse().unwrap()
}

fn landed(flight: &Flight) -> Result<Found, Error> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(flight.landed())
}

fn settings(mode: CacheMode) -> CacheSettings {
    CacheSettings { mode, ttl: Duration::from_secs(60), stale: Some(Duration::from_secs(10)), negative: None }
}

fn cache(mode: CacheMode) -> Arc<Cache> {
    Arc::new(Cache::new(settings(mode), 1 << 20))
}

/// What a fetch of this key gets from the shard.
fn called(shard: &SimulatedShard, at: usize, version: u64) -> Fetched {
    let body =
        || format!("{{\"key\":\"k{at}\",\"value\":{{\"v\":{version}}},\"shard_id\":0,\"found\":true}}");
    shard.read(body)?.value(&key(at))
}

fn flight_of(fetch: &Fetch) -> Arc<Flight> {
    fetch.flight().expect("a fetch for the cache")
}

fn is_off(cache: &Arc<Cache>) -> bool {
    match cache.read(&key(0), Instant::now()) {
        Read::Miss(fetch) => fetch.flight().is_none(),
        // The negative cache is on in all modes.
        Read::NegativeHit(_) => true,
        _ => false,
    }
}

fn key(at: usize) -> Key {
    Key::new(&format!("k{at}")).unwrap()
}

proptest! {
    #[test]
    fn no_read_sees_less_than_the_writes_that_ended_before_it(
        hot_only in any::<bool>(),
        negative in any::<bool>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mode = if hot_only { CacheMode::HotOnly } else { CacheMode::All };
        let negative = negative.then(|| Duration::from_secs(600));
        let settings = |mode| CacheSettings { negative, ..settings(mode) };
        let cache = Arc::new(Cache::new(settings(mode), 1 << 20));
        let mut shard = SimulatedShard::default();
        // The keys whose error may be remembered, and the number of ended resets.
        let (mut remembered, mut resets, mut writes) = ([false; KEYS], 0u64, [0u64; KEYS]);
        let mut hot = 0usize;
        let is_hot = |hot: usize, at: usize| hot & (1 << at) != 0;
        let (mut landed_writes, mut ended_writes) = ([0u64; KEYS], [0u64; KEYS]);
        let mut out: Vec<Out> = Vec::new();
        for step in steps {
            match step {
                Step::Read(at, age) => {
                    let mut begin = |fetch, least| {
                        prop_assert!(!out.iter().any(|out| out.key == at && out.joinable), "a second fetch");
                        let began = (writes[at], resets);
                        out.push(Out { key: at, fetch, result: None, least, joinable: true, began });
                        Ok(())
                    };
                    match cache.read(&key(at), Instant::now() + Duration::from_secs(age)) {
                        Read::Hit { copy: found, stale, refresh: None } => {
                            prop_assert!(version(&found) >= ended_writes[at]);
                            prop_assert!(stale == (age == 65) && age < 71);
                        }
                        Read::Hit { copy: found, stale, refresh: Some(fetch) } => {
                            prop_assert!(version(&found) >= ended_writes[at]);
                            prop_assert!((55..71).contains(&age) && stale == (age == 65));
                            // No read waits for this fetch yet, but a later read may join it.
                            begin(fetch, 0)?;
                        }
                        Read::Coalesced(flight) => {
                            let joined = out.iter_mut().find(|out| Arc::ptr_eq(&flight_of(&out.fetch), &flight));
                            let joined = joined.expect("a flight that is out");
                            prop_assert!(joined.joinable && joined.key == at);
                            joined.least = joined.least.max(ended_writes[at]);
                        }
                        Read::Miss(fetch) if fetch.flight().is_some() => begin(fetch, ended_writes[at])?,
                        Read::Miss(_) => prop_assert!(hot_only && !is_hot(hot, at), "the cache is on"),
                        Read::NegativeHit(_) => prop_assert!(remembered[at], "no error is remembered"),
                    }
                }
                Step::FetchCalls(n) => {
                    if let Some(out) = out.get_mut(n) {
                        let call = || called(&shard, out.key, landed_writes[out.key]);
                        out.result = out.result.take().or_else(|| Some(call()));
                    }
                }
                Step::FetchEnds(n) if n < out.len() => {
                    let Out { key, fetch, result, least, began, .. } = out.swap_remove(n);
                    let result = result.unwrap_or_else(|| called(&shard, key, landed_writes[key]));
                    let flight = flight_of(&fetch);
                    let ended = fetch.end(&result);
                    match (landed(&flight), &result) {
                        (Ok(found), Ok(_)) => prop_assert!(version(&found) >= least),
                        (Err(got), Err(sent)) => {
                            prop_assert_eq!(got.to_string(), sent.to_string());
                            prop_assert!(ended != FetchEnd::Stored);
                            remembered[key] |= negative.is_some() && began == (writes[key], resets);
                        }
                        _ => prop_assert!(false, "the readers got another result"),
                    }
                }
                Step::FetchPanics(n) if n < out.len() => {
                    let fetch = out.swap_remove(n).fetch;
                    let flight = flight_of(&fetch);
                    // Drop the fetch as a panic would.
                    drop(fetch);
                    let broke_off = matches!(landed(&flight), Err(Error::Internal { .. }));
                    prop_assert!(broke_off);
                }
                Step::FetchEnds(_) | Step::FetchPanics(_) => {}
                Step::Shard(conduct) => shard.conduct = conduct,
                Step::Pass(milliseconds) => shard.pass(Duration::from_millis(milliseconds)),
                // A write with an unknown outcome is applied too.
                Step::WriteLands(at) => landed_writes[at] += u64::from(shard.write() != Written::NotSent),
                Step::WriteEnds(at) => {
                    cache.forget(&key(at));
                    (remembered[at], writes[at]) = (false, writes[at] + 1);
                    ended_writes[at] = landed_writes[at];
                    out.iter_mut().filter(|out| out.key == at).for_each(|out| out.joinable = false);
                }
                Step::Reset => {
                    cache.clear();
                    (remembered, resets) = ([false; KEYS], resets + 1);
                    out.iter_mut().for_each(|out| out.joinable = false);
                }
                Step::OffAndOn => {
                    cache.set(settings(CacheMode::Off));
                    prop_assert!(is_off(&cache));
                    cache.set(settings(mode));
                    out.iter_mut().for_each(|out| out.joinable = false);
                }
                Step::Hot(keys) => {
                    hot = keys;
                    let hot_keys = (0..KEYS).filter(|at| is_hot(hot, *at)).map(key);
                    cache.admit_only(hot_keys.collect::<HashSet<_>>());
                }
            }
            let most = if hot_only { hot.count_ones() as u64 } else { KEYS as u64 };
            prop_assert!(cache.size() <= most && cache.held() <= most);
        }
    }
}

fn begin(cache: &Arc<Cache>, now: Instant) -> Fetch {
    match cache.read(&key(0), now) {
        Read::Miss(fetch) | Read::Hit { refresh: Some(fetch), .. } => fetch,
        _ => panic!("there is nothing to fetch"),
    }
}

fn hit(cache: &Arc<Cache>, now: Instant) -> (u64, bool) {
    match cache.read(&key(0), now) {
        Read::Hit { copy: found, stale, refresh: None } => (version(&found), stale),
        _ => panic!("no hit"),
    }
}

#[test]
fn an_entry_that_no_write_overtook_is_kept() {
    let cache = cache(CacheMode::All);
    assert_eq!(begin(&cache, Instant::now()).end(&Ok(raw(7))), FetchEnd::Stored);
    assert_eq!(hit(&cache, Instant::now()), (7, false));
    assert_eq!((cache.size(), cache.held()), (1, 1));
}

#[test]
fn a_copy_is_refreshed_ahead_once_and_read_meanwhile() {
    let cache = cache(CacheMode::All);
    let at = |seconds| Instant::now() + Duration::from_secs(seconds);
    begin(&cache, at(0)).end(&Ok(raw(1)));
    assert_eq!(hit(&cache, at(50)), (1, false));
    let refresh = begin(&cache, at(55));
    assert_eq!((hit(&cache, at(55)), hit(&cache, at(65))), ((1, false), (1, true)));
    assert!(matches!(cache.read(&key(0), at(71)), Read::Coalesced(_)), "past its bound nobody gets it");
    assert_eq!(refresh.end(&Ok(raw(2))), FetchEnd::Stored);
    assert_eq!(hit(&cache, at(50)), (2, false));
}

#[test]
fn a_failed_refresh_keeps_the_copy_and_the_next_one_waits_a_second() {
    let cache = cache(CacheMode::All);
    let now = Instant::now();
    let at = |ms| now + Duration::from_millis(ms);
    begin(&cache, now).end(&Ok(raw(1)));
    let failed = begin(&cache, at(60_500));
    let broken = Error::ShardUnavailable { shard: ShardId(0), cause: String::new(), retry_after: None };
    assert_eq!(failed.end(&Err(broken)), FetchEnd::Failed);
    // The next attempt is one second after the failure. The failure was at the real time.
    assert_eq!(hit(&cache, at(500)), (1, false));
    let again = begin(&cache, at(60_500));
    let gone = protocol::ErrorBody { detail: String::new(), kind: protocol::ErrorKind::NotFound };
    assert_eq!(again.end(&Err(Error::ShardFull { shard: ShardId(0), answer: gone })), FetchEnd::Failed);
    assert!(matches!(cache.read(&key(0), now), Read::Miss(_)), "the shard has no such key");
}

#[test]
fn a_write_overtakes_a_refresh() {
    let cache = cache(CacheMode::All);
    let at = |seconds| Instant::now() + Duration::from_secs(seconds);
    begin(&cache, at(0)).end(&Ok(raw(1)));
    let refresh = begin(&cache, at(65));
    cache.forget(&key(0));
    assert_eq!(refresh.end(&Ok(raw(1))), FetchEnd::Overtaken);
    assert!(matches!(cache.read(&key(0), at(0)), Read::Miss(_)));
}

#[test]
fn without_stale_while_revalidate_a_copy_ends_with_its_time_to_live() {
    let cache = cache(CacheMode::All);
    let at = |seconds| Instant::now() + Duration::from_secs(seconds);
    begin(&cache, at(0)).end(&Ok(raw(1)));
    cache.set(CacheSettings { stale: None, ..settings(CacheMode::All) });
    assert_eq!(hit(&cache, at(59)), (1, false));
    assert!(matches!(cache.read(&key(0), at(61)), Read::Miss(_)));
}
