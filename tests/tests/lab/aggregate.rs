//! Tests that an aggregator of two nodes' probes answers as one probe that sees everything.
//!
//! Both probes share one kernel. Each watches half of the shards, so that each counts packets of its own.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use lab_tests::process::{Process, Signal, TestProcess as _};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

const CELEBRITY: &str = "celebrity-user-kardashian";

/// A lab with two gateways. `lab.probe` is the aggregator of two nodes' probes.
struct Cluster {
    lab: Lab,
    second: SocketAddr,
    nodes: Vec<Process>,
    gateways: String,
    _gateway: Process,
}

impl Cluster {
    async fn start() -> Self {
        let mut lab = Lab::start(Options::default()).await;
        let (gateway, second) = lab.start_gateway();
        let gateways = format!("{},http://{second}", lab.at_gateway(""));
        let mut nodes = Vec::new();
        for node in 0..2 {
            let mut probe = start_node(&lab, node, 0);
            probe.ready().await;
            nodes.push(probe);
        }
        let urls: Vec<String> =
            nodes.iter().map(|node| format!("http://{}", node.address().unwrap())).collect();
        let settings = [
            ("SHARD_URLS", shard_urls(&lab, |_| true)),
            ("PROBE_URL", urls.join(",")),
            ("GATEWAY_URL", gateways.clone()),
            ("PORT", "0".to_owned()),
        ];
        let mut aggregator = Process::of_lab("probe", &["aggregate"], &settings);
        aggregator.ready().await;
        lab.probe = Some(aggregator);
        Self { lab, second, nodes, gateways, _gateway: gateway }
    }

    /// Restarts a node's probe at its address.
    async fn restart(&mut self, node: usize) {
        let port = self.nodes[node].address().unwrap().port();
        self.nodes[node] = start_node(&self.lab, node, port);
        self.nodes[node].ready().await;
    }

    /// Waits until the aggregator's `path` satisfies `wanted`.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = poll::until(Duration::from_secs(30), || async {
            let found = self.lab.probe_json(path).await;
            if wanted(&found) { Ok(found) } else { Err(found.to_string()) }
        });
        found.await.unwrap_or_else(|last| panic!("{last}"))
    }

    /// The kernel's counts of all shards at the aggregator, since it began.
    async fn counted(&self) -> Vec<u64> {
        self.lab.kernel_requests().await
    }
}

/// Node 0 has the first half of the shards, node 1 the second. The names of the others have no address.
fn start_node(lab: &Lab, node: usize, port: u16) -> Process {
    let settings = [
        ("SHARD_URLS", shard_urls(lab, |shard| home(shard) == node)),
        ("NODE_NAME", format!("node-{node}")),
        ("PORT", port.to_string()),
    ];
    Process::of_lab("probe", &["run"], &settings)
}

fn home(shard: usize) -> usize {
    shard * 2 / SHARDS
}

fn shard_urls(lab: &Lab, is_here: impl Fn(usize) -> bool) -> String {
    let urls = lab.shard_addrs().into_iter().enumerate().map(|(id, addr)| {
        if is_here(id) { format!("http://{addr}") } else { format!("http://elsewhere-{id}.invalid:9000") }
    });
    urls.collect::<Vec<_>>().join(",")
}

fn shards(body: &Value) -> &Vec<Value> {
    body["shards"].as_array().expect("it lists shards")
}

fn is_unwatched(shard: &Value, node: &str) -> bool {
    let is_named = shard["cause"].as_str().is_some_and(|cause| cause.contains(node));
    shard["cause_kind"] == "unwatched" && shard["agrees"].is_null() && is_named
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_count_and_judge_as_one_probe_that_sees_everything() {
    if !kernel::available("two_nodes_count_and_judge_as_one_probe_that_sees_everything") {
        return;
    }
    let cluster = Cluster::start().await;
    let lab = &cluster.lab;
    let settings = [
        ("SHARD_URLS", shard_urls(lab, |_| true)),
        ("GATEWAY_URL", cluster.gateways.clone()),
        ("PORT", "0".to_owned()),
    ];
    let mut whole = Process::of_lab("probe", &["run"], &settings);
    let whole = whole.ready().await;

    let before = lab.received().await;
    let load = ["saturate", "--connections", "8", "--keys", "40", "--requests", "20000", "--seed", "5"];
    let loads = [lab.load_started(&load), Lab::load_at(cluster.second, &load)];
    for load in loads {
        let report = load.report().await.unwrap();
        assert_eq!((report.errors, report.answered), (0, 20_000), "{report:?}");
    }
    let compare = lab.agreed().await;
    for (id, shard) in shards(&compare).iter().enumerate() {
        assert_eq!((&shard["bypassed"], &shard["gateway"]), (&0.into(), &shard["app"]), "{shard}");
        assert_eq!(shard["node"], format!("node-{}", home(id)), "{shard}");
    }
    let received: Vec<u64> = lab.received().await.iter().zip(before).map(|(now, then)| now - then).collect();
    assert_eq!(received.iter().sum::<u64>(), 40_000);
    assert_eq!(cluster.counted().await, received);

    // Each key is exact, and they add up to all reads.
    let keys = cluster.until("/api/keys", |keys| {
        let reads = |shard: &Value| -> u64 {
            let keys = shard["keys"].as_array().unwrap().iter();
            keys.map(|key| key["requests"].as_u64().unwrap()).sum()
        };
        shards(keys).iter().map(reads).sum::<u64>() == 40_000
    });
    let keys = keys.await;
    assert!(
        shards(&keys)
            .iter()
            .all(|shard| { shard["keys"].as_array().unwrap().iter().all(|key| key["error"] == 0) }),
        "{keys}"
    );

    // Requests that bypass both gateways are counted to the request.
    for _ in 0..7 {
        lab.json::<Value>(&lab.at_shard(3, "/data/user-1")).await;
    }
    let compare = cluster.until("/api/compare", |compare| shards(compare)[3]["bypassed"] == 7).await;
    assert!(shards(&compare)[..3].iter().all(|shard| shard["bypassed"] == 0), "{compare}");

    let celebrity = ["run", "celebrity", "--duration", "120", "--rate-factor", "0.8"];
    let mut loads = [lab.load_started(&celebrity), Lab::load_at(cluster.second, &celebrity)];
    // Then the load before has left the window of ten seconds at both, which are read at different moments.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let both = poll::until(Duration::from_secs(60), || async {
        let merged = lab.probe_json("/api/verdict").await;
        let alone: Value = lab.json(&format!("http://{whole}/api/verdict")).await;
        // One gateway alone sends fewer requests in ten seconds.
        let is_full = |verdict: &Value| {
            let requests = verdict["kernel"]["requests"].as_u64().unwrap_or_default();
            (1_900..2_300).contains(&requests) && verdict["agree"] == true
        };
        if is_full(&merged) && is_full(&alone) {
            Ok((merged, alone))
        } else {
            Err(format!("{merged} {alone}"))
        }
    });
    let (merged, alone) = both.await.unwrap_or_else(|last| panic!("{last}"));
    assert!(loads.iter_mut().all(lab_tests::lab::Load::is_running), "the load has ended");
    for field in ["state", "reason", "shard_id", "key"] {
        assert_eq!(merged["kernel"][field], alone["kernel"][field], "{merged} {alone}");
    }
    assert_eq!(
        (&merged["kernel"]["state"], &merged["kernel"]["key"]),
        (&"critical".into(), &CELEBRITY.into())
    );
    let figure = |verdict: &Value| verdict["kernel"]["max_over_mean"].as_f64().unwrap();
    assert!((figure(&merged) / figure(&alone) - 1.0).abs() < 0.05, "{merged} {alone}");
    let metrics = lab.probe_text("/metrics").await;
    for line in [
        "kernel_hot_partition_state{state=\"critical\"} 1",
        "gateways_hot_partition_state{state=\"critical\"} 1",
        "gateways_hot_partition_shard{shard_id=\"0\"} 1",
        "reconciliation_verdicts_agree 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_named_and_no_count_falls_or_jumps() {
    if !kernel::available("a_node_that_does_not_answer_is_named_and_no_count_falls_or_jumps") {
        return;
    }
    let mut cluster = Cluster::start().await;
    let begun = cluster.lab.received().await;
    let mut load = cluster.lab.load_started(&["run", "uniform", "--duration", "60"]);
    cluster.until("/api/verdict", |verdict| verdict["kernel"]["state"] == "balanced").await;

    // A frozen probe: its programs count on.
    cluster.nodes[1].signal(Signal::STOP);
    let compare = cluster.until("/api/compare", |compare| is_unwatched(&shards(compare)[3], "node-1")).await;
    assert!(is_unwatched(&shards(&compare)[2], "node-1"), "{compare}");
    assert!(shards(&compare)[..2].iter().all(|shard| shard["agrees"] == true), "{compare}");
    let verdict = cluster.until("/api/verdict", |verdict| verdict["kernel"].is_null()).await;
    assert_eq!(verdict["cause_kind"], "kernel_blind", "{verdict}");
    assert!(verdict["cause"].as_str().is_some_and(|cause| cause.contains("node-1")), "{verdict}");
    let status = cluster.lab.probe_json("/status").await;
    assert!(status["nodes"][1]["problem"].is_string() && status["nodes"][0]["problem"].is_null(), "{status}");
    let frozen = cluster.counted().await;
    let metrics = cluster.lab.probe_text("/metrics").await;
    let has_series = |metrics: &str, shard: usize| {
        metrics.contains(&format!("kernel_shard_requests_total{{operation=\"get\",shard_id=\"{shard}\"}}"))
    };
    assert_eq!(
        [0, 1, 2, 3].map(|shard| has_series(&metrics, shard)),
        [true, true, false, false],
        "{metrics}"
    );
    // The other node is read as before, and nobody waits for the silent one.
    let started = std::time::Instant::now();
    cluster.lab.probe_json("/api/shards").await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = cluster.counted().await;
    assert!(later[0] > frozen[0] && later[2] == frozen[2], "{frozen:?} {later:?}");
    cluster.nodes[1].signal(Signal::CONT);
    cluster.until("/api/verdict", |verdict| verdict["kernel"]["state"] == "balanced").await;
    let again = cluster.counted().await;
    assert!(again.iter().zip(&later).all(|(now, then)| now >= then), "{later:?} {again:?}");
    assert!(has_series(&cluster.lab.probe_text("/metrics").await, 2));

    // A killed probe: what nobody counted is missing, and its successor adds only what it counts itself.
    cluster.nodes[1].signal(Signal::KILL);
    cluster.nodes[1].ended(Duration::from_secs(5)).await;
    cluster.until("/api/compare", |compare| is_unwatched(&shards(compare)[2], "node-1")).await;
    let killed = cluster.counted().await;
    cluster.restart(1).await;
    cluster.until("/api/verdict", |verdict| verdict["kernel"]["state"] == "balanced").await;
    assert!(load.is_running(), "the load has ended");
    load.ended().await;
    let compare = cluster.lab.agreed().await;
    assert!(shards(&compare).iter().all(|shard| shard["bypassed"] == 0), "{compare}");
    let received: Vec<u64> =
        cluster.lab.received().await.iter().zip(begun).map(|(now, then)| now - then).collect();
    let counted = cluster.counted().await;
    assert_eq!(counted[..2], received[..2], "the node that was never away has counted all");
    for shard in 2..4 {
        let (now, all) = (counted[shard], received[shard]);
        assert!(killed[shard] < now && now < all, "{killed:?} {counted:?} {received:?}");
    }
}
