//! What faults do to the running lab: a table with one row a fault.
//!
//! A row runs a lab of its own under an even open-loop load. In each repetition an undisturbed time comes first, then
//! the fault, then a time to recover. [`traffic`] records the outcome of each request, [`witness`] the verdicts given
//! meanwhile, and [`row`] says what is wrong with them.

mod client_faults;
pub(crate) mod fault;
mod proxy;
pub mod report;
mod row;
pub(crate) mod stage;
pub(crate) mod timeline;
mod traffic;
mod witness;

pub use fault::Fault;
pub use stage::hosts_of_our_own;

use self::report::Report;
use self::row::Row;
use self::timeline::Timeline;

/// The shard that a fault affects.
const AFFECTED: usize = 1;

/// Which rows to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The faults, in order.
    pub faults: Vec<Fault>,
    /// One short repetition of each, without a judgement of times.
    pub quick: bool,
}

impl Plan {
    /// The faults of a quick run: one of each kind that needs nothing but the lab.
    pub const QUICK: [Fault; 5] =
        [Fault::Killed, Fault::Frozen, Fault::HalfAnAnswer, Fault::AllGoneCacheAll, Fault::UnfinishedBodies];
}

/// Runs the rows and calls `progress` before each.
///
/// # Errors
/// If a row cannot be run.
pub async fn run(plan: &Plan, progress: impl Fn(&str)) -> anyhow::Result<Report> {
    let timeline = if plan.quick { Timeline::QUICK } else { Timeline::FULL };
    let mut rows = Vec::new();
    for fault in &plan.faults {
        progress(&fault.about());
        rows.push(Row::run(*fault, &timeline).await?);
    }
    Ok(Report::new(rows, timeline))
}
