//! Signal `itself`: what the kernel programs cost, and how full their maps are.

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts};
use serde::Serialize;
use service::metrics::Metrics;

/// How often a program ran, and how long in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgramRuns {
    /// The program's name.
    pub program: String,
    /// Runs since it was loaded.
    pub runs: u64,
    /// Seconds they took together.
    pub run_seconds: f64,
}

/// How full a map is. Only of maps that can fill: most have all their entries from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MapFill {
    /// The map's name.
    pub map: &'static str,
    /// Entries it has.
    pub entries: u64,
    /// Entries it has room for.
    pub max_entries: u64,
}

/// The metrics of this signal.
pub struct ItselfMetrics {
    runs: IntCounterVec,
    run_seconds: CounterVec,
    entries: IntGaugeVec,
    max_entries: IntGaugeVec,
}

impl ItselfMetrics {
    /// Registers all. A family without series is not exposed.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let run_seconds = CounterVec::new(
            Opts::new("probe_program_run_seconds_total", "Seconds the kernel program ran."),
            &["program"],
        )?;
        metrics.collector(Box::new(run_seconds.clone()))?;
        Ok(Self {
            runs: metrics.counters(
                "probe_program_runs_total",
                "Runs of the kernel program: packets or socket events.",
                &["program"],
            )?,
            run_seconds,
            entries: metrics.gauges("probe_map_entries", "Entries in a kernel map.", &["map"])?,
            max_entries: metrics.gauges(
                "probe_map_max_entries",
                "Entries a kernel map has room for.",
                &["map"],
            )?,
        })
    }

    /// The programs' runs have been read.
    pub fn ran(&self, programs: &[ProgramRuns]) {
        for ProgramRuns { program, runs, run_seconds } in programs {
            let counter = self.runs.with_label_values(&[program]);
            counter.inc_by(runs.saturating_sub(counter.get()));
            let counter = self.run_seconds.with_label_values(&[program]);
            counter.inc_by((run_seconds - counter.get()).max(0.0));
        }
    }

    /// The maps' fill has been read.
    pub fn filled(&self, maps: &[MapFill]) {
        for MapFill { map, entries, max_entries } in maps {
            for (gauge, value) in [(&self.entries, entries), (&self.max_entries, max_entries)] {
                gauge.with_label_values(&[map]).set(i64::try_from(*value).unwrap_or(i64::MAX));
            }
        }
    }
}
