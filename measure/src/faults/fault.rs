//! The faults: what each needs, how it begins and ends, and what it may do.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use lab_tests::collector::Collector;
use lab_tests::process::{Process, Signal, TestProcess as _};
use std::path::Path;
use std::time::Duration;

use super::AFFECTED;
use super::client_faults as clients;
use super::proxy::{Answers, Proxy};
use super::stage::{MOVED, Stage, Wiring};
use super::timeline::Timeline;

/// Time for a process to drain: its own limit of 10 s and a reserve.
const DRAIN: Duration = Duration::from_secs(13);

/// The descriptor limit of [`Fault::Descriptors`], and its connections.
const OPEN_FILES: u32 = 256;
const HELD: usize = 400;

/// Number of the other rows' clients.
const CLIENTS: usize = 1_000;

/// Where Debian's package `faketime` has its library.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// A shard is killed and started again
    Killed,
    /// A shard is stopped and continued (SIGSTOP, SIGCONT)
    Frozen,
    /// A shard answers a second late
    Slow,
    /// A shard sends bytes that are not HTTP
    Garbage,
    /// A shard sends half an answer and closes
    HalfAnAnswer,
    /// A shard sends half an answer and resets the connection
    ResetInMidAnswer,
    /// A shard answers with 1 GiB
    Huge,
    /// A shard sends a byte a second
    Drip,
    /// A shard takes requests and sends nothing
    Mute,
    /// A shard closes each connection right after its answer
    CloseAfter,
    /// A shard answers for another key
    WrongKey,
    /// A shard sends interim answers (100 Continue) without an end
    Interim,
    /// A shard is killed and starts at another address, with the same name
    Moved,
    /// All shards are killed, with the cache off
    AllGoneCacheOff,
    /// All shards are killed, with a warm cache of hot keys
    AllGoneHotOnly,
    /// All shards are killed, with a warm cache of all keys
    AllGoneCacheAll,
    /// The gateway drains and is started again
    GatewayDrained,
    /// A shard drains and is started again
    ShardDrained,
    /// The probe drains and is started again
    ProbeDrained,
    /// The probe is killed and started again
    ProbeKilled,
    /// The probe is stopped and continued
    ProbeFrozen,
    /// The OpenTelemetry collector is gone
    CollectorGone,
    /// Prometheus is gone in mid-scrape, again and again
    ScraperGone,
    /// The gateway has 256 descriptors, and 400 clients hold connections
    Descriptors,
    /// 1,000 clients send half of a body
    UnfinishedBodies,
    /// 1,000 clients read no answer
    SlowReaders,
    /// 1,000 clients send a byte of a head every half second
    SlowWriters,
    /// The clock of all processes steps an hour forward, then an hour back
    ClockSteps,
}

impl Fault {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// One line about it.
    pub fn about(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// The shards whose requests it may fail.
    pub(crate) fn fails(self, shard: usize) -> bool {
        match self {
            Self::Slow => false,
            Self::AllGoneCacheOff | Self::AllGoneHotOnly => true,
            _ => self.is_of_one_shard() && shard == AFFECTED,
        }
    }

    /// Whether requests to `shard` are disturbed, so that their latency is that of the fault.
    pub(crate) fn affects(self, shard: usize) -> bool {
        match self {
            Self::AllGoneCacheOff | Self::AllGoneHotOnly | Self::AllGoneCacheAll => true,
            _ => self.is_of_one_shard() && shard == AFFECTED,
        }
    }

    /// Whether a verdict may say that `shard` is down.
    pub(crate) fn takes_down(self, shard: usize) -> bool {
        self != Self::Slow && self.affects(shard)
    }

    /// Whether a client may find nobody who accepts its connection.
    pub(crate) fn refuses(self) -> bool {
        self == Self::GatewayDrained
    }

    /// Whether the gateway answers `/ready` and `/metrics` all the time.
    pub(crate) fn leaves_control(self) -> bool {
        self != Self::GatewayDrained
    }

    fn is_of_one_shard(self) -> bool {
        self.answers().is_some()
            || matches!(self, Self::Killed | Self::Frozen | Self::Moved | Self::ShardDrained)
    }

    /// What the proxy in front of the affected shard does.
    fn answers(self) -> Option<Answers> {
        Some(match self {
            Self::Slow => Answers::Late(Duration::from_secs(1)),
            Self::Garbage => Answers::Garbage,
            Self::HalfAnAnswer => Answers::Half,
            Self::ResetInMidAnswer => Answers::Reset,
            Self::Huge => Answers::Huge,
            Self::Drip => Answers::Drip,
            Self::Mute => Answers::Mute,
            Self::CloseAfter => Answers::CloseAfter,
            Self::WrongKey => Answers::WrongKey,
            Self::Interim => Answers::Interim,
            _ => return None,
        })
    }

    /// What the lab of its row has besides the usual.
    pub(crate) async fn wiring(self, timeline: &Timeline) -> Result<Wiring> {
        let mut wiring = Wiring {
            proxied: self.answers().is_some(),
            upstream_timeout_ms: timeline.upstream_timeout_ms,
            ..Wiring::default()
        };
        match self {
            Self::Moved => wiring.named = true,
            Self::Descriptors => wiring.open_files = Some(OPEN_FILES),
            Self::CollectorGone => {
                let (_, endpoint) = Collector::http().await;
                let addr = endpoint.trim_start_matches("http://").trim_end_matches('/').parse()?;
                let proxy = Proxy::start(addr).await?;
                let url = format!("http://{}", proxy.addr);
                wiring.settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT", url));
                wiring.settings.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()));
                wiring.collector = Some(proxy);
            }
            Self::ClockSteps => {
                anyhow::ensure!(
                    Path::new(FAKETIME).exists(),
                    "clock-steps needs libfaketime: apt-get install faketime"
                );
                let clock = tempfile::NamedTempFile::new()?;
                std::fs::write(clock.path(), "+0")?;
                wiring.settings.extend([
                    ("LD_PRELOAD", FAKETIME.to_owned()),
                    ("FAKETIME_TIMESTAMP_FILE", clock.path().display().to_string()),
                    ("FAKETIME_NO_CACHE", "1".to_owned()),
                    ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                ]);
                wiring.clock = Some(clock);
            }
            _ => {}
        }
        Ok(wiring)
    }

    /// Sets the switches of its row and warms the cache.
    pub(crate) async fn prepare(self, stage: &Stage) -> Result<()> {
        let cache = match self {
            Self::AllGoneHotOnly => "hot_only",
            Self::AllGoneCacheAll => "all",
            _ => return Ok(()),
        };
        stage.mitigate(&serde_json::json!({"cache": cache, "ttl_seconds": 3_600})).await?;
        stage.read_every_key().await
    }

    pub(crate) async fn begin(self, stage: &mut Stage) -> Result<()> {
        if let (Some(answers), Some(proxy)) = (self.answers(), &stage.proxy) {
            proxy.set(answers);
        }
        let gateway = stage.lab.gateway_addr();
        match self {
            Self::Killed | Self::Moved => stage.lab.shards[AFFECTED].kill(),
            Self::Frozen => stage.lab.shards[AFFECTED].signal(Signal::STOP),
            Self::AllGoneCacheOff | Self::AllGoneHotOnly | Self::AllGoneCacheAll => {
                stage.lab.shards.iter_mut().for_each(Process::kill);
            }
            Self::GatewayDrained => stage.lab.gateway.signal(Signal::TERM),
            Self::ShardDrained => stage.lab.shards[AFFECTED].signal(Signal::TERM),
            Self::ProbeDrained => stage.probe()?.signal(Signal::TERM),
            Self::ProbeKilled => stage.probe()?.kill(),
            Self::ProbeFrozen => stage.probe()?.signal(Signal::STOP),
            Self::CollectorGone => stage.wiring.collector()?.set(Answers::Gone),
            Self::ScraperGone => stage.clients = Some(clients::scrapers(&stage.servers()?)),
            Self::Descriptors => stage.clients = Some(clients::idle(gateway, HELD).await),
            Self::UnfinishedBodies => {
                stage.clients = Some(clients::unfinished_bodies(gateway, CLIENTS).await);
            }
            Self::SlowReaders => stage.clients = Some(clients::slow_readers(gateway, CLIENTS).await),
            Self::SlowWriters => stage.clients = Some(clients::slow_writers(gateway, CLIENTS)),
            Self::ClockSteps => stage.wiring.set_clock("+3600")?,
            _ => {}
        }
        Ok(())
    }

    pub(crate) async fn end(self, stage: &mut Stage) -> Result<()> {
        if let Some(proxy) = &stage.proxy {
            proxy.set(Answers::Pass);
        }
        match self {
            Self::Killed => stage.start_shard(AFFECTED)?,
            Self::Moved => stage.move_shard(AFFECTED, MOVED).await?,
            Self::Frozen => stage.lab.shards[AFFECTED].signal(Signal::CONT),
            Self::AllGoneCacheOff | Self::AllGoneHotOnly | Self::AllGoneCacheAll => {
                (0..stage.lab.shards.len()).try_for_each(|id| stage.start_shard(id))?;
            }
            Self::GatewayDrained => {
                let status = stage.lab.gateway.ended(DRAIN).await;
                anyhow::ensure!(status.success(), "the gateway did not drain: {status}");
                stage.start_gateway().await?;
            }
            Self::ShardDrained => {
                let status = stage.lab.shards[AFFECTED].ended(DRAIN).await;
                anyhow::ensure!(status.success(), "the shard did not drain: {status}");
                stage.start_shard(AFFECTED)?;
            }
            Self::ProbeDrained => {
                let status = stage.probe()?.ended(DRAIN).await;
                anyhow::ensure!(status.success(), "the probe did not drain: {status}");
                stage.start_probe()?;
            }
            Self::ProbeKilled => stage.start_probe()?,
            Self::ProbeFrozen => stage.probe()?.signal(Signal::CONT),
            Self::CollectorGone => stage.wiring.collector()?.set(Answers::Pass),
            Self::ClockSteps => stage.wiring.set_clock("-3600")?,
            _ => {}
        }
        stage.clients = None;
        Ok(())
    }
}

impl Wiring {
    fn collector(&self) -> Result<&Proxy> {
        self.collector.as_ref().context("the row has no collector")
    }

    fn set_clock(&self, offset: &str) -> Result<()> {
        let clock = self.clock.as_ref().context("the row has no clock")?;
        Ok(std::fs::write(clock.path(), offset)?)
    }
}
