//! The cache against a model of what readers may see: chance orders of reads, fetches, writes, resets and switches.
//!
//! The shard's value of a key is a version that each write raises. A fetch reads the version at some moment of its life
//! and ends later; a write raises it and later makes the cache forget. A read that begins after a write has ended may
//! not see an older version, and there is no second fetch while one is out that a read might join.

use proptest::prelude::*;
use serde_json::value::RawValue;
use std::sync::Arc;

use protocol::Key;

use crate::cache::{Cache, Fetch, Lookup, Settings};
use crate::error::Error;
use crate::flight::Flight;

const KEYS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(usize),
    /// A fetch that is out gets its answer from the shard.
    FetchReads(usize),
    FetchEnds(usize),
    FetchFails(usize),
    /// The shard takes a write.
    WriteLands(usize),
    /// The write answers.
    WriteEnds(usize),
    Reset,
    OffAndOn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..KEYS).prop_map(Step::Read),
        4 => (0usize..8).prop_map(Step::FetchReads),
        4 => (0usize..8).prop_map(Step::FetchEnds),
        1 => (0usize..8).prop_map(Step::FetchFails),
        3 => (0..KEYS).prop_map(Step::WriteLands),
        3 => (0..KEYS).prop_map(Step::WriteEnds),
        1 => Just(Step::Reset),
        1 => Just(Step::OffAndOn),
    ]
}

/// A fetch that is out.
struct Out {
    key: usize,
    fetch: Fetch,
    read: Option<u64>,
    /// The least version that those who wait for it may see.
    least: u64,
    /// Whether a read may still join it.
    joinable: bool,
}

fn raw(version: u64) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(version.to_string()).unwrap())
}

fn version(value: &RawValue) -> u64 {
    value.get().parse().unwrap()
}

fn landed(flight: &Flight) -> Result<Arc<RawValue>, Error> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(flight.landed())
}

fn cache() -> Arc<Cache> {
    Arc::new(Cache::new(Settings { enabled: true, ttl_seconds: 60 }, 1 << 20))
}

proptest! {
    #[test]
    fn no_read_sees_less_than_the_writes_that_ended_before_it(steps in prop::collection::vec(step(), 1..80)) {
        let cache = cache();
        let key = |at: usize| Key::new(&format!("k{at}")).unwrap();
        let (mut landed_writes, mut ended_writes) = ([0u64; KEYS], [0u64; KEYS]);
        let mut out: Vec<Out> = Vec::new();
        for step in steps {
            match step {
                Step::Read(at) => match cache.look_up(&key(at)) {
                    Lookup::Hit(value) => prop_assert!(version(&value) >= ended_writes[at]),
                    Lookup::Joined(flight) => {
                        let joined = out.iter_mut().find(|out| Arc::ptr_eq(&out.fetch.flight(), &flight));
                        let joined = joined.expect("a flight that is out");
                        prop_assert!(joined.joinable && joined.key == at);
                        joined.least = joined.least.max(ended_writes[at]);
                    }
                    Lookup::Absent(fetch) => {
                        prop_assert!(!out.iter().any(|out| out.key == at && out.joinable), "a second fetch");
                        out.push(Out { key: at, fetch, read: None, least: ended_writes[at], joinable: true });
                    }
                    Lookup::Off => prop_assert!(false, "the cache is on"),
                },
                Step::FetchReads(n) => {
                    if let Some(out) = out.get_mut(n) {
                        out.read = out.read.or(Some(landed_writes[out.key]));
                    }
                }
                Step::FetchEnds(n) if n < out.len() => {
                    let Out { key, fetch, read, least, .. } = out.swap_remove(n);
                    let flight = fetch.flight();
                    fetch.end(Ok(raw(read.unwrap_or(landed_writes[key]))));
                    prop_assert!(version(&landed(&flight).unwrap()) >= least);
                }
                Step::FetchFails(n) if n < out.len() => {
                    let fetch = out.swap_remove(n).fetch;
                    let flight = fetch.flight();
                    // As a panic would.
                    drop(fetch);
                    let broke_off = matches!(landed(&flight), Err(Error::Internal { .. }));
                    prop_assert!(broke_off);
                }
                Step::FetchEnds(_) | Step::FetchFails(_) => {}
                Step::WriteLands(at) => landed_writes[at] += 1,
                Step::WriteEnds(at) => {
                    cache.forget(&key(at));
                    ended_writes[at] = landed_writes[at];
                    out.iter_mut().filter(|out| out.key == at).for_each(|out| out.joinable = false);
                }
                Step::Reset => {
                    cache.clear();
                    out.iter_mut().for_each(|out| out.joinable = false);
                }
                Step::OffAndOn => {
                    cache.change(Some(false), None);
                    prop_assert!(matches!(cache.look_up(&key(0)), Lookup::Off));
                    cache.change(Some(true), None);
                    out.iter_mut().for_each(|out| out.joinable = false);
                }
            }
            prop_assert!(cache.size() <= KEYS as u64);
        }
    }
}

#[test]
fn an_entry_that_no_write_overtook_is_kept() {
    let cache = cache();
    let key = Key::new("k").unwrap();
    let Lookup::Absent(fetch) = cache.look_up(&key) else { panic!("a new cache has no entry") };
    fetch.end(Ok(raw(7)));
    assert!(matches!(cache.look_up(&key), Lookup::Hit(value) if version(&value) == 7));
    assert_eq!((cache.size(), cache.held()), (1, 1));
}
