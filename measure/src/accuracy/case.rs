//! A row before it runs: its server, its load, and its rule.

use anyhow::{Result, bail};
use std::ops::AddAssign;

use super::rule::Rule;
use super::server::Server;

/// The size of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Ends within 40 s.
    Quick,
    /// The size of the published figures.
    Usual,
    /// Like `Usual`, with the storm.
    Full,
}

impl Size {
    /// `quick` in the quick run, `usual` otherwise.
    pub(crate) fn of(self, quick: u64, usual: u64) -> u64 {
        if self == Self::Quick { quick } else { usual }
    }
}

/// A row that can be prepared.
pub(crate) struct Row {
    /// Its name in the table.
    pub(crate) name: String,
    /// Starts its server, and connections that must be older than the probe.
    pub(crate) prepare: Box<dyn FnOnce(Size) -> Result<Case>>,
}

impl Row {
    /// A row of this name.
    pub(crate) fn new(name: &str, prepare: impl FnOnce(Size) -> Result<Case> + 'static) -> Self {
        Self { name: name.to_owned(), prepare: Box::new(prepare) }
    }
}

/// The load of a row.
pub(crate) type Workload = Box<dyn FnOnce(&Server) -> Result<WorkloadResult>>;

/// A row whose server runs.
pub(crate) struct Case {
    /// A server of this row only, so that the kernel's counts for it belong to this row.
    pub(crate) server: Server,
    /// Its rule.
    pub(crate) rule: Rule,
    /// Whether payload bytes are compared too.
    pub(crate) bytes: bool,
    /// Whether no request may be counted as aborted, and the probe's bound must be 0 at rest.
    pub(crate) settles: bool,
    /// The load.
    pub(crate) drive: Workload,
}

impl Case {
    /// Creates a row on a loopback server with small answers and the rule `exact`.
    pub(crate) fn plain(drive: impl FnOnce(&Server) -> Result<WorkloadResult> + 'static) -> Result<Self> {
        Ok(Self::on(Server::on_loopback()?, Rule::Exact, drive))
    }

    /// Creates a row on this server with this rule.
    pub(crate) fn on(
        server: Server,
        rule: Rule,
        drive: impl FnOnce(&Server) -> Result<WorkloadResult> + 'static,
    ) -> Self {
        Self { server, rule, bytes: false, settles: false, drive: Box::new(drive) }
    }
}

/// Complete requests that the clients have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `GET /data/{key}`.
    pub(crate) get: u64,
    /// `POST /data`.
    pub(crate) set: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.get += other.get;
        self.set += other.set;
    }
}

/// The work of the clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkloadResult {
    /// The requests.
    pub(crate) sent: Sent,
    /// Payload bytes that the clients' TCP retransmitted.
    pub(crate) repeated_bytes: u64,
    /// Packets that the receiving interface dropped, in either direction. Neither probe nor TCP saw them.
    pub(crate) dropped_packets: u64,
    /// Keys whose reads must all be counted, even if the rule allows differences for other keys.
    pub(crate) exact_keys: Vec<(String, u64)>,
    /// The number of answers that took at least this many milliseconds. The probe's histogram must have the same.
    pub(crate) slow_answers: Option<(u64, f64)>,
    /// Further figures for the report, such as proof of the segments that were sent.
    pub(crate) note: String,
}

impl From<Sent> for WorkloadResult {
    fn from(sent: Sent) -> Self {
        Self { sent, ..Self::default() }
    }
}

/// Runs `job` on `number` threads at the same time, each with its number, and adds up the requests that they sent.
pub(crate) fn together(number: u64, job: impl Fn(u64) -> Result<Sent> + Sync) -> Result<Sent> {
    let job = &job;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..number).map(|index| scope.spawn(move || job(index))).collect();
        let mut sent = Sent::default();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => sent += outcome?,
                Err(_) => bail!("a client panicked"),
            }
        }
        Ok(sent)
    })
}
