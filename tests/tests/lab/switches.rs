//! Tests that switches of mitigations hold at all gateways.

use lab_tests::balancer::Balancer;
use lab_tests::lab::{Lab, Load, Options};
use lab_tests::poll;
use lab_tests::process::{Process, Signal, TestProcess as _};
use protocol::body::{LoadReport, UpstreamPrediction};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Within this time a switch holds at a gateway that was away.
const SOON: Duration = Duration::from_secs(2);

/// Gateways with one list of peers. Each has its port before it starts.
struct Group {
    lab: Lab,
    ports: Vec<u16>,
}

impl Group {
    async fn of(count: usize) -> Self {
        let free: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        Self { lab: Lab::start(Options::default()).await, ports }
    }

    /// Starts a gateway and waits until it is ready.
    async fn start(&self, index: usize) -> Process {
        let shards: Vec<_> = self.lab.shard_addrs().iter().map(|shard| format!("http://{shard}")).collect();
        let peers: Vec<_> = (0..self.ports.len()).map(|index| self.url(index, "")).collect();
        let settings = [
            ("PORT", self.ports[index].to_string()),
            ("SHARD_URLS", shards.join(",")),
            ("PEER_URL", peers.join(",")),
        ];
        let mut gateway = Process::of_lab("gateway", &[], &settings);
        gateway.ready().await;
        gateway
    }

    fn addr(&self, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[index]).into()
    }

    fn url(&self, index: usize, path: &str) -> String {
        format!("http://{}{path}", self.addr(index))
    }

    /// Switches the cache at one gateway. Returns `gateways` of the answer, which comes in time.
    async fn switch(&self, index: usize, enabled: bool) -> Value {
        let body = json!({"enabled": enabled, "ttl_seconds": 60}).to_string();
        let began = Instant::now();
        let answer = self.lab.client.post(self.url(index, "/admin/cache")).body(body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(answer["cache_enabled"], enabled, "{answer}");
        answer["gateways"].clone()
    }

    /// The mode of a gateway's cache.
    async fn mode(&self, index: usize) -> Value {
        self.lab.json::<Value>(&self.url(index, "/admin/mitigation")).await["cache"].clone()
    }

    fn failed(&self, index: usize, problem: &str) -> Value {
        json!([{"url": self.url(index, ""), "problem": problem}])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_set_once_holds_at_every_gateway() {
    let group = Group::of(3).await;
    let (one, mut two) = (group.start(0).await, group.start(1).await);
    let held = group.switch(0, true).await;
    assert_eq!(held, json!({"holding": 2, "known": 3, "failed": group.failed(2, "no connection")}));
    assert_eq!(group.mode(1).await, "all");
    // A gateway that starts later has it when it is ready.
    let _three = group.start(2).await;
    assert_eq!(group.mode(2).await, "all");

    // A gateway that does not answer is named, and follows when it answers again.
    two.signal(Signal::STOP);
    let held = group.switch(2, false).await;
    let named = group.failed(1, "no answer within 1 s");
    assert_eq!(held, json!({"holding": 2, "known": 3, "failed": named}));
    assert_eq!(group.mode(0).await, "off");
    // Longer than the timeout of a call, so that calls of several turns have failed.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    two.signal(Signal::CONT);
    let followed = poll::until(SOON, || async {
        let mode = group.mode(1).await;
        if mode == "off" { Ok(()) } else { Err(mode.to_string()) }
    });
    followed.await.unwrap();
    let all = poll::until(SOON, || async {
        let held = group.lab.json::<Value>(&group.url(0, "/admin/mitigation")).await["gateways"].clone();
        if held == json!({"holding": 3, "known": 3, "failed": []}) { Ok(()) } else { Err(held.to_string()) }
    });
    all.await.unwrap();

    // A gateway that starts again has forgotten everything, and asks the others.
    assert_eq!(group.switch(0, true).await["holding"], 3);
    two.signal(Signal::KILL);
    two.ended(Duration::from_secs(5)).await;
    let _two = group.start(1).await;
    assert_eq!(group.mode(1).await, "all");
    let lines = |text: &str| one.log().lines().filter(|line| line.contains(text)).count();
    // The third before its start, the second while it was stopped, and perhaps while it was killed.
    assert!((2..=3).contains(&lines("does not take part")), "{}", one.log());
    assert_eq!(lines("answers again"), lines("does not take part"), "{}", one.log());
}

/// Runs the load until the generator's machine is not too busy, on empty caches. Returns the requests that the shards
/// received too.
async fn load(group: &Group, at: SocketAddr, args: &[&str]) -> (LoadReport, u64) {
    for _ in 0..5 {
        let reset = group.lab.client.post(group.url(0, "/admin/reset")).send().await.unwrap();
        assert_eq!(reset.status(), 200);
        let before: u64 = group.lab.received().await.iter().sum();
        match Lab::load_at(at, args).report().await {
            Ok(report) => return (report, group.lab.received().await.iter().sum::<u64>() - before),
            Err(why) if why.is_busy_machine() => {}
            Err(why) => panic!("{why}"),
        }
    }
    panic!("the machine is too busy");
}

/// Requests a second that the generator has seen to reach a shard.
fn upstream(report: &LoadReport) -> f64 {
    let requests: u64 = report.shards.iter().map(|shard| shard.upstream_requests).sum();
    requests as f64 / report.duration_seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn with_caching_through_two_gateways_reaches_the_shards_as_predicted() {
    let group = Group::of(3).await;
    let (_one, _two) = (group.start(0).await, group.start(1).await);
    let balancer = Balancer::start(vec![group.addr(0), group.addr(1)]).await;
    let (report, received) = load(&group, balancer.addr, &["run", "with-caching", "--duration", "24"]).await;
    let gateways = report.cache_gateways.clone().unwrap();
    assert_eq!((gateways.holding, gateways.known), (2, 3), "the third does not run yet");
    let (low, high) = bounds(&report);
    let found = upstream(&report);
    println!("through two gateways: {found:.1}/s, predicted {low:.1} to {high:.1}; {received} at the shards");
    assert!((low..=high).contains(&found), "{low} {found} {high}");
    let sent: u64 = report.shards.iter().map(|shard| shard.upstream_requests).sum();
    assert_eq!(received, sent, "the shards and the generator count the same");

    // A third gateway starts in mid-run, and serves a load of its own as the others do.
    let run = Lab::load_at(balancer.addr, &["run", "with-caching", "--duration", "24"]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let _three = group.start(2).await;
    assert_eq!(group.mode(2).await, "all");
    let cold = Lab::load_at(group.addr(2), &["run", "celebrity", "--rate-factor", "0.5", "--duration", "10"]);
    let (run, cold) = (ended(run).await, ended(cold).await);
    if let (Some(run), Some(cold)) = (run, cold) {
        println!(
            "a third in mid-run: {:.1}/s, and {:.1}/s of 65/s at the third",
            upstream(&run),
            upstream(&cold)
        );
        assert!(upstream(&run) < high && upstream(&cold) < 20.0, "{run:?} {cold:?}");
    }
}

/// The lowest and the highest rate that is predicted: all requests through one gateway, and evenly through all, with
/// four standard errors.
fn bounds(report: &LoadReport) -> (f64, f64) {
    let [one, all] = [report.predicted_upstream_per_second, report.predicted_upstream_of_gateways_per_second]
        .map(Option::unwrap);
    let error = |of: UpstreamPrediction| 4.0 * of.cold_start_standard_error;
    (one.cold_start - error(one), all.cold_start + error(all))
}

/// The report, unless the generator's machine was too busy.
async fn ended(load: Load) -> Option<LoadReport> {
    match load.report().await {
        Ok(report) => Some(report),
        Err(why) if why.is_busy_machine() => None,
        Err(why) => panic!("{why}"),
    }
}
