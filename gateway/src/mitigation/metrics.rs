//! The metrics of what is switched on.

use prometheus::{IntCounter, IntGauge};
use service::metrics::Metrics;

use super::settings::{CacheMode, Settings};

/// Everything that can be on, by its label value.
const NAMES: [&str; 6] =
    ["cache", "hot_only_cache", "stale_while_revalidate", "negative_caching", "replication", "auto"];

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A call of `/admin/mitigation` or `/admin/cache`.
    Request,
    /// The gateway itself.
    Auto,
}

impl Reason {
    const ALL: [Self; 2] = [Self::Request, Self::Auto];

    /// As a label value.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Auto => "auto",
        }
    }
}

/// What is on, and how often that was changed.
pub(crate) struct MitigationMetrics(Vec<Series>);

struct Series {
    enabled: IntGauge,
    changes: Vec<(Reason, IntCounter)>,
}

impl MitigationMetrics {
    /// Registers them; all series are there from the start.
    ///
    /// # Errors
    /// When a name is taken.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let enabled = metrics.gauges(
            "gateway_mitigation_enabled",
            "1 for a mitigation that is on, else 0",
            &["mitigation"],
        )?;
        let changes = metrics.counters(
            "gateway_mitigation_changes_total",
            "Switches of a mitigation on or off, by request or auto.",
            &["mitigation", "reason"],
        )?;
        let series = |name: &&str| {
            let by = |reason: Reason| {
                Ok((reason, changes.get_metric_with_label_values(&[*name, reason.label()])?))
            };
            let changes = Reason::ALL.map(by).into_iter().collect::<Result<_, prometheus::Error>>()?;
            Ok(Series { enabled: enabled.get_metric_with_label_values(&[*name])?, changes })
        };
        Ok(Self(NAMES.iter().map(series).collect::<Result<_, prometheus::Error>>()?))
    }

    /// Shows `settings`, and counts what `reason` changed.
    pub(crate) fn show(&self, settings: &Settings, reason: Option<Reason>) {
        for (series, on) in self.0.iter().zip(switches(settings)) {
            if series.enabled.get() != i64::from(on) {
                let by = series.changes.iter().filter(|(by, _)| reason == Some(*by));
                by.for_each(|(_, changes)| changes.inc());
            }
            series.enabled.set(i64::from(on));
        }
    }
}

/// What is on, in the order of [`NAMES`].
fn switches(settings: &Settings) -> [bool; 6] {
    [
        settings.cache == CacheMode::All,
        settings.cache == CacheMode::HotOnly,
        settings.stale_while_revalidate,
        settings.negative_caching,
        settings.replication > 1,
        settings.auto,
    ]
}
