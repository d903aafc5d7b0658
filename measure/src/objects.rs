//! Compares kernel objects: nanoseconds of `ingress` and `egress` for a request, in alternating runs.
//!
//! - [`attached`]: an object in the kernel, with its counts and statistics
//! - [`server`]: a shard in a cgroup of its own
//! - [`clients`]: read keys, one request at a time each
//! - [`report`]: the figures

mod attached;
mod clients;
mod report;
mod server;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use lab::signals;
use rustix::thread::{CpuSet, sched_getaffinity};

use self::attached::{Attached, Statistics};
use self::clients::{Clients, every_key, uniform};
pub use self::report::{Figures, ObjectsReport};
use self::server::Server;
use crate::accuracy::pinned_thread::PinnedThread;
use crate::cost::empty;
use crate::machine::load_average;

/// A kernel object to compare.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its name in the table.
    pub name: String,
    /// Its path, or the commit that it was built from.
    pub source: String,
    /// Its file.
    pub path: PathBuf,
}

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of `shard`.
    pub programs: PathBuf,
    /// The objects. The first is the reference.
    pub objects: Vec<Object>,
    /// Rounds. Each has one run of every object.
    pub rounds: u32,
    /// Keys, with the same rate for each.
    pub keys: u32,
    /// Measured requests of a run, by all clients together.
    pub requests: u32,
    /// Clients. Each has one connection.
    pub clients: u32,
    /// Determines keys and order.
    pub seed: u64,
}

/// One run of an object.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The growth of the kernel's statistics.
    statistics: Statistics,
    /// What the verifier processed, for `ingress` and `egress`.
    verified: [u32; 2],
}

/// Runs all rounds and calls `progress` with a line for each step.
///
/// # Errors
/// When the kernel refuses an object, or an object does not count every request.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<ObjectsReport> {
    let load_before = load_average();
    let contents = options.objects.iter().map(|object| {
        std::fs::read(&object.path).with_context(|| format!("cannot read {}", object.path.display()))
    });
    // Read once, because a build may replace a file meanwhile.
    let contents = contents.collect::<Result<Vec<_>>>()?;
    progress("what the kernel's statistics cost");
    let statistics = empty::measure()?;
    // Enabled while this value lives.
    let _enabled = enable_stats(Stats::RunTime).context("the kernel does not count the programs' runs")?;
    let (server_cpu, clients_cpu) = cpus()?;
    let server = Server::start(&options.programs, server_cpu)?;
    // Also the threads of the clients.
    let _pinned = PinnedThread::on(clients_cpu)?;
    let mut runs = vec![Vec::new(); contents.len()];
    let mut order: Vec<usize> = (0..contents.len()).collect();
    let mut random = fastrand::Rng::with_seed(options.seed);
    for round in 1..=options.rounds {
        progress(&format!("round {round} of {}", options.rounds));
        random.shuffle(&mut order);
        let seed = random.u64(..);
        for &place in &order {
            signals::check()?;
            let run = one_run(options, &contents[place], &server, seed)
                .with_context(|| format!("round {round}, object {}", options.objects[place].name))?;
            runs[place].push(run);
        }
    }
    let figures = options.objects.iter().zip(&runs);
    let figures = figures.map(|(object, runs)| {
        Figures::new(object, runs, options.requests, statistics.recorded.median).context("no round")
    });
    Ok(ObjectsReport {
        figures: figures.collect::<Result<_>>()?,
        options: options.clone(),
        statistics,
        load_average: [load_before, load_average()],
    })
}

/// Returns the CPUs of server and clients: the first and the last of this process. A scheduler that moves them doubles
/// the scatter. Two CPUs are the more expensive case, because cache lines move between them.
fn cpus() -> Result<(usize, usize)> {
    let allowed = sched_getaffinity(None)?;
    let mut all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = all.next().context("this process has no CPU")?;
    Ok((first, all.next_back().unwrap_or(first)))
}

/// Attaches an object, reads every key once, and then measures reads of uniform keys. All objects of a round get the
/// same `seed`, hence the same keys.
fn one_run(options: &Options, object: &[u8], server: &Server, seed: u64) -> Result<Run> {
    let Options { keys, requests, clients, .. } = *options;
    let attached = Attached::new(object, server.cgroup(), server.address())?;
    let mut all = Clients::connect(server.address(), clients, keys)?;
    all.read(&every_key(keys, clients))?;
    counted(&attached, u64::from(keys))?;
    let before = attached.statistics()?;
    all.read(&uniform(keys, requests, clients, seed))?;
    let statistics = attached.statistics()?.since(before);
    counted(&attached, u64::from(keys) + u64::from(requests))?;
    Ok(Run { statistics, verified: attached.verified()? })
}

/// An object that misses a request does less work. Its time would be no comparison.
fn counted(attached: &Attached, sent: u64) -> Result<()> {
    let counted = attached.requests()?;
    ensure!(counted.get == sent, "{sent} requests were sent, and the object has counted {counted:?}");
    Ok(())
}
