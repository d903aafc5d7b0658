//! Experiments on the whole lab: theory, application and kernel side by side.
//!
//! An experiment starts a [`rig`] and runs its paired arms repeatedly in [`trials`]. It returns [`figure`]s, a
//! [`chart`] of them, and the refused runs. A run is refused if its generator could not keep its rate, if it was too
//! small, or if it was not steady. A refused run has no number, and an arm with a missing run has none either.
//! [`report`] writes the results.

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

/// The available experiments.
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

/// Results of an experiment.
#[derive(Debug, Default)]
pub struct ExperimentOutcome {
    /// The method, for readers who do not know the lab.
    pub method: String,
    /// Results with a prediction or a requirement.
    pub figures: Vec<Figure>,
    /// Further results as tables.
    pub tables: Vec<Table>,
    /// Charts of the results.
    pub charts: Vec<Chart>,
    /// Runs without a number, with the reason.
    pub refusals: Vec<String>,
}

/// Numbers without a requirement.
#[derive(Debug)]
pub struct Table {
    pub(crate) title: String,
    /// Column headings. The first column names the rows.
    pub(crate) headings: Vec<&'static str>,
    /// Rows with a cell for each heading.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    fn shown(&self) -> crate::table::Table<'_> {
        let numbers = 1..self.headings.len();
        crate::table::Table { headings: &self.headings, numbers, rows: self.rows.clone() }
    }
}

impl Experiment {
    /// Returns the name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns a description in one line.
    pub fn about(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Returns the question that the experiment answers.
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

    /// Runs the experiment and calls `progress` with a line for each step.
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
