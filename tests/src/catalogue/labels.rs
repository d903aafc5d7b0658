//! Lists the values that each label can have.

use anyhow::{Result, bail};
use hotspot::promotion::MAX_KEYS;
use hotspot::verdict;
use probe_common::requests;
use protocol::probe_api::{NewBaseline, StoreException, StoreResult, Untimed};
use service::metrics::Family;

use super::SHARDS;

/// Lists longer than this get their own table.
const SHORT: usize = 4;

/// A label of one family.
pub struct Label {
    name: String,
    /// All values, if they can be listed.
    values: Option<Vec<&'static str>>,
    /// A description of the values, if they cannot be listed.
    about: &'static str,
    /// Maximum number of values at one time in the lab.
    pub most: usize,
}

impl Label {
    /// Returns the label `name` of `family`.
    ///
    /// # Errors
    /// When this module does not list the label.
    pub fn of(family: &Family, name: &str) -> Result<Self> {
        let listed = |values: &[&'static str]| Self {
            name: name.to_owned(),
            most: values.len(),
            values: Some(values.to_vec()),
            about: "",
        };
        let open = |about, most| Self { name: name.to_owned(), values: None, about, most };
        Ok(match (name, family.name.as_str()) {
            // Empty for errors that no shard causes.
            ("shard_id", "gateway_errors_total") => open("or empty", SHARDS as usize + 1),
            ("shard_id", _) => open("", SHARDS as usize),
            // Each has more than 30 % of the shard's accesses, so there are at most three.
            ("key", "shard_hot_key_detected") => open("a hot key", 3),
            // An answer has its largest keys only, each in one slot.
            ("key", "probe_store_key_share") => open("one of the largest keys", MAX_KEYS),
            ("key", _) => open("", MAX_KEYS),
            ("slot", _) => open("the key's slot", 1),
            ("operation", _) => listed(&["get", "set"]),
            ("cache_hit", _) => listed(&["true", "false"]),
            ("direction", _) => listed(&["receive", "transmit"]),
            // Each kind of error has exactly one value.
            ("blame", _) => Self { most: 1, ..listed(&["client", "shard", "gateway"]) },
            ("kind", "gateway_errors_total") => listed(&ERROR_KINDS),
            ("state", _) => listed(&verdict::State::ALL.map(hotspot::export::hot_partition::label)),
            ("reason", "gateway_mitigation_changes_total") => listed(&["request", "auto", "peer"]),
            ("reason", "kernel_shard_unparsed_total") => {
                listed(&requests::Reason::ALL.map(requests::Reason::name))
            }
            ("reason", "probe_events_lost_total") => {
                listed(&probe::metrics::Lost::ALL.map(probe::metrics::Lost::name))
            }
            ("reason", "probe_feature_enabled") => {
                // A feature has one reason at a time.
                Self { most: 1, ..open("`ok`, `switched_off`, or why it does not work", 1) }
            }
            ("reason", "reconciliation_store_baselines_total") => {
                listed(&NewBaseline::ALL.map(NewBaseline::name))
            }
            ("reason", "kernel_store_untimed_commands_total") => listed(&Untimed::ALL.map(Untimed::name)),
            ("exception", _) => listed(&StoreException::ALL.map(StoreException::name)),
            ("family", _) => listed(&store::commands::Family::ALL.map(store::commands::Family::name)),
            ("command", _) => open("the first 20 names of a node, and `other`", 21),
            // A node has one address and one role at a time.
            ("address", _) => open("`host:port`", 1),
            ("role", _) => Self { most: 1, ..listed(&["primary", "replica", "failed", "gone"]) },
            ("reason", "service_connections_shed_total") => {
                listed(&["idle", "stalled", "head_timeout", "write_timeout", "refused", "no_descriptor"])
            }
            ("reason", "service_requests_shed_total") => listed(&["body", "answer", "no_descriptor"]),
            ("reason", _) => listed(&verdict::Reason::ALL.map(verdict::Reason::name)),
            ("feature", _) => listed(&FEATURES),
            ("mitigation", _) => listed(&MITIGATIONS),
            ("result", "probe_store_result") => listed(&StoreResult::ALL.map(StoreResult::name)),
            ("result", "gateway_replica_reads_total") => listed(&["served", "overtaken", "lost"]),
            ("result", "gateway_replica_writes_total") => listed(&["stored", "failed"]),
            ("result", "gateway_cache_refreshes_total") => listed(&["stored", "failed", "overtaken"]),
            ("result", "gateway_peer_exchanges_total") => listed(&["answered", "failed"]),
            ("holds", _) => listed(&["true", "false"]),
            ("outcome", "service_spans_total") => listed(&["exported", "failed", "dropped"]),
            ("program", _) => listed(&["ingress", "egress", "socket_events", "socket_released"]),
            ("map", _) => listed(&["SHARDS", "KEYS"]),
            (label, family) => bail!(
                "{family} has an undocumented label {label}: add its values in tests/src/catalogue/labels.rs"
            ),
        })
    }

    /// Whether `value` is allowed for the label.
    #[must_use]
    pub fn allows(&self, value: &str) -> bool {
        match &self.values {
            Some(values) => values.contains(&value),
            None if self.name == "shard_id" => value.parse::<u32>().is_ok_and(|id| id < SHARDS),
            None => !value.is_empty(),
        }
    }

    /// The label with its values, as text for a table cell.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.values {
            Some(values) if values.len() <= SHORT => format!("`{}`: {}", self.name, list(values)),
            None if !self.about.is_empty() => format!("`{}`: {}", self.name, self.about),
            _ => format!("`{}`", self.name),
        }
    }

    /// The labels of `families` with long lists of values, each with its values.
    ///
    /// # Errors
    /// See [`Label::of`].
    pub fn long_lists(families: &[Family]) -> Result<Vec<(String, String)>> {
        let mut found: Vec<(Vec<&'static str>, String, Vec<String>)> = Vec::new();
        for family in families {
            for label in &family.labels {
                let Some(values) = Self::of(family, label)?.values.filter(|values| values.len() > SHORT)
                else {
                    continue;
                };
                match found.iter_mut().find(|(other, name, _)| *other == values && name == label) {
                    Some((_, _, families)) => families.push(family.name.clone()),
                    None => found.push((values, label.clone(), vec![family.name.clone()])),
                }
            }
        }
        let row = |(values, label, families): (Vec<_>, String, Vec<String>)| {
            let families: Vec<String> = families.iter().map(|family| format!("`{family}`")).collect();
            (format!("`{label}` of {}", families.join(", ")), list(&values))
        };
        Ok(found.into_iter().map(row).collect())
    }
}

/// Parses the labels of a line of the text exposition.
///
/// # Errors
/// When the line is not a series.
pub(super) fn in_line(line: &str) -> Result<Vec<(&str, String)>> {
    let Some((_, mut rest)) = line.split_once('{') else { return Ok(Vec::new()) };
    let mut labels = Vec::new();
    while let Some((name, more)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = more.char_indices();
        let end = loop {
            match characters.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => value.extend(characters.next().map(|(_, escaped)| escaped)),
                Some((_, character)) => value.push(character),
                None => bail!("a label without an end: {line}"),
            }
        };
        labels.push((name.trim_start_matches(','), value));
        rest = &more[end + 1..];
    }
    Ok(labels)
}

fn list(values: &[&str]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

/// The values of [`protocol::ErrorKind`] that the gateway counts, in their JSON form.
const ERROR_KINDS: [&str; 12] = [
    "bad_key",
    "bad_body",
    "bad_request",
    "body_too_large",
    "origin_not_allowed",
    "not_json",
    "shard_unavailable",
    "bad_shard_answer",
    "overloaded",
    "store_full",
    "not_found",
    "internal",
];

/// The features in the probe's `/status`.
const FEATURES: [&str; 12] = [
    "traffic",
    "requests",
    "keys",
    "latency",
    "reconciliation",
    "connections",
    "older_connections",
    "namespaces",
    "rtt",
    "kernel_log",
    "program_stats",
    "pin",
];

/// The switches of `/admin/mitigation`.
const MITIGATIONS: [&str; 6] =
    ["cache", "hot_only_cache", "stale_while_revalidate", "negative_caching", "replication", "auto"];
