//! Experiments on the whole lab: theory, application and kernel side by side, in repeated runs of paired arms.
//!
//! An experiment starts a [`rig`], runs its arms in [`trials`] and gives [`figure`]s, a [`chart`] of them and what was
//! refused: a run whose generator could not keep its rate, that was too small, or that was not steady gives no number, and
//! an arm that lacks a run has none. [`report`] writes it down.

pub(crate) mod chart;
pub(crate) mod detection;
pub mod figure;
pub(crate) mod innocents;
pub mod report;
pub mod rig;
pub(crate) mod shares;
pub(crate) mod spread;
pub(crate) mod stampede;
pub mod trials;
pub(crate) mod ttl;
pub mod window;

use clap::ValueEnum;

pub use self::chart::{Chart, Mark};
use self::figure::Figure;
use self::trials::Plan;

/// The experiments there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// Shares of keys and shards under uniform, Zipf and celebrity load
    Shares,
    /// Hit ratio of a warm cache with a time to live
    Ttl,
    /// A cache of the six hottest keys
    HotOnly,
    /// Copies of the eight hottest keys on all shards
    Replication,
    /// What bounded load at 1.25 forwards
    BoundedLoad,
    /// What one expiry of a very hot key costs
    Stampede,
    /// Latency of innocent keys on the hot shard and elsewhere, with and without each mitigation
    Innocents,
    /// How soon a celebrity is detected, and whether uniform load raises false alarms
    Detection,
}

/// What an experiment gave.
#[derive(Debug, Default)]
pub struct ExperimentOutcome {
    /// How it was done, for a stranger.
    pub method: String,
    /// What came of it.
    pub figures: Vec<Figure>,
    /// What else is to be seen of it, in rows.
    pub tables: Vec<Table>,
    /// Pictures of it.
    pub charts: Vec<Chart>,
    /// Runs without a number, each with its reason.
    pub refusals: Vec<String>,
}

/// Numbers without a requirement.
#[derive(Debug)]
pub struct Table {
    /// What they are.
    pub(crate) title: String,
    /// Of its columns; the first names the rows.
    pub(crate) headings: Vec<&'static str>,
    /// Its rows, a cell for each heading.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    fn shown(&self) -> crate::table::Table<'_> {
        let numbers = 1..self.headings.len();
        crate::table::Table { headings: &self.headings, numbers, rows: self.rows.clone() }
    }
}

impl Experiment {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is about, in one line.
    pub fn about(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// The question that it answers.
    pub(crate) const fn question(self) -> &'static str {
        match self {
            Self::Shares => shares::QUESTION,
            Self::Ttl => ttl::QUESTION,
            Self::HotOnly => spread::HOT_ONLY,
            Self::Replication => spread::REPLICATION,
            Self::BoundedLoad => spread::BOUNDED,
            Self::Stampede => stampede::QUESTION,
            Self::Innocents => innocents::QUESTION,
            Self::Detection => detection::QUESTION,
        }
    }

    /// Runs it, and says by `progress` how far it is.
    pub async fn run(self, plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
        match self {
            Self::Shares => shares::run(plan, progress).await,
            Self::Ttl => ttl::run(plan, progress).await,
            Self::HotOnly => spread::hot_only(plan, progress).await,
            Self::Replication => spread::replication(plan, progress).await,
            Self::BoundedLoad => spread::bounded_load(plan, progress).await,
            Self::Stampede => stampede::run(plan, progress).await,
            Self::Innocents => innocents::run(plan, progress).await,
            Self::Detection => detection::run(plan, progress).await,
        }
    }
}
