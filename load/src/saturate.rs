//! Sends requests as fast as they are answered (closed loop).
//!
//! It uses many connections on one thread.

use protocol::ShardId;
use protocol::body::{AnswerFault, LoadReport, LoadSentKey};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

use crate::address::{host_header, resolve};
use crate::answer::{self, Expected, ExpectedBody};
use crate::client::{self, Connection};
use crate::config::SaturateArgs;
use crate::error::RunError;
use crate::gateway::{GatewayClient, Topology};
use crate::keys::{Draws, KeySpace};
use crate::predict;
use crate::progress::Progress;
use crate::report::{add_error_threshold, report};
use crate::scenario::Stream;
use crate::tally::Tally;

/// Failed requests after which the run stops, if they are at least a tenth of all.
const MAX_FAILED: u64 = 1_000;
/// The share of errors must be below this for a report.
const ERROR_SHARE: f64 = 0.01;

/// Maximum number of keys in the report.
const REPORTED_KEYS: usize = 100;

/// The targets of requests: the gateway, or every shard.
struct Targets {
    addrs: Vec<std::net::SocketAddr>,
    /// For each key, the index of its target in `addrs`.
    of_key: Vec<usize>,
    requests: Vec<Vec<u8>>,
    owners: Vec<ShardId>,
    body: ExpectedBody,
    topology: Topology,
    keys: KeySpace,
}

impl Targets {
    fn expected(&self, key: usize) -> Expected<'_> {
        Expected {
            body: self.body,
            key: self.keys.keys()[key].as_str(),
            owner: self.owners[key],
            shards: self.topology.shards.get(),
            any_shard: self.topology.any_shard,
        }
    }
}

/// The state that all connections share.
struct Shared {
    draws: Draws,
    left: u64,
    tally: Tally,
    /// Requests for each key.
    by_key: Vec<u64>,
    stopped: bool,
}

/// Sends all requests.
///
/// # Errors
/// Returns an error when no target answers, or when too many requests fail.
pub async fn run(args: &SaturateArgs) -> Result<LoadReport, RunError> {
    let keys = KeySpace::numbered("user-", args.keys.get(), args.distribution)?;
    let (addrs, hosts, topology): (Vec<_>, Vec<_>, _) = match &args.shard_urls {
        None => {
            let mut gateway = GatewayClient::resolve(&args.target.gateway).await?;
            let topology = gateway.topology(keys.keys().iter()).await?;
            (vec![gateway.addr], vec![gateway.host], topology)
        }
        Some(urls) => {
            let mut addrs = Vec::new();
            for url in urls.iter() {
                addrs.push(resolve(url).await?);
            }
            let topology = Topology { shards: urls.count(), any_shard: false };
            (addrs, urls.iter().map(host_header).collect(), topology)
        }
    };
    let direct = args.shard_urls.is_some();
    let shards = topology.shards;
    let owners = keys.owners(shards);
    let of_key: Vec<usize> = owners.iter().map(|owner| if direct { owner.index() } else { 0 }).collect();
    let requests = keys
        .keys()
        .iter()
        .zip(&of_key)
        .map(|(key, place)| client::get(&hosts[*place], &format!("/data/{}", key.to_path_segment())));
    let requests = requests.collect();
    let body = if direct { ExpectedBody::ShardGet } else { ExpectedBody::GatewayGet };
    let targets = Rc::new(Targets { addrs, of_key, requests, owners, body, topology, keys });

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
        connections.spawn_local(async move { run_connection(&shared, &targets, &progress, start).await });
    }
    connections.await;
    drop(printer);
    let elapsed = start.elapsed();

    let shared = shared.borrow();
    if shared.stopped {
        return Err(RunError::Failing { failed: shared.tally.errors(), sent: shared.tally.sent });
    }
    let stream = Stream::reads("all", 1.0, 0, targets.keys.clone());
    let prediction = predict::shares(&[stream], shards);
    let url = match &args.shard_urls {
        None => args.target.gateway.to_string(),
        Some(urls) => urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    let mut report = report("saturate", url, args.seed, &shared.tally, &prediction);
    report.duration_seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    let per_second = shared.tally.sent as f64 / elapsed.as_secs_f64();
    report.achieved_per_second = per_second;
    report.keys = most_sent(&targets.keys, &shared.by_key);
    add_error_threshold(&mut report, ERROR_SHARE);
    Ok(report)
}

/// The keys with the most requests. Equal ones are in the order of the key space.
fn most_sent(keys: &KeySpace, by_key: &[u64]) -> Vec<LoadSentKey> {
    let mut order: Vec<usize> = (0..by_key.len()).filter(|key| by_key[*key] > 0).collect();
    order.sort_by_key(|key| std::cmp::Reverse(by_key[*key]));
    let shown = order.into_iter().take(REPORTED_KEYS);
    shown.map(|key| LoadSentKey { key: keys.keys()[key].as_str().to_owned(), sent: by_key[key] }).collect()
}

/// Opens one connection to each target and sends until no request is left.
async fn run_connection(shared: &RefCell<Shared>, targets: &Targets, progress: &Progress, start: Instant) {
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
        let answer = connections[targets.of_key[key]].send(&targets.requests[key]).await;
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
            if fault == AnswerFault::Transport && failed >= MAX_FAILED && failed * 10 >= shared.tally.sent {
                (shared.left, shared.stopped) = (0, true);
            }
        }
    }
}
