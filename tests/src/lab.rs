//! One lab: shards, gateway and probe as processes, and the questions a test asks them.

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

/// How many shards a lab has.
pub const SHARDS: usize = ::lab::ports::SHARDS as usize;

/// How often a run that came too late is tried.
const LOAD_ATTEMPTS: u32 = 5;

/// Settings that switch the capacity model off: no sleep, no limit.
const FAST: [(&str, &str); 3] =
    [("BASE_LATENCY_MS", "0"), ("LOAD_LATENCY_FACTOR_MS", "0"), ("SHARD_CONCURRENCY", "0")];

/// Labs of one test binary run one after the other: each wants the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What a lab is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether a probe runs.
    pub probe: bool,
    /// Settings of every shard; with none, the capacity model is off.
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
    lab: ::lab::Lab,
    /// For questions; HTTP/1.1, no proxy.
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
    /// Starts a lab and waits until all of it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(options: Options) -> Self {
        let turn = if options.beside { None } else { Some(ONE_AT_A_TIME.lock().await) };
        // A thousand readers are a thousand sockets of the test itself.
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

    /// Starts a probe, in addition to any that runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_probe(&mut self) {
        self.lab.start_probe().unwrap_or_else(|err| panic!("{err:#}"));
    }

    /// Starts a probe with these settings, which any later one has too.
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

    /// Where the gateway listens.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        addr(&self.gateway)
    }

    /// Where the shards listen, by id.
    #[must_use]
    pub fn shard_addrs(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(addr).collect()
    }

    /// Where the probe listens.
    ///
    /// # Panics
    /// When no probe runs.
    #[must_use]
    pub fn probe_addr(&self) -> SocketAddr {
        addr(self.probe.as_ref().expect("the lab has a probe"))
    }

    /// Ends a shard by `signal` and starts it again on the same port.
    ///
    /// # Panics
    /// When it does not end or start.
    pub async fn restart_shard(&mut self, id: usize, signal: Signal) {
        self.shards[id].signal(signal);
        self.shards[id].ended(Duration::from_secs(20)).await;
        self.lab.start_shard(id).unwrap_or_else(|err| panic!("{err:#}"));
        self.shards[id].ready().await;
    }

    /// The URL of a gateway path.
    #[must_use]
    pub fn at_gateway(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway_addr())
    }

    /// The URL of a shard's path.
    #[must_use]
    pub fn at_shard(&self, id: usize, path: &str) -> String {
        format!("http://{}{path}", addr(&self.shards[id]))
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
        self.json(&format!("http://{}{path}", self.probe_addr())).await
    }

    /// A path of the probe, as text.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn probe_text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.probe_addr());
        let answer = async { self.client.get(url).send().await?.text().await };
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

    /// Runs the load generator against the gateway to its end; returns its report. A run that a busy machine made late is
    /// repeated from the gateway's reset, a few times.
    ///
    /// # Panics
    /// When it has no report for another reason, or each time.
    pub async fn load(&self, args: &[&str]) -> LoadReport {
        self.load_between(args, || async {}).await
    }

    /// The same, with something to be done before every attempt.
    ///
    /// # Panics
    /// As [`Lab::load`].
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

    /// Starts the load generator.
    #[must_use]
    pub fn load_started(&self, args: &[&str]) -> Load {
        Self::load_at(self.gateway_addr(), args)
    }

    /// Starts one against another gateway.
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
    /// Waits for its end, with or without a report.
    pub async fn ended(self) {
        // A run that is only there to load the lab may be refused.
        let _ = self.report().await;
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// Waits for its end; returns its report.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// When it does not end.
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
/// When none can be built.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS needs nothing")
}

fn addr(process: &Process) -> SocketAddr {
    process.address().expect("it is ready")
}
