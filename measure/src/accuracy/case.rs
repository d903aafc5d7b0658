//! One row before it has run: its server, what its clients do, and the rule it is judged by.

use anyhow::{Result, bail};
use std::ops::AddAssign;

use super::rule::Rule;
use super::server::Server;

/// Sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Whether the run is to be over within 40 s.
    pub quick: bool,
}

impl Size {
    /// `quick` in the quick run, `full` otherwise.
    #[must_use]
    pub const fn of(self, quick: u64, full: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

/// A row that can be prepared.
pub struct Row {
    /// Its name in the table.
    pub name: String,
    /// Starts its server and whatever must be there before the probe.
    pub prepare: Box<dyn FnOnce(Size) -> Result<Case>>,
}

impl Row {
    /// A row of this name.
    pub fn new(name: &str, prepare: impl FnOnce(Size) -> Result<Case> + 'static) -> Self {
        Self { name: name.to_owned(), prepare: Box::new(prepare) }
    }
}

/// What the clients of a row do.
pub type Drive = Box<dyn FnOnce(&Server) -> Result<Driven>>;

/// A row whose server runs.
pub struct Case {
    /// Its own server: the kernel's counts for it are this row's alone.
    pub server: Server,
    /// How it is judged.
    pub rule: Rule,
    /// Whether payload bytes are compared too.
    pub bytes: bool,
    /// The load.
    pub drive: Drive,
}

impl Case {
    /// On a loopback server with small answers, judged as exact.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn plain(drive: impl FnOnce(&Server) -> Result<Driven> + 'static) -> Result<Self> {
        Ok(Self::on(Server::on_loopback()?, Rule::Exact, drive))
    }

    /// On this server, judged by this rule.
    pub fn on(server: Server, rule: Rule, drive: impl FnOnce(&Server) -> Result<Driven> + 'static) -> Self {
        Self { server, rule, bytes: false, drive: Box::new(drive) }
    }
}

/// Complete requests that the clients have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// `GET /data/{key}`.
    pub get: u64,
    /// `POST /data`.
    pub set: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.get += other.get;
        self.set += other.set;
    }
}

/// What the clients have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driven {
    /// The requests.
    pub sent: Sent,
    /// Payload bytes that the clients' TCP sent again.
    pub repeated_bytes: u64,
    /// Packets that the interface they came by dropped, in either direction: nobody behind it saw them.
    pub dropped_packets: u64,
    /// What else a reader should know: proofs that the row is what it says.
    pub note: String,
}

impl From<Sent> for Driven {
    fn from(sent: Sent) -> Self {
        Self { sent, ..Self::default() }
    }
}

/// Does `job` on `number` threads at once, each with its number, and adds up what they sent.
///
/// # Errors
/// The first error of a job.
pub fn together(number: u64, job: impl Fn(u64) -> Result<Sent> + Sync) -> Result<Sent> {
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
