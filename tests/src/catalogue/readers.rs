//! Where a metric is looked at: the dashboards' panels, the recording rules and the alerts.

use anyhow::{Context, Result};
use serde_json::Value;
use service::metrics::Family;
use std::path::{Path, PathBuf};

/// Where dashboards are, from the repository's root.
const DASHBOARDS: &str = "grafana/dashboards";

/// Where rules are, from the repository's root.
const RULES: &str = "deploy/prometheus/rules";

/// Suffixes of a histogram's series.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Everything that asks Prometheus something: who asks, and with what words.
pub struct Readers(Vec<(String, String)>);

impl Readers {
    /// Those of the repository at `root`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        let mut readers = Vec::new();
        for path in files(&root.join(DASHBOARDS), "json")? {
            let dashboard: Value =
                serde_json::from_str(&read(&path)?).with_context(|| path.display().to_string())?;
            let title = dashboard["title"].as_str().unwrap_or_default();
            for panel in panels(&dashboard) {
                let who = format!("{title}: *{}*", panel["title"].as_str().unwrap_or_default());
                let queries = panel["targets"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|target| target["expr"].as_str());
                readers.extend(queries.map(|query| (who.clone(), query.to_owned())));
            }
        }
        for path in files(&root.join(RULES), "yml")? {
            let mut who = None;
            for line in read(&path)?.lines().filter(|line| !line.trim_start().starts_with('#')) {
                let begins = |word| line.trim_start().strip_prefix(word).map(str::trim);
                if let Some(alert) = begins("- alert:") {
                    who = Some(format!("alert `{alert}`"));
                } else if let Some(rule) = begins("- record:") {
                    who = Some(format!("rule `{rule}`"));
                } else if let Some(who) = &who {
                    readers.push((who.clone(), line.to_owned()));
                }
            }
        }
        Ok(Self(readers))
    }

    /// Who asks for `family`, each once.
    #[must_use]
    pub fn of_family(&self, family: &Family) -> Vec<String> {
        let mut names = vec![family.name.clone()];
        if family.kind == "histogram" {
            names.extend(SUFFIXES.map(|suffix| format!("{}{suffix}", family.name)));
        }
        let mut found: Vec<String> = Vec::new();
        for (who, query) in &self.0 {
            let mut words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            if words.any(|word| names.iter().any(|name| name == word)) && !found.contains(who) {
                found.push(who.clone());
            }
        }
        found
    }
}

/// All panels, those in rows included.
fn panels(parent: &Value) -> Vec<&Value> {
    let own = parent["panels"].as_array().into_iter().flatten();
    own.flat_map(|panel| [vec![panel], panels(panel)].concat()).collect()
}

/// The files of a folder that end so, sorted; none where there is no folder.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
