//! Finds the dashboards, recording rules and alerts that use a metric.

use anyhow::{Context, Result};
use service::metrics::Family;
use std::path::Path;

use crate::dashboards::{Dashboard, files};

/// Folder of the rules, relative to the repository root.
const RULES: &str = "deploy/prometheus/rules";

/// Suffixes of a histogram's series.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// All PromQL queries of the repository: place (a dashboard, `alert`, `rule`), name and expression.
pub struct Readers(Vec<(String, String, String)>);

impl Readers {
    /// Reads the queries of the repository at `root`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        let mut readers = Vec::new();
        for query in Dashboard::all(root)?.iter().flat_map(Dashboard::queries) {
            readers.push((query.dashboard, query.panel, query.expr));
        }
        for path in files(&root.join(RULES), "yml")? {
            let mut who = None;
            for line in read(&path)?.lines().filter(|line| !line.trim_start().starts_with('#')) {
                let begins = |word| line.trim_start().strip_prefix(word).map(str::trim);
                if let Some(alert) = begins("- alert:") {
                    who = Some(("alert", format!("`{alert}`")));
                } else if let Some(rule) = begins("- record:") {
                    who = Some(("rule", format!("`{rule}`")));
                } else if let Some((kind, name)) = &who {
                    readers.push(((*kind).to_owned(), name.clone(), line.to_owned()));
                }
            }
        }
        Ok(Self(readers))
    }

    /// The panels, rules and alerts that use `family`, grouped by place and without duplicates. Panels of the dashboard
    /// `usual` have no place in front.
    #[must_use]
    pub fn of_family(&self, family: &Family, usual: &str) -> String {
        let mut names = vec![family.name.clone()];
        if family.kind == "histogram" {
            names.extend(SUFFIXES.map(|suffix| format!("{}{suffix}", family.name)));
        }
        let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
        for (place, name, query) in &self.0 {
            let mut words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            if !words.any(|word| names.iter().any(|name| name == word)) {
                continue;
            }
            match found.iter_mut().find(|(other, _)| other == place) {
                Some((_, all)) if all.contains(&name.as_str()) => {}
                Some((_, all)) => all.push(name),
                None => found.push((place, vec![name])),
            }
        }
        let place = |(place, names): &(&str, Vec<&str>)| {
            let names = names.join(" · ");
            if *place == usual { names } else { format!("*{place}:* {names}") }
        };
        found.iter().map(place).collect::<Vec<_>>().join("; ")
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
