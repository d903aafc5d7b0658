//! One lab: shards, gateway and probe as processes, and the questions a test asks them.

use protocol::body::{GatewayCounts, LoadRefusal, LoadRefused, ShardStats};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

use crate::poll;
use crate::process::Process;

/// How many shards a lab has.
pub const SHARDS: usize = 4;

/// The generator's exit code when it refuses to report.
const REFUSED: i32 = 3;
/// How often a run that came too late is tried.
const LOAD_ATTEMPTS: u32 = 5;

/// Labs of one test binary run one after the other: each wants the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What a lab is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether a probe runs.
    pub probe: bool,
    /// Settings of every shard; with none, the capacity model is off (no sleep, no limit).
    pub shard: Vec<(&'static str, String)>,
    /// Settings of the gateway.
    pub gateway: Vec<(&'static str, String)>,
    /// Settings of the probe.
    pub probe_settings: Vec<(&'static str, String)>,
    /// Whether it may run beside other labs of this process; else it waits for its turn.
    pub beside: bool,
}

/// A running lab. Dropping it ends every process.
pub struct Lab {
    /// The shards, by id.
    pub shards: Vec<Process>,
    /// Where the shards listen, by id.
    pub shard_addrs: Vec<SocketAddr>,
    /// The gateway.
    pub gateway: Process,
    /// Where the gateway listens.
    pub gateway_addr: SocketAddr,
    /// The probe, when asked for.
    pub probe: Option<(Process, SocketAddr)>,
    /// For questions; HTTP/1.1, no proxy.
    pub client: reqwest::Client,
    options: Options,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Lab {
    /// Starts a lab and waits until all of it is ready.
    pub async fn start(options: Options) -> Self {
        let turn = if options.beside { None } else { Some(ONE_AT_A_TIME.lock().await) };
        // A thousand readers are a thousand sockets of the test itself.
        service::process::raise_open_files();
        let mut shards: Vec<Process> = (0..SHARDS).map(|id| shard(id, 0, &options)).collect();
        let mut shard_addrs = Vec::new();
        for process in &mut shards {
            shard_addrs.push(process.ready().await);
        }
        let (gateway, gateway_addr) = gateway(&shard_addrs, &options).await;
        let client = client();
        let mut lab =
            Self { shards, shard_addrs, gateway, gateway_addr, probe: None, client, options, _turn: turn };
        if lab.options.probe {
            lab.start_probe().await;
        }
        lab
    }

    /// Starts a probe, on top of any that runs.
    pub async fn start_probe(&mut self) {
        let mut settings = vec![
            ("PORT", "0".to_owned()),
            ("SHARD_URLS", urls(&self.shard_addrs)),
            ("GATEWAY_URL", self.at_gateway("")),
        ];
        // Of two values the later one holds.
        settings.extend(self.options.probe_settings.clone());
        let mut probe = Process::start("probe", &["run"], &settings);
        let addr = probe.ready().await;
        self.probe = Some((probe, addr));
    }

    /// Starts a probe with these settings, which any later one has too.
    pub async fn start_probe_with(&mut self, settings: &[(&'static str, String)]) {
        self.options.probe_settings = settings.to_vec();
        self.start_probe().await;
    }

    /// Starts another gateway in front of the same shards.
    pub async fn start_gateway(&self) -> (Process, SocketAddr) {
        gateway(&self.shard_addrs, &self.options).await
    }

    /// Ends a shard by `signal` and starts it again on the same port.
    pub async fn restart_shard(&mut self, id: usize, signal: libc::c_int) {
        self.shards[id].signal(signal);
        self.shards[id].ended(Duration::from_secs(20)).await;
        self.shards[id] = shard(id, self.shard_addrs[id].port(), &self.options);
        self.shards[id].ready().await;
    }

    /// The URL of a gateway path.
    #[must_use]
    pub fn at_gateway(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway_addr)
    }

    /// The URL of a shard's path.
    #[must_use]
    pub fn at_shard(&self, id: usize, path: &str) -> String {
        format!("http://{}{path}", self.shard_addrs[id])
    }

    /// A JSON answer.
    ///
    /// # Panics
    /// When there is none of that shape.
    pub async fn json<T: DeserializeOwned>(&self, url: &str) -> T {
        let answer = async { self.client.get(url).send().await?.json().await };
        answer.await.unwrap_or_else(|err: reqwest::Error| panic!("{url}: {err:?}"))
    }

    /// The `/stats` of one shard.
    pub async fn shard_stats(&self, id: usize) -> ShardStats {
        self.json(&self.at_shard(id, "/stats")).await
    }

    /// `requests_received` of every shard.
    pub async fn received(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for id in 0..SHARDS {
            all.push(self.shard_stats(id).await.requests_received);
        }
        all
    }

    /// The gateway's `/stats`.
    pub async fn gateway_stats(&self) -> GatewayCounts {
        self.json(&self.at_gateway("/stats")).await
    }

    /// A path of the probe.
    ///
    /// # Panics
    /// When no probe runs.
    pub async fn probe_json(&self, path: &str) -> Value {
        let (_, addr) = self.probe.as_ref().expect("the lab has a probe");
        self.json(&format!("http://{addr}{path}")).await
    }

    /// A path of the probe, as text.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn probe_text(&self, path: &str) -> String {
        let (_, addr) = self.probe.as_ref().expect("the lab has a probe");
        let answer = async { self.client.get(format!("http://{addr}{path}")).send().await?.text().await };
        answer.await.unwrap_or_else(|err: reqwest::Error| panic!("{path}: {err:?}"))
    }

    /// Data requests per shard by the kernel's count, since the probe attached.
    pub async fn kernel_requests(&self) -> Vec<u64> {
        let shards = self.probe_json("/api/shards").await;
        let shards = shards["shards"].as_array().cloned().unwrap_or_default();
        let count =
            |shard: &Value, operation: &str| shard["requests"][operation].as_u64().unwrap_or_default();
        shards.iter().map(|shard| count(shard, "get") + count(shard, "set")).collect()
    }

    /// Waits until the probe says that every shard agrees with nothing in flight; gives the comparison.
    ///
    /// # Panics
    /// When it does not within ten seconds; the message has the last comparison.
    pub async fn agreed(&self) -> Value {
        let agreed = poll::until(Duration::from_secs(10), || async {
            let compare = self.probe_json("/api/compare").await;
            let shards = compare["shards"].as_array().cloned().unwrap_or_default();
            let good =
                |shard: &Value| shard["agrees"] == true && shard["difference"] == 0 && shard["bound"] == 0;
            if shards.len() == SHARDS && shards.iter().all(good) {
                Ok(compare)
            } else {
                Err(compare.to_string())
            }
        });
        agreed.await.unwrap_or_else(|last| panic!("kernel and application do not agree {last}"))
    }

    /// Runs the load generator against the gateway to its end; gives its report. A run that a busy machine made late is
    /// repeated from the gateway's reset, a few times.
    ///
    /// # Panics
    /// When it refuses to report for another reason, or each time.
    pub async fn load(&self, args: &[&str]) -> Value {
        self.load_between(args, || async {}).await
    }

    /// The same, with something to be done before every attempt.
    ///
    /// # Panics
    /// As [`Lab::load`].
    pub async fn load_between<F: Future<Output = ()>>(&self, args: &[&str], before: impl Fn() -> F) -> Value {
        for attempt in 1.. {
            let reset = self.client.post(self.at_gateway("/admin/reset")).send().await;
            assert!(reset.is_ok_and(|answer| answer.status() == 200), "the gateway takes a reset");
            before().await;
            match self.load_started(args).report().await {
                Ok(report) => return report,
                Err(NoReport::Refused(why)) if why.reason.is_busy_machine() && attempt < LOAD_ATTEMPTS => {}
                Err(why) => panic!("the load generator, attempt {attempt}: {why:?}"),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Starts the load generator.
    #[must_use]
    pub fn load_started(&self, args: &[&str]) -> Load {
        Self::load_at(self.gateway_addr, args)
    }

    /// Starts one against another gateway.
    #[must_use]
    pub fn load_at(gateway: SocketAddr, args: &[&str]) -> Load {
        let gateway = format!("http://{gateway}");
        let args = [args, &["--gateway", &gateway, "--json", "-"]].concat();
        Load(Process::start("load", &args, &[]))
    }
}

/// A running load generator.
pub struct Load(Process);

impl Load {
    /// Waits for its end, whatever it has to say.
    pub async fn ended(mut self) {
        self.0.ended(Duration::from_secs(900)).await;
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// Waits for its end; returns its report.
    ///
    /// # Errors
    /// When it failed, or refused to report.
    pub async fn report(mut self) -> Result<Value, NoReport> {
        let status = self.0.ended(Duration::from_secs(900)).await;
        let log = self.0.log();
        match status.code() {
            Some(0) => parse(&log).map_err(NoReport::Failed),
            Some(REFUSED) => {
                // A line of its own, beside the sentence on standard error.
                let line = log.lines().find(|line| line.starts_with('{')).unwrap_or_default();
                Err(parse::<LoadRefused>(line)
                    .map_or_else(NoReport::Failed, |body| NoReport::Refused(body.refused)))
            }
            _ => Err(NoReport::Failed(format!("{status}\n{log}"))),
        }
    }
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|err| format!("{err}: {json}"))
}

/// Why there is no report; in one line, when it is displayed.
#[derive(Debug)]
pub enum NoReport {
    /// The figures would be meaningless.
    Refused(LoadRefusal),
    /// Exit code and log of a run that failed.
    Failed(String),
}

impl std::fmt::Display for NoReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.detail),
            Self::Failed(log) => {
                let last = log.lines().rfind(|line| !line.trim().is_empty());
                f.write_str(last.unwrap_or("the generator printed nothing").trim_start_matches("load: "))
            }
        }
    }
}

/// An HTTP client without proxy.
///
/// # Panics
/// When none can be built.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS needs nothing")
}

fn shard(id: usize, port: u16, options: &Options) -> Process {
    let mut settings = vec![
        ("SHARD_ID", id.to_string()),
        ("PORT", port.to_string()),
        ("BASE_LATENCY_MS", "0".to_owned()),
        ("LOAD_LATENCY_FACTOR_MS", "0".to_owned()),
        ("SHARD_CONCURRENCY", "0".to_owned()),
    ];
    settings.retain(|(name, _)| !options.shard.iter().any(|(other, _)| other == name));
    settings.extend(options.shard.clone());
    Process::start("shard", &[], &settings)
}

async fn gateway(shards: &[SocketAddr], options: &Options) -> (Process, SocketAddr) {
    let mut settings = vec![("PORT", "0".to_owned()), ("SHARD_URLS", urls(shards))];
    settings.extend(options.gateway.clone());
    let mut gateway = Process::start("gateway", &[], &settings);
    let addr = gateway.ready().await;
    (gateway, addr)
}

fn urls(addrs: &[SocketAddr]) -> String {
    addrs.iter().map(|addr| format!("http://{addr}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::NoReport;

    #[test]
    fn a_failure_is_its_last_line() {
        let log = "exit status: 1\n{}\nload: error_share is 0.100, not below 0.01\n";
        assert_eq!(NoReport::Failed(log.to_owned()).to_string(), "error_share is 0.100, not below 0.01");
    }
}
