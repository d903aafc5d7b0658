//! Lists every metric of the lab for `docs/metrics.md` and for tests.

mod labels;
mod readers;

use anyhow::{Context, Result, ensure};
use probe::metrics::ProbeMetrics;
use protocol::ShardId;
use service::metrics::{Family, Metrics};
use service::overload::Overload;
use shard::metrics::ShardMetrics;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::Path;

pub use labels::Label;
pub use readers::Readers;

/// Number of shards that the bounds are calculated for. Equals the lab's.
const SHARDS: u32 = 4;

/// The generated page, relative to the repository root.
pub const FILE: &str = "docs/metrics.md";

/// The command that generates the page.
pub const COMMAND: &str = "cargo xtask metrics --write";

const INTRODUCTION: &str = "\
# Metrics

All metric families of gateway, shards and probe at `GET /metrics`. `cargo xtask metrics --write` generates this page from the
code, the dashboards and the alert rules. Tests compare it with them and with a running lab.

- `key` is a [tracked key](README.md#glossary). [The last section](#values-of-labels) has the values of further labels.
- *Series* is the largest number in a lab of 4 shards. A histogram has one more for each bucket (at most 30), and two for sum
  and count. A family without series is not exposed.
- Counters never fall while their process lives, whatever is reset.
- *Shown* has the panels, recording rules and alerts. Panels without a dashboard are on *Hot Partition Detection* (gateway,
  shards) or *Kernel vs App* (probe).
- Raw counters of kernel and application are never subtracted, because two scrapes never happen at the same instant. Use
  `reconciliation_requests_difference`.
";

/// The metric families of one service.
pub struct Service {
    /// The service's title on the page.
    pub title: &'static str,
    /// Name prefix of the service's jobs in Prometheus.
    pub job: &'static str,
    /// Dashboard with most of the service's panels.
    pub dashboard: &'static str,
    /// Families in the order of their registration.
    pub families: Vec<Family>,
}

/// All metric families of all services.
///
/// # Errors
/// When a service's metrics cannot be registered.
pub fn services() -> Result<[Service; 3]> {
    let of_shard = Metrics::default();
    ShardMetrics::register(&of_shard, ShardId(0))?;
    service::traces::register(&of_shard)?;
    Overload::default().register(&of_shard)?;
    let of_probe = Metrics::default();
    ProbeMetrics::register(&of_probe, SHARDS)?;
    Overload::default().register(&of_probe)?;
    let shards = NonZeroU32::new(SHARDS).context("a lab has shards")?;
    Ok([
        Service {
            title: "Gateway, port 8000",
            job: "api-gateway",
            dashboard: "Hot Partition Detection",
            families: gateway::metrics::families(shards)?,
        },
        Service {
            title: "Shard, port 9000 + id",
            job: "shard-",
            dashboard: "Hot Partition Detection",
            families: of_shard.families(),
        },
        Service {
            title: "Probe, port 9010",
            job: "probe",
            dashboard: "Kernel vs App",
            families: of_probe.families(),
        },
    ])
}

/// Maximum number of series of a family in the lab. A histogram counts as one series for each combination of labels.
///
/// # Errors
/// When a label has no known values.
pub fn bound(family: &Family) -> Result<usize> {
    // A key has series for one shard only, so `shard_id` does not multiply their number.
    let of_keys = family.labels.iter().any(|label| label == "key") && !family.name.starts_with("shard_");
    let labels = family.labels.iter().filter(|label| !of_keys || *label != "shard_id");
    labels.map(|label| Ok(Label::of(family, label)?.most)).product()
}

/// Compares a text exposition with the documented families, types, label values and numbers of series. Returns the
/// number of series.
///
/// # Errors
/// The first difference from the documentation.
pub fn exposed(text: &str, families: &[Family]) -> Result<usize> {
    let mut series: BTreeMap<&str, usize> = BTreeMap::new();
    let mut family = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a TYPE line has a name and a type")?;
            let found = families.iter().find(|family| family.name == name);
            let found = found.with_context(|| format!("{name} is not in {FILE}; run {COMMAND}"))?;
            ensure!(found.kind == kind, "{name} is a {kind}, and in {FILE} a {}", found.kind);
            family = Some(found);
        } else if !line.starts_with('#') {
            let family = family.with_context(|| format!("{line} belongs to no family"))?;
            let labels = labels::in_line(line)?;
            for (label, value) in labels.iter().filter(|(label, _)| *label != "le") {
                ensure!(
                    family.labels.iter().any(|known| known == label),
                    "{} has no label {label}",
                    family.name
                );
                ensure!(
                    Label::of(family, label)?.allows(value),
                    "{}: {label} may not be {value:?}",
                    family.name
                );
            }
            // For a histogram, count only its `_count` series.
            if family.kind != "histogram" || line.starts_with(&format!("{}_count", family.name)) {
                *series.entry(&family.name).or_default() += 1;
            }
        }
    }
    for family in families {
        let (most, found) = (bound(family)?, series.get(&*family.name).copied().unwrap_or_default());
        ensure!(found <= most, "{} has {found} series, at most {most} are documented", family.name);
    }
    Ok(series.values().sum())
}

/// Generates the text of [`FILE`] for the repository at `root`.
///
/// # Errors
/// When the dashboards or rules cannot be read, or a label is unknown.
pub fn markdown(root: &Path) -> Result<String> {
    let readers = Readers::of(root)?;
    let mut text = INTRODUCTION.to_owned();
    for service in services()? {
        write!(
            text,
            "\n## {}\n\n| metric | labels | unit | what it is | series | shown |\n|---|---|---|---|---|---|\n",
            service.title
        )?;
        for family in &service.families {
            let labels = family
                .labels
                .iter()
                .map(|label| Ok(Label::of(family, label)?.text()))
                .collect::<Result<Vec<_>>>()?;
            let Family { name, kind, help, .. } = family;
            let (unit, help) = (unit(family), help.trim_end_matches('.'));
            let (labels, series) = (labels.join("; "), bound(family)?);
            let shown = readers.of_family(family, service.dashboard);
            writeln!(text, "| `{name}` {kind} | {labels} | {unit} | {help} | {series} | {shown} |")?;
        }
    }
    text += "\n## Values of labels\n\n| label | values |\n|---|---|\n";
    for (label, values) in Label::long_lists(&services()?.map(|service| service.families).concat())? {
        writeln!(text, "| {label} | {values} |")?;
    }
    Ok(text)
}

/// The unit of a family, from the name by Prometheus's rules, or from the help text for flags. Empty for plain
/// counts.
fn unit(family: &Family) -> &'static str {
    let name = family.name.trim_end_matches("_total");
    if name.ends_with("_seconds") {
        "seconds"
    } else if name.ends_with("_bytes") {
        "bytes"
    } else if name.ends_with("_ratio") || name.ends_with("_share") {
        "0 to 1"
    } else if name.ends_with("_over_mean") || name.ends_with("hot_partition_lower_bound") {
        "fair shares"
    } else if family.help.starts_with("1 ") {
        "0 or 1"
    } else {
        ""
    }
}
