//! Tests that no process outgrows its container: by the sum of its limits, and under attack.

use clap::Parser;
use lab_tests::attack;
use lab_tests::build::{sized, tree};
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use lab_tests::process::Process;
use probe::aggregate::settings::{AggregateArgs, AggregateConfig};
use probe::config::RunArgs;
use service::limits::{ANSWERS_BYTES, BODIES_BYTES, CONNECTION_BYTES, CONTROL_ANSWERS_BYTES, Needs, RESERVE};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// The usual limit of open files in a container.
const OPEN_FILES: u64 = 1 << 20;
/// Workers of a process whose deployment sets none, for its descriptors.
const WORKERS: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// Four shards, as in every deployment.
const SHARD_URLS: &str = "http://a:1,http://b:1,http://c:1,http://d:1";

const COMPOSE: &str = "compose.yaml";
const BASE: &str = "deploy/kubernetes/base";

#[derive(Parser)]
struct Run {
    #[command(flatten)]
    args: RunArgs,
}

#[derive(Parser)]
struct Aggregate {
    #[command(flatten)]
    args: AggregateArgs,
}

/// The needs of a process with this memory limit and the defaults of its settings.
fn needs(process: &str, limit: u64) -> Needs {
    let limit = limit.to_string();
    let line = |more: &[&str]| [&[process, "--memory-max-bytes", &limit], more].concat().join(" ");
    let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let shards = ["--shard-urls", SHARD_URLS];
    match process {
        "gateway" => {
            let args = gateway::config::Args::parse_from(words(line(&shards)));
            gateway::config::Config::try_from(args).unwrap().needs(OPEN_FILES)
        }
        "shard" => {
            let args = shard::config::Args::parse_from(words(line(&["--shard-id", "0"])));
            shard::config::Config::try_from(args).unwrap().needs()
        }
        "probe" => {
            probe::config::Config::try_from(Run::parse_from(words(line(&shards))).args).unwrap().needs()
        }
        _ => {
            let args =
                Aggregate::parse_from(words(line(&[&shards[..], &["--probe-url", "http://p:1"]].concat())));
            AggregateConfig::try_from(args.args).unwrap().needs()
        }
    }
}

/// The first memory limit after `place` in a file of the repository, in bytes.
fn limit(file: &str, place: &str) -> u64 {
    let text = std::fs::read_to_string(tree().root.join(file)).unwrap();
    let rest = text.split_once(place).unwrap_or_else(|| panic!("{file} has no {place:?}")).1;
    let value = rest.lines().find_map(|line| {
        let line = line.trim();
        if let Some(limit) = line.strip_prefix("mem_limit: ") {
            return Some(limit.trim_end_matches('m').parse::<u64>().unwrap() * MIB);
        }
        let limit = line.strip_prefix("limits: {")?.split_once("memory: ")?.1;
        let limit = limit.trim_end_matches([' ', '}']);
        let mebibytes = limit.strip_suffix("Mi").map(|number| number.parse::<u64>().unwrap());
        Some(
            mebibytes.unwrap_or_else(|| limit.strip_suffix("Gi").unwrap().parse::<u64>().unwrap() << 10)
                * MIB,
        )
    });
    value.unwrap_or_else(|| panic!("{file} has no memory limit after {place:?}"))
}

/// Deployment, process, and where its limit is.
fn deployments() -> Vec<(&'static str, &'static str, u64)> {
    let in_base = |name| limit(&format!("{BASE}/{name}.yaml"), "containers:");
    let production = "deploy/kubernetes/overlays/production/kustomization.yaml";
    vec![
        ("Compose", "gateway", limit(COMPOSE, "  lab39-api-gateway:\n")),
        ("Compose", "shard", limit(COMPOSE, "x-shard: &shard\n")),
        ("Compose", "probe", limit(COMPOSE, "  lab39-probe:\n")),
        ("Kubernetes", "gateway", in_base("gateway")),
        ("Kubernetes", "shard", in_base("shard")),
        ("Kubernetes", "probe", in_base("probe")),
        ("Kubernetes", "aggregator", in_base("probe-aggregator")),
        ("Kubernetes, production", "shard", limit(production, "- name: shard\n")),
    ]
}

#[test]
fn the_sum_of_the_limits_fits_every_container_and_the_table_is_up_to_date() {
    let page = std::fs::read_to_string(tree().root.join("docs/limits.md")).unwrap();
    let content = (BODIES_BYTES + ANSWERS_BYTES + CONTROL_ANSWERS_BYTES) as u64;
    let mut missing = String::new();
    for (deployment, process, limit) in deployments() {
        let needs = needs(process, limit);
        let connections = needs.connections(OPEN_FILES, WORKERS);
        let most = needs.most_bytes(connections);
        assert!(most <= limit, "{deployment}, {process}: {} MiB of {}", most / MIB, limit / MIB);
        let row = format!(
            "| {deployment} | {process} | {} | {} | {connections} + {RESERVE} | {} | {} | {} |",
            needs.bytes.div_ceil(MIB),
            content / MIB,
            CONNECTION_BYTES / 1024,
            most.div_ceil(MIB),
            limit / MIB,
        );
        if !page.contains(&row) {
            missing = format!("{missing}\n{row}");
        }
    }
    assert!(missing.is_empty(), "docs/limits.md lacks these rows:{missing}");
}

/// The largest resident memory that the process ever had, in bytes.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Writes `count` values of 60 KiB.
async fn write(lab: &Lab, addr: SocketAddr, count: usize) {
    let writes = (0..16).map(|writer| {
        let (client, url) = (lab.client.clone(), format!("http://{addr}/data"));
        tokio::spawn(async move {
            for index in (writer..count).step_by(16) {
                let body = attack::write_body(&format!("filled-{index}"), 60 << 10);
                let answer = client.post(&url).body(body).send().await.unwrap();
                assert!([200, 507].contains(&answer.status().as_u16()), "{answer:?}");
            }
        })
    });
    for written in writes.collect::<Vec<_>>() {
        written.await.unwrap();
    }
}

/// The median duration of a read through the gateway.
async fn median(lab: &Lab) -> Duration {
    let mut took = Vec::new();
    for _ in 0..41 {
        let began = Instant::now();
        let answer = lab.client.get(lab.at_gateway("/data/other")).send().await.unwrap();
        assert!([200, 503].contains(&answer.status().as_u16()), "{answer:?}");
        took.push(began.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_outgrows_its_container_under_attack() {
    let limits = [limit(COMPOSE, "  lab39-api-gateway:\n"), limit(COMPOSE, "x-shard: &shard\n")];
    let settings = |limit: u64| ("MEMORY_MAX_BYTES", limit.to_string());
    let lab = Lab::start(Options {
        gateway: vec![settings(limits[0]), ("CACHE_ENABLED", "true".to_owned())],
        shard: vec![settings(limits[1])],
        probe: kernel::available("no_process_outgrows_its_container_under_attack: its probe"),
        probe_settings: vec![settings(limits[1])],
        ..Options::default()
    })
    .await;
    // More than cache and store hold.
    let values = usize::try_from(limits[0] / 8 / (60 << 10)).unwrap() + 100;
    write(&lab, lab.gateway_addr(), values).await;
    for index in 0..values {
        let read = lab.client.get(lab.at_gateway(&format!("/data/filled-{index}"))).send().await.unwrap();
        assert_eq!(read.status(), 200);
    }
    write(&lab, lab.shard_addrs()[0], values).await;
    let mut targets = vec![
        ("gateway", &lab.gateway, lab.gateway_addr(), limits[0]),
        ("shard", &lab.shards[0], lab.shard_addrs()[0], limits[1]),
    ];
    if let Some(probe) = &lab.probe {
        targets.push(("probe", probe, lab.probe_addr(), limits[1]));
    }
    let attacks = [
        ("heads", attack::unfinished_head()),
        ("bodies", attack::unfinished_body()),
        ("unread values", attack::reads("filled-0")),
        ("unread metrics", "GET /metrics HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(50)),
        ("unread events", "GET /api/events HTTP/1.1\r\nHost: lab\r\n\r\n".to_owned()),
    ];
    for (name, process, addr, limit) in targets {
        let filled = peak(process);
        for (attack, bytes) in &attacks {
            let before = process.resident_bytes().unwrap();
            let held = attack::hold(addr, sized(800, 5_000), bytes).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (resident, median) = (process.resident_bytes().unwrap(), median(&lab).await);
            let peak = peak(process);
            println!(
                "{name}, {} x {attack}: {} MiB before, {} MiB then, {} MiB at most of {}; others' median {median:?}",
                held.len(),
                before / MIB,
                resident / MIB,
                peak / MIB,
                limit / MIB
            );
            assert!(peak < limit, "{name}, {attack}: {peak} bytes of {limit}");
            drop(held);
        }
        println!("{name}: {} MiB filled", filled / MIB);
    }
}
