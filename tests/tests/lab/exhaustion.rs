//! Tests processes without connections or descriptors.
//!
//! Control requests are answered throughout, the log has at most a line a second, and the process is back soon.

use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::process::{Process, TestProcess as _};
use lab_tests::{attack, build, poll};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The message of the line a second.
const SHED: &str = "connections or requests were shed";
/// How long the attack lasts.
const ATTACK: Duration = Duration::from_secs(3);
/// How soon the process answers other requests after the attack.
const SOON: Duration = Duration::from_secs(2);

/// The status of a request on a connection of its own, and its duration.
async fn asked(addr: SocketAddr, path: &str) -> (Option<u16>, Duration) {
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let answer = client.get(format!("http://{addr}{path}")).timeout(Duration::from_secs(3)).send().await;
    (answer.ok().map(|answer| answer.status().as_u16()), began.elapsed())
}

/// Requests that last a second each, from `clients` clients at the same time, until the attack is over.
async fn occupy(addr: SocketAddr, clients: usize) {
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < ATTACK {
        let request = format!("GET /data/occupied-{round} HTTP/1.1\r\nHost: lab\r\n\r\n");
        let held = attack::hold(addr, clients, &request).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        drop(held);
        round += 1;
    }
}

/// Asserts that control requests are answered while `clients` clients occupy a process, and that `path` is answered
/// soon after that.
async fn holds(process: &Process, clients: usize, path: &str) {
    let addr = process.address().unwrap();
    let ready = poll::until(Duration::from_secs(10), || async {
        match asked(addr, "/ready").await {
            (Some(200), _) => Ok(()),
            (status, _) => Err(format!("{status:?}")),
        }
    });
    ready.await.unwrap();
    let before = process.log();
    assert!(!before.contains(SHED), "{before}");
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let asking = async {
        let mut asked_for = 0;
        while began.elapsed() < ATTACK {
            for path in ["/ready", "/metrics", "/live", "/stats"] {
                let (status, took) = asked(addr, path).await;
                assert_eq!(status, Some(200), "{path} after {:?}, in {took:?}", began.elapsed());
                (slowest, asked_for) = (slowest.max(took), asked_for + 1);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        asked_for
    };
    let ((), asked_for) = tokio::join!(occupy(addr, clients), asking);
    let ended = Instant::now();
    let back = poll::until(SOON, || async {
        match asked(addr, path).await {
            (Some(200), _) => Ok(()),
            (status, _) => Err(format!("{status:?}")),
        }
    });
    back.await.unwrap();
    let back = ended.elapsed();
    let log = process.log();
    let lines = log.lines().filter(|line| line.contains(SHED)).count();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    println!(
        "{}: {clients} clients: {asked_for} control requests answered, the slowest in {slowest:?}; back in {back:?}; \
         {lines} lines in the log",
        process.name()
    );
    assert!((1..=seconds).contains(&lines), "{lines} lines in {seconds} seconds");
    let others = log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count();
    assert!(others <= lines + 8, "{others} warnings: {log}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A lab in which every request takes a second.
async fn slow(gateway: Vec<(&'static str, String)>) -> Lab {
    let shard = vec![("BASE_LATENCY_MS", "1000".to_owned())];
    Lab::start(Options { gateway, shard, ..Options::default() }).await
}

/// The values of a process's metrics.
async fn metric(lab: &Lab, addr: SocketAddr, name: &str) -> u64 {
    let metrics =
        lab.client.get(format!("http://{addr}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// A gateway of the lab with 256 descriptors, and its address.
async fn few_descriptors(lab: &Lab) -> (Process, SocketAddr) {
    let shards: Vec<_> = lab.shard_addrs().iter().map(|shard| format!("http://{shard}")).collect();
    let settings = [("PORT", "0".to_owned()), ("SHARD_URLS", shards.join(","))];
    let command = format!("ulimit -n 256; exec {}", build::binary("gateway").display());
    let mut gateway = Process::start_program(Path::new("/bin/sh"), &["-c", &command], &settings);
    let addr = gateway.ready().await;
    (gateway, addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_connections_control_requests_are_answered() {
    // A memory limit that leaves room for the smallest number of connections.
    let lab = slow(vec![("MEMORY_MAX_BYTES", (64 << 20).to_string())]).await;
    holds(&lab.gateway, 300, "/admin/shard-mapping/k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_fit_few_descriptors() {
    let lab = slow(Vec::new()).await;
    let (gateway, addr) = few_descriptors(&lab).await;
    holds(&gateway, 300, "/admin/shard-mapping/k").await;
    for metric_of in ["connections", "requests"] {
        let name = format!("service_{metric_of}_shed_total{{reason=\"no_descriptor\"}}");
        assert_eq!(metric(&lab, addr, &name).await, 0, "{name}");
    }
    for id in 0..SHARDS {
        let name = format!("gateway_shard_breaker_opened_total{{shard_id=\"{id}\"}}");
        assert_eq!(metric(&lab, addr, &name).await, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_neither_delay_nor_fail_others() {
    let lab = Lab::start(Options::default()).await;
    let (_gateway, addr) = few_descriptors(&lab).await;
    let url = format!("http://{addr}/data/busy");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let began = Instant::now();
    let reading = async {
        let mut read = 0;
        while began.elapsed() < ATTACK {
            assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
            read += 1;
        }
        read
    };
    let asking = async {
        let mut slowest = Duration::ZERO;
        while began.elapsed() < ATTACK {
            for path in ["/ready", "/metrics"] {
                let (status, took) = asked(addr, path).await;
                assert_eq!(status, Some(200), "{path} after {:?}, in {took:?}", began.elapsed());
                slowest = slowest.max(took);
            }
        }
        slowest
    };
    let (silent, read, slowest) = tokio::join!(attack::hold(addr, 400, ""), reading, asking);
    println!("{read} reads, the slowest control request took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // The silent clients still hold their connections, or try to. Others find a place.
    assert_eq!(asked(addr, "/data/other").await.0, Some(200));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_control_requests_are_answered() {
    let lab = slow(Vec::new()).await;
    let (shard, addr) = (&lab.shards[0], lab.shard_addrs()[0]);
    let open = std::fs::read_dir(format!("/proc/{}/fd", shard.pid())).unwrap().count() as u64;
    // Fewer than the shard had at its start, from which it derived its limit.
    let (limit, pid) = (open + 60, i32::try_from(shard.pid()).unwrap());
    rlimit::prlimit(pid, rlimit::Resource::NOFILE, Some((limit, limit)), None).unwrap();
    holds(shard, 300, "/health").await;
    assert!(metric(&lab, addr, "service_connections_shed_total{reason=\"no_descriptor\"}").await > 0);
}
