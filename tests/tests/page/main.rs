//! Tests the live page in headless Chromium.
//!
//! The scripts are in `tests/page/`.

#![expect(clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::net::TcpListener;
use std::time::Duration;

use lab_tests::kernel;
use lab_tests::lab::{Lab, Load, Options};
use lab_tests::page::{self, Tools};
use lab_tests::poll;
use lab_tests::process::{Process, TestProcess as _};
use lab_tests::store_lab::StoreLab;

/// Maximum time for a script.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A lab whose live page has all features.
struct Bench {
    tools: Tools,
    lab: Lab,
    _starter: Process,
    settings: Vec<(&'static str, String)>,
}

impl Bench {
    /// Returns `None`, and reports the test as skipped, if a tool or the kernel is missing.
    async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[]).await
    }

    /// Like [`start`](Self::start), with these settings of the shards.
    async fn start_with(test: &str, shard: &[(&'static str, &str)]) -> Option<Self> {
        let tools = Tools::available(test)?;
        if !kernel::available(test) {
            return None;
        }
        // The gateway needs the page's address before the page starts.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let origins = ("ADMIN_ORIGINS", format!("http://127.0.0.1:{port}"));
        let shard = shard.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let options = Options { shard, gateway: vec![origins.clone()], ..Options::default() };
        let mut lab = Lab::start(options).await;
        let gateway = lab.at_gateway("");
        let settings = [("PORT", "0".to_owned()), ("GATEWAY", gateway.clone()), origins];
        let mut starter = Process::of_lab("load", &["serve"], &settings);
        let scenarios = format!("http://{}", starter.ready().await);
        lab.start_probe_with(&[("PORT", port.to_string()), ("PAGE_SCENARIOS_URL", scenarios.clone())]);
        let settings = vec![
            ("PROBE_URL", format!("http://127.0.0.1:{port}")),
            ("GATEWAY_URL", gateway),
            ("SCENARIOS_URL", scenarios),
            ("PICTURES", page::pictures().display().to_string()),
        ];
        Some(Self { tools, lab, _starter: starter, settings })
    }

    fn script(&self, name: &str) -> Process {
        self.tools.start(name, &self.settings)
    }

    fn celebrity(&self, seconds: &str) -> Load {
        self.lab.load_started(&["run", "celebrity", "--duration", seconds])
    }
}

/// Waits until a script has ended.
async fn done(mut script: Process) {
    let status = script.ended(TIMEOUT).await;
    assert!(status.success(), "{status}");
}

/// Waits for a line in the output of a running script.
async fn says(script: &mut Process, line: &str) {
    let output = poll::until(TIMEOUT, || {
        let (found, running) = (script.log().lines().any(|output| output == line), script.is_running());
        async move { if found || !running { Ok(found) } else { Err(format!("never said {line}")) } }
    });
    assert_eq!(output.await, Ok(true), "before it said {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_on_the_page_are_the_apis() {
    let Some(bench) = Bench::start("the_numbers_on_the_page_are_the_apis").await else { return };
    let load = bench.celebrity("120");
    let mut script = bench.script("numbers");
    says(&mut script, "under load").await;
    drop(load);
    done(script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switches_really_switch() {
    let Some(bench) = Bench::start("the_switches_really_switch").await else { return };
    done(bench.script("switches")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shards_breaker_is_on_the_page() {
    let Some(mut bench) = Bench::start("a_dead_shards_breaker_is_on_the_page").await else { return };
    let _load = bench.lab.load_started(&["run", "uniform", "--duration", "170"]);
    let mut script = bench.script("breaker");
    says(&mut script, "closed").await;
    bench.lab.shards[1].kill();
    says(&mut script, "open").await;
    bench.lab.start_shard(1).expect("the shard starts again");
    done(script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_are_started_and_stopped() {
    let Some(bench) = Bench::start("scenarios_are_started_and_stopped").await else { return };
    done(bench.script("scenarios")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_survives_a_probe_restart() {
    let Some(mut bench) = Bench::start("the_page_survives_a_probe_restart").await else { return };
    let mut script = bench.script("restart");
    says(&mut script, "live").await;
    bench.lab.probe = None;
    says(&mut script, "lost").await;
    bench.lab.start_probe();
    done(script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_light_and_everybody_can_use_it() {
    let Some(bench) = Bench::start("it_is_light_and_everybody_can_use_it").await else { return };
    let _load = bench.celebrity("170");
    done(bench.script("looks")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_its_hot_key_and_its_dead_node_on_the_page() {
    let test = "a_store_has_its_hot_key_and_its_dead_node_on_the_page";
    let Some(tools) = Tools::available(test) else { return };
    if !kernel::available(test) || !StoreLab::available(test) {
        return;
    }
    let mut lab = StoreLab::start(::lab::Probe::default()).await;
    let _load = lab.load_started(&["run", "celebrity", "--duration", "170"]);
    let settings = [("PROBE_URL", lab.probe_url()), ("PICTURES", page::pictures().display().to_string())];
    let mut script = tools.start("store", &settings);
    let hot = poll::until(TIMEOUT, || {
        let (log, running) = (script.log(), script.is_running());
        let hot = log.lines().find_map(|line| line.strip_prefix("hot ").map(str::to_owned));
        async move { if hot.is_some() || !running { Ok(hot) } else { Err("no hot node yet".to_owned()) } }
    });
    let hot = hot.await.expect("a line").expect("the script names the hot node");
    let dead = lab.nodes.iter_mut().find(|node| node.address().is_ok_and(|at| at.to_string() == hot));
    dead.expect("it is one of the nodes").kill();
    done(script).await;
}

/// Updates the README's pictures. Runs only for `cargo xtask page-test --pictures`.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_pictures_are_taken() {
    if std::env::var_os("LAB_PAGE_PICTURES").is_none() {
        return;
    }
    // The lab profile, so that the hot shard's latency is visible.
    let profile = [("BASE_LATENCY_MS", "15"), ("SHARD_CONCURRENCY", "2")];
    let Some(bench) = Bench::start_with("the_readmes_pictures_are_taken", &profile).await else { return };
    let _load = bench.celebrity("170");
    done(bench.script("picture")).await;
}
