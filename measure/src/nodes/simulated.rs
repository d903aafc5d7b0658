//! Answers as the probes of many nodes and as one gateway.
//!
//! Each probe has a loopback address of its own. A shard's counts grow by a fixed amount with each answer of its probe.

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use protocol::probe_api::{
    ByDirection, Comparison, NODE_VERSION, NodeApp, NodeConnections, NodeDetails, NodeKeys, NodeLatency,
    NodeReport, NodeRequests, NodeShard, NodeUnwatched,
};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// The address of the first probe. The others follow it.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// When the counts began.
const SINCE: f64 = 1_795_000_000.0;

const MAX_HEAD: usize = 8 << 10;

/// Counts of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) get: u64,
    pub(super) set: u64,
    /// Reads of the hottest key.
    pub(super) hottest: u64,
}

impl Counts {
    fn after(shard: u64, answers: u64) -> Self {
        let get = 1_000_000 + answers * (100 + shard % 97);
        Self { get, set: 50_000 + answers * (1 + shard % 7), hottest: get / 2 }
    }
}

/// One reading of all probes: before the gateway, and after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) begin: Instant,
    end: Instant,
    pub(super) answers: u32,
    gateway_is_read: bool,
}

impl Round {
    pub(super) fn span(&self) -> Duration {
        self.end - self.begin
    }
}

/// The simulated probes.
#[derive(Debug)]
pub(super) struct Cluster {
    port: u16,
    nodes: u32,
    /// Answers that made the counts of each shard grow.
    shards: Vec<AtomicU64>,
    is_growing: AtomicBool,
    /// Bytes of all probes' answers.
    bytes: AtomicU64,
    rounds: Mutex<Vec<Round>>,
}

impl Cluster {
    /// The cluster answers as long as the runtime lives.
    pub(super) fn start(nodes: u32, shards: u32) -> Result<(Arc<Self>, Runtime)> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
        let listener = listener.context("cannot listen")?;
        let cluster = Arc::new(Self {
            port: listener.local_addr()?.port(),
            nodes,
            shards: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            is_growing: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            rounds: Mutex::default(),
        });
        let shared = Arc::clone(&cluster);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cluster = Arc::clone(&shared);
                // It ends with an error when the aggregator no longer waits for an answer.
                tokio::spawn(async move { cluster.serve(stream).await });
            }
        });
        Ok((cluster, runtime))
    }

    /// The aggregator's settings. Nothing listens at the shards' addresses: their probes read them.
    pub(super) fn settings(&self) -> [(&'static str, String); 3] {
        let probe = |node| format!("http://{}:{}", Ipv4Addr::from_bits(FIRST.to_bits() + node), self.port);
        let probes: Vec<String> = (0..self.nodes).map(probe).collect();
        let shards: Vec<String> =
            (0..self.shards.len()).map(|shard| format!("http://{}", address(shard))).collect();
        let gateway = format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port);
        [("PROBE_URL", probes.join(",")), ("SHARD_URLS", shards.join(",")), ("GATEWAY_URL", gateway)]
    }

    pub(super) fn grow(&self, is_growing: bool) {
        self.is_growing.store(is_growing, SeqCst);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(SeqCst)
    }

    pub(super) fn rounds(&self) -> Vec<Round> {
        self.rounds.lock().clone()
    }

    /// By how much the counts of each shard have grown.
    pub(super) fn grown(&self) -> Vec<Counts> {
        let grown = |(shard, answers): (u64, &AtomicU64)| {
            let (now, first) = (Counts::after(shard, answers.load(SeqCst)), Counts::after(shard, 0));
            let [get, set] = [now.get - first.get, now.set - first.set];
            Counts { get, set, hottest: now.hottest - first.hottest }
        };
        (0..).zip(&self.shards).map(grown).collect()
    }

    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let IpAddr::V4(own) = stream.local_addr()?.ip() else { return Ok(()) };
        let node = own.to_bits().checked_sub(FIRST.to_bits()).filter(|node| *node < self.nodes);
        // The listener also has the machine's other addresses.
        if node.is_none() && own != Ipv4Addr::LOCALHOST {
            return Ok(());
        }
        let mut head = Vec::new();
        loop {
            head.clear();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await? == 0 || head.len() > MAX_HEAD {
                    return Ok(());
                }
            }
            let is_whole = !String::from_utf8_lossy(&head).contains("only=requests");
            let asked = Instant::now();
            let body = match node {
                Some(node) => serde_json::to_string(&self.report(node as usize, is_whole))?,
                None => self.gateway().to_string(),
            };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
            let mut rounds = self.rounds.lock();
            if node.is_none() {
                rounds.last_mut().into_iter().for_each(|round| round.gateway_is_read = true);
                continue;
            }
            self.bytes.fetch_add(answer.len() as u64, SeqCst);
            if is_whole && rounds.last().is_none_or(|round| round.gateway_is_read) {
                rounds.push(Round { begin: asked, end: asked, answers: 0, gateway_is_read: false });
            }
            if let Some(round) = rounds.last_mut() {
                (round.end, round.answers) = (Instant::now(), round.answers + 1);
            }
        }
    }

    /// `/stats` of a gateway that has sent all requests.
    fn gateway(&self) -> Value {
        let sent = (0..).zip(&self.shards).map(|(shard, answers)| {
            let Counts { get, set, .. } = Counts::after(shard, answers.load(SeqCst));
            json!({ "shard_id": shard, "requests": get + set })
        });
        json!({
            "num_shards": self.shards.len(), "cache_enabled": false, "cache_ttl_seconds": 60, "cache_size": 0,
            "cache_hits": 0, "cache_misses": 0, "cache_coalesced": 0, "cache_hit_ratio": 0.0,
            "total_requests": 0, "started_at": SINCE, "shard_requests": [], "top_keys": [],
            "shard_requests_total": sent.collect::<Vec<_>>(),
        })
    }

    /// `/api/node`. Each probe has a range of the shards.
    fn report(&self, node: usize, is_whole: bool) -> NodeReport {
        let (nodes, all) = (self.nodes as usize, self.shards.len());
        let (first, end) = (node * all / nodes, (node + 1) * all / nodes);
        let keys = (1_024 / (end - first).max(1)).clamp(16, 64) as u64;
        let grows = u64::from(self.is_growing.load(SeqCst));
        let shards = (first..end).zip(self.shards.iter().skip(first)).map(|(shard, answers)| {
            let counts = Counts::after(shard as u64, answers.fetch_add(grows, SeqCst) + grows);
            let Counts { get, set, .. } = counts;
            NodeShard {
                shard_id: shard as u32,
                addresses: vec![address(shard)],
                requests: NodeRequests { get, set, arrived: get + set, ..NodeRequests::default() },
                details: is_whole.then(|| details(shard, counts, keys)),
                ..NodeShard::default()
            }
        });
        let shards = shards.collect();
        let others = [(0, first), (end, all)].into_iter().filter(|(first, end)| first < end);
        let others = others.map(|(first, end)| [first as u32, end as u32 - 1]).collect();
        NodeReport {
            version: NODE_VERSION,
            node: Some(format!("node-{node}")),
            kernel: format!("9b2c6a4e-0000-4000-8000-{node:012}"),
            counting_since: SINCE,
            taken_at: SINCE,
            settling: false,
            shards,
            unwatched: vec![NodeUnwatched { problem: "on another node".to_owned(), shards: others }],
        }
    }
}

fn address(shard: usize) -> String {
    format!("10.0.{}.{}:9000", shard / 250, shard % 250 + 1)
}

/// A shard's other counts, of the usual size.
fn details(shard: usize, Counts { get, set, hottest }: Counts, keys: u64) -> NodeDetails {
    let data = get + set;
    let both = |count| ByDirection { receive: count, transmit: count };
    let reads = |key| if key == 0 { hottest } else { get / (3 * keys) };
    let keys = (0..keys).map(|key| (format!("user-{shard:04}-{key:06}"), reads(key), 0)).collect();
    NodeDetails {
        payload_bytes: both(90 * data),
        ip_bytes: both(142 * data),
        packets: both(data),
        latency: NodeLatency {
            sum: data * 5_000_000,
            buckets: (80..120).map(|bucket| (bucket, data / 40)).collect(),
        },
        connections: Some(NodeConnections { opened: 64, ..NodeConnections::default() }),
        keys: NodeKeys { complete: true, keys },
        app: Some(NodeApp { requests_received: data, started_at: SINCE, active_requests: 0 }),
        comparison: Comparison {
            kernel: Some(data),
            app: Some(data),
            difference: Some(0),
            bound: Some(0),
            agrees: Some(true),
            since: Some(SINCE),
            ..Comparison::default()
        },
        ..NodeDetails::default()
    }
}
