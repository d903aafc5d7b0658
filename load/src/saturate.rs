//! A number of requests as fast as they are answered: a closed loop over many connections on one thread.

use protocol::ShardId;
use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

use crate::answer::{self, Expected, Fault};
use crate::client::{self, Connection};
use crate::config::SaturateArgs;
use crate::control::{self, Gateway, LoadError};
use crate::keys::{Draws, KeySpace};
use crate::predict;
use crate::progress::Progress;
use crate::report::{Report, SentKey};
use crate::scenario::{Operation, Stream};
use crate::tally::Tally;

/// After so many failed requests, if they are at least a tenth of all, the rest is not sent.
const POINTLESS: u64 = 1_000;
/// The share of errors that a report must stay below.
const ERROR_SHARE: f64 = 0.01;

/// So many keys are in the report.
const KEYS_SHOWN: usize = 100;

/// The places requests go to: the gateway alone, or every shard.
struct Targets {
    addrs: Vec<std::net::SocketAddr>,
    /// Of each key, its place in `addrs`.
    of_key: Vec<usize>,
    requests: Vec<Vec<u8>>,
    owners: Vec<ShardId>,
    shards: u32,
    any_shard: bool,
    keys: KeySpace,
}

impl Targets {
    fn expected(&self, key: usize) -> Expected<'_> {
        Expected {
            operation: Operation::Read,
            key: self.keys.keys()[key].as_str(),
            owner: self.owners[key],
            shards: self.shards,
            any_shard: self.any_shard,
        }
    }
}

/// What all connections share.
struct Shared {
    draws: Draws,
    left: u64,
    tally: Tally,
    /// Requests of each key.
    by_key: Vec<u64>,
    stopped: bool,
}

/// Sends all requests.
///
/// # Errors
/// When nothing answers, or so much fails that going on is pointless.
pub async fn run(args: &SaturateArgs) -> Result<Report, LoadError> {
    let keys = KeySpace::numbered("user-", args.keys.get(), args.distribution)?;
    let (addrs, hosts, shards, any_shard): (Vec<_>, Vec<_>, NonZeroU32, bool) = match &args.shard_urls {
        None => {
            let mut gateway = Gateway::find(&args.target.gateway).await?;
            let state = gateway.state().await?;
            let by_modulo = gateway.places_by_modulo(keys.keys().iter(), state.num_shards).await?;
            let any_shard = state.any_shard() || !by_modulo;
            (vec![gateway.addr], vec![gateway.host], state.num_shards, any_shard)
        }
        Some(urls) => {
            let mut addrs = Vec::new();
            for url in urls.iter() {
                addrs.push(control::resolve(url).await?);
            }
            (addrs, urls.iter().map(control::host_of).collect(), urls.count(), false)
        }
    };
    let owners = keys.owners(shards);
    let of_key: Vec<usize> =
        owners.iter().map(|owner| if args.shard_urls.is_some() { owner.index() } else { 0 }).collect();
    let requests = keys
        .keys()
        .iter()
        .zip(&of_key)
        .map(|(key, place)| client::get(&hosts[*place], &format!("/data/{}", key.to_path_segment())));
    let requests = requests.collect();
    let targets = Rc::new(Targets { addrs, of_key, requests, owners, shards: shards.get(), any_shard, keys });

    let progress = Arc::new(Progress::default());
    let printer = progress.print(args.output.progress, format!("{} requests", args.requests));
    let shared = Rc::new(RefCell::new(Shared {
        draws: targets.keys.draws(args.seed),
        left: args.requests.get(),
        tally: Tally::new(shards.get() as usize),
        by_key: vec![0; args.keys.get()],
        stopped: false,
    }));
    let start = Instant::now();
    let connections = LocalSet::new();
    for _ in 0..args.connections {
        let (shared, targets, progress) = (Rc::clone(&shared), Rc::clone(&targets), Arc::clone(&progress));
        connections.spawn_local(async move { ask_on(&shared, &targets, &progress, start).await });
    }
    connections.await;
    drop(printer);
    let elapsed = start.elapsed();

    let shared = shared.borrow();
    if shared.stopped {
        return Err(LoadError::Failing { failed: shared.tally.errors(), sent: shared.tally.sent });
    }
    let stream = Stream::reads("all", 1.0, 0, targets.keys.clone());
    let prediction = predict::shares(&[stream], shards);
    let url = match &args.shard_urls {
        None => args.target.gateway.to_string(),
        Some(urls) => urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let mut report = Report::new("saturate", url, args.seed, &shared.tally, &prediction);
    report.duration_seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
    let per_second = shared.tally.sent as f64 / elapsed.as_secs_f64();
    report.achieved_per_second = per_second;
    report.keys = most_sent(&targets.keys, &shared.by_key);
    report.judge_errors(ERROR_SHARE);
    Ok(report)
}

/// The keys with the most requests; equal ones in their order in the key space.
fn most_sent(keys: &KeySpace, by_key: &[u64]) -> Vec<SentKey> {
    let mut order: Vec<usize> = (0..by_key.len()).filter(|key| by_key[*key] > 0).collect();
    order.sort_by_key(|key| std::cmp::Reverse(by_key[*key]));
    let shown = order.into_iter().take(KEYS_SHOWN);
    shown.map(|key| SentKey { key: keys.keys()[key].as_str().to_owned(), sent: by_key[key] }).collect()
}

/// One connection (one to each target): asks until no request is left.
async fn ask_on(shared: &RefCell<Shared>, targets: &Targets, progress: &Progress, start: Instant) {
    let mut connections: Vec<_> = targets.addrs.iter().map(|addr| Connection::new(*addr)).collect();
    loop {
        let key = {
            let mut shared = shared.borrow_mut();
            if shared.left == 0 {
                return;
            }
            shared.left -= 1;
            shared.draws.draw()
        };
        let sent = Instant::now();
        let answer = connections[targets.of_key[key]].ask(&targets.requests[key]).await;
        let latency = sent.elapsed();
        let result = answer::check(answer, &targets.expected(key));
        progress.sent.fetch_add(1, Ordering::Relaxed);

        let mut shared = shared.borrow_mut();
        shared.by_key[key] += 1;
        shared.tally.sent(key, Duration::ZERO, sent - start);
        shared.tally.ended(result, latency);
        if let Err(fault) = result {
            progress.errors.fetch_add(1, Ordering::Relaxed);
            let failed = shared.tally.errors();
            if fault == Fault::Transport && failed >= POINTLESS && failed * 10 >= shared.tally.sent {
                (shared.left, shared.stopped) = (0, true);
            }
        }
    }
}
