//! What the processes of the lab hold, sampled all the time.

use anyhow::Result;
use lab::process::resident_bytes;
use lab_tests::lab::Lab;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(5);

/// Time for the answer of a process that may be frozen.
const ANSWER: Duration = Duration::from_secs(1);

/// What is sampled of each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// Resident memory in bytes.
    Memory,
    /// Open file descriptors.
    Descriptors,
    /// Tasks of the kernel: threads.
    Tasks,
    /// Metric series.
    Series,
    /// Entries in the probe's kernel maps.
    MapEntries,
}

impl Resource {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::Descriptors, Self::Tasks, Self::Series, Self::MapEntries];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Memory => "resident memory, MiB",
            Self::Descriptors => "open descriptors",
            Self::Tasks => "tasks (threads)",
            Self::Series => "metric series",
            Self::MapEntries => "entries in kernel maps",
        }
    }
}

/// One value of one process.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) process: String,
    /// Differs between a process and its successor.
    pub(crate) pid: u32,
    pub(crate) resource: Resource,
    pub(crate) value: f64,
}

/// The processes that are sampled now.
#[derive(Clone, Default)]
pub(crate) struct Targets(Arc<Mutex<Vec<Target>>>);

#[derive(Clone)]
struct Target {
    name: String,
    pid: u32,
    addr: SocketAddr,
}

impl Targets {
    /// Samples the processes of this lab from now on.
    pub(crate) fn set(&self, lab: &Lab) -> Result<()> {
        let targets = lab.parts().enumerate().map(|(place, part)| {
            // The gateway comes first, then the shards by id, then the probe.
            let name =
                if part.name() == "shard" { format!("shard-{}", place - 1) } else { part.name().to_owned() };
            Ok(Target { name, pid: part.pid(), addr: part.address()? })
        });
        *self.0.lock() = targets.collect::<Result<_>>()?;
        Ok(())
    }
}

/// Samples until it is ended.
pub(crate) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

impl Sampler {
    pub(crate) fn start(targets: Targets, begin: Instant) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            loop {
                take(&targets, &into, begin.elapsed()).await;
                sleep(PERIOD).await;
            }
        });
        Self { samples, task }
    }

    pub(crate) fn end(self) -> Vec<Sample> {
        self.task.abort();
        std::mem::take(&mut *self.samples.lock())
    }
}

async fn take(targets: &Targets, into: &Mutex<Vec<Sample>>, at: Duration) {
    let targets = targets.0.lock().clone();
    for target in targets {
        let of_process =
            |resource, value| Sample { at, process: target.name.clone(), pid: target.pid, resource, value };
        let in_folder = |folder: &str| {
            std::fs::read_dir(format!("/proc/{}/{folder}", target.pid)).map_or(0, std::iter::Iterator::count)
        };
        // A process that has just been killed has no memory.
        let Some(memory) = resident_bytes(target.pid) else { continue };
        let mut found = vec![
            of_process(Resource::Memory, number(memory) / f64::from(1 << 20)),
            of_process(Resource::Descriptors, number(in_folder("fd") as u64)),
            of_process(Resource::Tasks, number(in_folder("task") as u64)),
        ];
        if let Some(text) = metrics(target.addr).await {
            let lines = || text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            found.push(of_process(Resource::Series, number(lines().count() as u64)));
            let entries = lines().filter(|line| line.starts_with("probe_map_entries"));
            let entries: Vec<f64> =
                entries.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
            if !entries.is_empty() {
                found.push(of_process(Resource::MapEntries, entries.iter().sum()));
            }
        }
        into.lock().extend(found);
    }
}

async fn metrics(addr: SocketAddr) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().ok()?;
    client.get(format!("http://{addr}/metrics")).send().await.ok()?.text().await.ok()
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 of anything")]
fn number(count: u64) -> f64 {
    count as f64
}
