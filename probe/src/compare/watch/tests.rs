//! Tests the loop with simulated shards, gateway and kernel.
//!
//! Shards and gateway are HTTP stubs. A list replaces the kernel.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

use probe_common::connections::Connections;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use probe_common::resp::CommandSpec;
use protocol::probe_api::{CauseKind, KernelKey, MapFill, ProgramRuns};
use service::metrics::Metrics;

use super::*;
use crate::kernel::cgroup::Cgroup;
use crate::kernel::object::Switches;
use crate::metrics::ProbeMetrics;
use crate::signal::commands::CommandCounts;
use crate::signal::key_table::KeyTable;
use crate::source::SourceError;
use crate::source::{Counters, ReplaySource, Source};

/// Answers every request with this body, and counts the requests.
fn stub(body: &'static str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            count.fetch_add(1, Ordering::SeqCst);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

const SHARD: &str = r#"{"shard_id":0,"total_keys":0,"total_accesses":7,"requests_received":7,"started_at":5.5,
    "active_requests":0,"requests_served":7,"requests_rejected":0,"requests_shed":0,"top_keys":[],"hot_keys":[],
    "verdict":{"state":"balanced","requests":7,"window_seconds":10.0,"sentence":"The load is balanced."}}"#;
const GATEWAY: &str = r#"{"num_shards":1,"cache_enabled":false,"cache_ttl_seconds":60,"cache_size":0,"cache_hits":0,
    "cache_misses":7,"cache_coalesced":0,"cache_hit_ratio":0.0,"total_requests":7,"started_at":6.5,"shard_requests":[],
    "shard_requests_total":[{"shard_id":0,"requests":7}],"top_keys":[]}"#;

fn watch(urls: &str, source: Box<dyn Source>) -> (Watch, Metrics) {
    let urls = ShardUrls::parse(urls).unwrap();
    let metrics = Metrics::default();
    let registered = ProbeMetrics::register(&metrics, urls.count().get()).unwrap();
    let probe = Probe::new(
        urls.clone(),
        Cgroup::at("/cgroup".into()),
        Vec::new(),
        Switches::default(),
        registered,
        source,
    );
    (Watch::new(Arc::new(probe), urls, StatsClient::default()).0, metrics)
}

/// A list that is the same at every reading, with hooks for the readings of the keys.
struct Kernel {
    list: ReplaySource,
    on_keys: Box<dyn FnMut(u32) + Send>,
    /// Whether addresses are rejected.
    refuses: Arc<AtomicU64>,
    /// Whether no packets are seen.
    is_blind: Arc<AtomicU64>,
}

impl Kernel {
    fn of(shards: u32) -> Self {
        let mut list = ReplaySource::default();
        (0..shards).for_each(|shard| list.push(shard, Counters::default()));
        Self { list, on_keys: Box::new(|_| {}), refuses: Arc::default(), is_blind: Arc::default() }
    }
}

impl Source for Kernel {
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError> {
        self.list.read(shard)
    }
    fn packets(&mut self, shard: u32) -> Result<u64, SourceError> {
        self.list.is_blind = self.is_blind.load(Ordering::SeqCst) > 0;
        self.list.packets(shard)
    }
    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError> {
        self.list.latency(shard)
    }
    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError> {
        self.list.connections(shard)
    }
    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError> {
        self.list.round_trips(shard)
    }
    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError> {
        (self.on_keys)(shard);
        self.list.keys(shard)
    }
    fn commands(&mut self, shard: u32) -> Result<Option<CommandCounts>, SourceError> {
        self.list.commands(shard)
    }
    fn families(&mut self, shard: u32) -> Result<Vec<Latency>, SourceError> {
        self.list.families(shard)
    }
    fn set_commands(&mut self, commands: &[(String, CommandSpec)]) -> Result<(), SourceError> {
        self.list.set_commands(commands)
    }
    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError> {
        self.list.runs()
    }
    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError> {
        self.list.fills()
    }
    fn watch(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), SourceError> {
        self.list.refuses_endpoints = self.refuses.load(Ordering::SeqCst) > 0;
        self.list.watch(endpoints)
    }
    fn namespace(&mut self, client: Endpoint, server: Endpoint) -> Result<Option<u64>, SourceError> {
        self.list.namespace(client, server)
    }
}

#[tokio::test]
async fn there_is_no_verdict_while_the_kernel_has_not_taken_the_addresses() {
    let (url, _) = stub(SHARD);
    let kernel = Kernel::of(1);
    let refuses = Arc::clone(&kernel.refuses);
    refuses.store(1, Ordering::SeqCst);
    let (mut watch, metrics) = watch(&url, Box::new(kernel));
    watch.first_look().await;
    // Both counts stay unchanged, so they would agree.
    let unwatched = rounds::settle(&mut watch).await.shards.remove(0);
    assert_eq!((unwatched.agrees, unwatched.cause_kind), (None, Some(CauseKind::Unwatched)), "{unwatched:?}");
    assert!(unwatched.cause.is_some_and(|cause| cause.contains("rejected its addresses")));
    assert!(!metrics.encode().unwrap().contains("reconciliation_agrees{"));
    assert!(watch.probe.targets.lock().shards[0].problem.is_some());
    refuses.store(0, Ordering::SeqCst);
    watch.look_up().await;
    let seeing = rounds::settle(&mut watch).await.shards.remove(0);
    assert_eq!((seeing.agrees, seeing.cause_kind), (Some(true), None), "{seeing:?}");
    assert_eq!(watch.probe.targets.lock().shards[0].problem, None);
}

#[tokio::test]
async fn a_shard_at_anothers_address_has_no_verdict_of_its_own() {
    let (url, _) = stub(SHARD);
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let (mut watch, _metrics) = watch(&format!("{url},{mapped}"), Box::new(Kernel::of(2)));
    watch.first_look().await;
    let shards = rounds::settle(&mut watch).await.shards;
    assert_eq!((shards[0].agrees, shards[1].agrees), (Some(true), None), "{shards:?}");
    assert_eq!(shards[1].cause_kind, Some(CauseKind::Unwatched));
    assert!(
        shards[1].cause.as_ref().is_some_and(|cause| cause.contains("already belongs to shard 0")),
        "{shards:?}"
    );
}

#[tokio::test]
async fn the_kernels_keys_are_read_before_the_gateway_is_waited_for() {
    let (shard, _) = stub(SHARD);
    let (gateway, requests) = stub(GATEWAY);
    let gateways = Members::parse(crate::compare::gateway::GATEWAYS, Some(&gateway)).unwrap();
    let mut kernel = Kernel::of(1);
    let (reads, too_late) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, late) = (Arc::clone(&reads), Arc::clone(&too_late));
    kernel.on_keys = Box::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        late.fetch_add(requests.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    let (watch, _metrics) = watch(&shard, Box::new(kernel));
    let mut watch = watch.with_gateways(gateways);
    watch.look_up().await;
    let snapshot = watch.compare().await;
    assert!(snapshot.shards[0].app.is_some() || snapshot.shards[0].cause_kind == Some(CauseKind::Baseline));
    assert_eq!((reads.load(Ordering::SeqCst), too_late.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_scrape_shows_the_keys_and_counts_none() {
    let (shard, _) = stub(SHARD);
    let mut kernel = Kernel::of(1);
    let hot = KernelKey { key: "hot".to_owned(), requests: 5, error: 0 };
    kernel.list.keys.insert(0, [hot].into_iter().collect());
    let reads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reads);
    kernel.on_keys = Box::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (mut watch, metrics) = watch(&shard, Box::new(kernel));
    watch.look_up().await;
    watch.compare().await;
    let probe = Arc::clone(&watch.probe);
    metrics.before_exposition(move || probe.export());
    let scraped = [metrics.encode().unwrap(), metrics.encode().unwrap()];
    assert!(scraped.iter().all(|text| text.contains("kernel_shard_key_requests_untracked_total")));
    assert_eq!(reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_shard_that_answers_unseen_has_no_verdict_until_it_is_seen_again() {
    let (url, _) = stub(SHARD);
    let kernel = Kernel::of(1);
    let is_blind = Arc::clone(&kernel.is_blind);
    let (mut watch, metrics) = watch(&url, Box::new(kernel));
    watch.first_look().await;
    let seeing = rounds::settle(&mut watch).await.shards.remove(0);
    assert_eq!((seeing.agrees, seeing.cause_kind), (Some(true), None), "{seeing:?}");
    assert!(metrics.encode().unwrap().contains("probe_blind{shard_id=\"0\"} 0"));
    is_blind.store(1, Ordering::SeqCst);
    watch.compare().await;
    assert_eq!(watch.probe.blindness.lock().problem(), None);
    let blind = watch.compare().await.shards.remove(0);
    assert_eq!((blind.agrees, blind.kernel, blind.cause_kind), (None, None, Some(CauseKind::Blind)));
    assert!(
        blind.cause.as_ref().is_some_and(|cause| cause.contains("outside the cgroup /cgroup")),
        "{blind:?}"
    );
    assert!(watch.probe.blindness.lock().problem().unwrap().starts_with("the probe is blind for shard 0: "));
    let text = metrics.encode().unwrap();
    assert!(
        text.contains("probe_blind{shard_id=\"0\"} 1") && !text.contains("reconciliation_agrees{"),
        "{text}"
    );
    is_blind.store(0, Ordering::SeqCst);
    let seeing = rounds::settle(&mut watch).await.shards.remove(0);
    assert_eq!((seeing.agrees, seeing.cause_kind), (Some(true), None), "{seeing:?}");
    assert_eq!(watch.probe.blindness.lock().problem(), None);
}

#[tokio::test]
async fn a_shard_that_does_not_answer_is_not_called_unseen() {
    // Nothing listens at the address of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kernel = Kernel::of(1);
    kernel.is_blind.store(1, Ordering::SeqCst);
    let (mut watch, metrics) = watch(&format!("http://{gone}"), Box::new(kernel));
    watch.first_look().await;
    for _ in 0..3 {
        let down = watch.compare().await.shards.remove(0);
        assert_eq!(down.cause_kind, Some(CauseKind::ShardUnreadable), "{down:?}");
    }
    assert!(!metrics.encode().unwrap().contains("probe_blind{"));
}
