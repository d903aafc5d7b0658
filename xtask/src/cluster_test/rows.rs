//! The rows: one claim about the lab in a cluster each.

mod api_server;
mod apply;
mod caching;
mod counts;
mod disruptions;
mod dns;
mod policies;
mod queries;
mod replace;
mod traces;
mod verdict;

use anyhow::{Result, bail};

use super::lab::Lab;
use crate::verdicts::Verdicts;

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Lab<'_>, &mut Verdicts) -> Result<()>,
    /// Runs only with `--full` or by name.
    pub(crate) full: bool,
}

/// All rows, in the order in which they run.
pub(crate) const ROWS: [Row; 12] = [
    row("apply", "both overlays are accepted by the API server", apply::run),
    row("counts", "generator = shards = kernel in all ten scenarios", counts::scenarios),
    Row { full: true, ..row("million", "the same for 1,000,000 requests", counts::million) },
    row("caching", "the load that reaches the shards through the caches of several gateways", caching::run),
    row("verdict", "the aggregator's verdict, also with one probe unreachable", verdict::run),
    row("queries", "each panel's query has data in Prometheus", queries::run),
    row("traces", "OpenTelemetry's variables, against Jaeger", traces::run),
    row("policies", "needed connections pass, others do not; the autoscaler", policies::run),
    row("replace", "a shard's pod is replaced, then all in turn", replace::run),
    row("dns", "CoreDNS is away for a minute under load", dns::run),
    row("api-server", "the API server is frozen, then restarted; the probe's Role is away", api_server::run),
    row("disruptions", "roll-outs, a drained node, a killed kubelet and containerd", disruptions::run),
];

const fn row(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Lab<'_>, &mut Verdicts) -> Result<()>,
) -> Row {
    Row { name, about, run, full: false }
}

/// The rows to run.
///
/// # Errors
/// When a name is unknown.
pub(crate) fn chosen(names: &[String], full: bool) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = names.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        let all: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("there is no row {unknown}; the rows are {}", all.join(", "));
    }
    let wanted = |row: &&Row| {
        if names.is_empty() { full || !row.full } else { names.iter().any(|name| name == row.name) }
    };
    Ok(ROWS.iter().filter(wanted).collect())
}

/// `seconds` as text for a figure.
pub(crate) fn seconds(time: std::time::Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Formats `items` as `; a; b`. Empty for an empty list.
pub(crate) fn listed(items: &[String]) -> String {
    items.iter().map(|item| format!("; {item}")).collect()
}
