//! Exports the probe's own metrics: program costs, fill of the maps.

use prometheus::{CounterVec, Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Opts};
use protocol::probe_api::{Counting, MapFill, ProgramRuns};
use service::metrics::Metrics;

/// The probe's metrics about itself.
pub(crate) struct SelfMetrics {
    runs: IntCounterVec,
    run_seconds: CounterVec,
    entries: IntGaugeVec,
    max_entries: IntGaugeVec,
    since: Gauge,
    gap: GaugeVec,
}

impl SelfMetrics {
    /// Registers all metrics. A family without series is not exposed.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let run_seconds = CounterVec::new(
            Opts::new("probe_program_run_seconds_total", "Run time of the kernel program."),
            &["program"],
        )?;
        metrics.collector(Box::new(run_seconds.clone()))?;
        let since = Gauge::new(
            "probe_counting_start_time_seconds",
            "Unix time at which the kernel began to count; with PIN it may be before this probe's start.",
        )?;
        metrics.collector(Box::new(since.clone()))?;
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
                "Capacity of a kernel map in entries.",
                &["map"],
            )?,
            since,
            // A vector, because this series exists only with a pinned set.
            gap: metrics.fractions(
                "probe_restart_gap_seconds",
                "Time without counting while this probe replaced the programs of its predecessor.",
                &[],
            )?,
        })
    }

    /// Updates the programs' runs.
    pub(crate) fn ran(&self, programs: &[ProgramRuns]) {
        for ProgramRuns { program, runs, run_seconds } in programs {
            let counter = self.runs.with_label_values(&[program]);
            counter.inc_by(runs.saturating_sub(counter.get()));
            let counter = self.run_seconds.with_label_values(&[program]);
            counter.inc_by((run_seconds - counter.get()).max(0.0));
        }
    }

    /// Updates since when is counted.
    pub(crate) fn counting(&self, counting: &Counting) {
        self.since.set(counting.since);
        if let Some(pinned) = counting.pinned.as_ref().filter(|pinned| pinned.adopted) {
            self.gap.with_label_values::<&str>(&[]).set(pinned.gap_seconds);
        }
    }

    /// Updates the maps' fill.
    pub(crate) fn filled(&self, maps: &[MapFill]) {
        for MapFill { map, entries, max_entries } in maps {
            for (gauge, value) in [(&self.entries, entries), (&self.max_entries, max_entries)] {
                gauge.with_label_values(&[map]).set(i64::try_from(*value).unwrap_or(i64::MAX));
            }
        }
    }
}
