//! Runs one lab for a test and sends requests to it.

use ::lab::Probe;
use ::lab::generator::{Generator, NoReport};
use ::lab::process::{Log, Process, Signal};
use protocol::body::{GatewayCounts, LoadReport, ShardStats};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

use crate::process::TestProcess as _;
use crate::{build, poll};

/// Number of shards in a lab.
pub const SHARDS: usize = ::lab::ports::SHARDS as usize;

/// Maximum attempts for a load run that the generator refuses because the machine was too busy.
const LOAD_ATTEMPTS: u32 = 5;

/// Settings that switch the capacity model off: no service time, no concurrency limit.
const FAST: [(&str, &str); 3] =
    [("BASE_LATENCY_MS", "0"), ("LOAD_LATENCY_FACTOR_MS", "0"), ("SHARD_CONCURRENCY", "0")];

/// Labs of one test binary run one after another, because each needs the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for the turn of a lab that needs the whole machine.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// Options for starting a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether to start a probe.
    pub probe: bool,
    /// Settings of every shard. If empty, the capacity model is off.
    pub shard: Vec<(&'static str, String)>,
    /// Settings of the gateway.
    pub gateway: Vec<(&'static str, String)>,
    /// Settings of the probe.
    pub probe_settings: Vec<(&'static str, String)>,
    /// Whether this lab may run at the same time as other labs of this process. Otherwise it waits.
    pub beside: bool,
}

/// A running lab. Dropping it ends all its processes.
pub struct Lab {
    lab: ::lab::Lab,
    /// HTTP/1.1 client without proxy, for requests to the lab.
    pub client: reqwest::Client,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Deref for Lab {
    type Target = ::lab::Lab;

    fn deref(&self) -> &::lab::Lab {
        &self.lab
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut ::lab::Lab {
        &mut self.lab
    }
}

impl Lab {
    /// Starts a lab and waits until all parts are ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: Options) -> Self {
        let turn = if options.beside { None } else { Some(turn().await) };
        // A test with a thousand readers has a thousand sockets.
        service::process::raise_open_files();
        let fast = FAST.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let probe = Probe { settings: options.probe_settings, guard: Vec::new() };
        let lab = ::lab::Lab::start(::lab::Options {
            programs: build::folder(),
            shard: fast.chain(options.shard).collect(),
            gateway: options.gateway,
            probe: options.probe.then_some(probe),
            ..::lab::Options::default()
        });
        Self { lab: lab.unwrap_or_else(|err| panic!("{err:#}")), client: client(), _turn: turn }
    }

    /// Starts another probe.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_probe(&mut self) {
        self.lab.start_probe().unwrap_or_else(|err| panic!("{err:#}"));
    }

    /// Starts a probe with these settings. Later probes use them too.
    pub fn start_probe_with(&mut self, settings: &[(&'static str, String)]) {
        self.lab.set_probe(settings.to_vec());
        self.start_probe();
    }

    /// Starts another gateway in front of the same shards.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_gateway(&self) -> (Process, SocketAddr) {
        let gateway = self.lab.start_gateway().expect("another gateway");
        let addr = addr(&gateway);
        (gateway, addr)
    }

    /// The gateway's address.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        addr(&self.gateway)
    }

    /// The shards' addresses, by id.
    #[must_use]
    pub fn shard_addrs(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(addr).collect()
    }

    /// The probe's address.
    ///
    /// # Panics
    /// When no probe runs.
    #[must_use]
    pub fn probe_addr(&self) -> SocketAddr {
        addr(self.probe.as_ref().expect("the lab has a probe"))
    }

    /// Ends a shard with `signal` and restarts it on the same port.
    ///
    /// # Panics
    /// When it does not end or start.
    pub async fn restart_shard(&mut self, id: usize, signal: Signal) {
        self.shards[id].signal(signal);
        self.shards[id].ended(Duration::from_secs(20)).await;
        self.lab.start_shard(id).unwrap_or_else(|err| panic!("{err:#}"));
        self.shards[id].ready().await;
    }

    /// The URL of `path` at the gateway.
    #[must_use]
    pub fn at_gateway(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway_addr())
    }

    /// The URL of `path` at a shard.
    #[must_use]
    pub fn at_shard(&self, id: usize, path: &str) -> String {
        format!("http://{}{path}", addr(&self.shards[id]))
    }

    /// Requests `url` and parses the JSON answer.
    ///
    /// # Panics
    /// When the request fails, or the answer does not have the expected type.
    pub async fn json<T: DeserializeOwned>(&self, url: &str) -> T {
        let answer = async { self.client.get(url).send().await?.json().await };
        answer.await.unwrap_or_else(|err: reqwest::Error| panic!("{url}: {err:?}"))
    }

    /// Requests `/stats` of one shard.
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

    /// Requests the gateway's `/stats`.
    pub async fn gateway_stats(&self) -> GatewayCounts {
        self.json(&self.at_gateway("/stats")).await
    }

    /// Requests a path of the probe and returns the JSON answer.
    ///
    /// # Panics
    /// When no probe runs or the request fails.
    pub async fn probe_json(&self, path: &str) -> Value {
        self.json(&format!("http://{}{path}", self.probe_addr())).await
    }

    /// Requests a path of the probe and returns the answer as text.
    ///
    /// # Panics
    /// When the request fails.
    pub async fn probe_text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.probe_addr());
        let answer = async { self.client.get(url).send().await?.text().await };
        answer.await.unwrap_or_else(|err: reqwest::Error| panic!("{path}: {err:?}"))
    }

    /// Data requests per shard that the kernel has counted since the probe attached.
    pub async fn kernel_requests(&self) -> Vec<u64> {
        let shards = self.probe_json("/api/shards").await;
        let shards = shards["shards"].as_array().cloned().unwrap_or_default();
        let count =
            |shard: &Value, operation: &str| shard["requests"][operation].as_u64().unwrap_or_default();
        shards.iter().map(|shard| count(shard, "get") + count(shard, "set")).collect()
    }

    /// Waits until the probe reports that every shard agrees with no request in flight. Returns the comparison.
    ///
    /// # Errors
    /// After ten seconds, with the last comparison.
    pub async fn at_rest(&self) -> Result<Value, String> {
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
        agreed.await.map_err(|last| format!("kernel and application do not agree {last}"))
    }

    /// Like [`at_rest`](Self::at_rest), for a test.
    ///
    /// # Panics
    /// Where that fails.
    pub async fn agreed(&self) -> Value {
        self.at_rest().await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Runs the load generator against the gateway and returns its report.
    ///
    /// If the machine was too busy, resets the gateway and repeats the run up to `LOAD_ATTEMPTS` times.
    ///
    /// # Panics
    /// When a run fails for another reason, or all attempts fail.
    pub async fn load(&self, args: &[&str]) -> LoadReport {
        self.load_between(args, || async {}).await
    }

    /// Like [`Lab::load`], but awaits a future before every attempt.
    ///
    /// # Panics
    /// See [`Lab::load`].
    pub async fn load_between<F: Future<Output = ()>>(
        &self,
        args: &[&str],
        before: impl Fn() -> F,
    ) -> LoadReport {
        for attempt in 1.. {
            let reset = self.client.post(self.at_gateway("/admin/reset")).send().await;
            assert!(reset.is_ok_and(|answer| answer.status() == 200), "the gateway takes a reset");
            before().await;
            match self.load_started(args).report().await {
                Ok(report) => return report,
                Err(why) if why.is_busy_machine() && attempt < LOAD_ATTEMPTS => {}
                Err(why) => panic!("the load generator, attempt {attempt}: {why}"),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Starts the load generator against the gateway.
    #[must_use]
    pub fn load_started(&self, args: &[&str]) -> Load {
        Self::load_at(self.gateway_addr(), args)
    }

    /// Starts the load generator against `gateway`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn load_at(gateway: SocketAddr, args: &[&str]) -> Load {
        let mut command = Command::new(build::binary("load"));
        command.args(args).args(["--gateway", &format!("http://{gateway}")]).env_clear();
        Load(Log::unnamed().and_then(|log| Generator::start(command, log)).expect("the load generator"))
    }
}

/// A running load generator.
pub struct Load(Generator);

impl Load {
    /// A load generator that was started.
    #[must_use]
    pub const fn of(generator: Generator) -> Self {
        Self(generator)
    }

    /// Waits until the run ends, with or without a report.
    pub async fn ended(self) {
        // A run that serves only as background load may be refused.
        let _ = self.report().await;
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// Waits until the run ends and returns its report.
    ///
    /// # Errors
    /// The reason why there is no report.
    ///
    /// # Panics
    /// When the run does not end in time.
    pub async fn report(self) -> Result<LoadReport, NoReport> {
        let generator = parking_lot::Mutex::new(self.0);
        let ended = poll::until(Duration::from_secs(900), || async {
            generator.lock().ended().ok_or_else(|| "still running".to_owned())
        });
        ended.await.unwrap_or_else(|err| panic!("the load generator: {err}"))
    }
}

/// An HTTP client without proxy.
///
/// # Panics
/// When the client cannot be built.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS needs nothing")
}

fn addr(process: &Process) -> SocketAddr {
    process.address().expect("it is ready")
}
