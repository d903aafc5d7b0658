//! The dashboards of `grafana/dashboards`: their panels, and what these ask Prometheus.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where dashboards are, from the repository's root.
pub const FOLDER: &str = "grafana/dashboards";

/// One dashboard.
pub struct Dashboard {
    /// Its title.
    pub title: String,
    /// The whole of it.
    pub json: Value,
}

/// One query of a panel or an annotation.
#[derive(Clone, Debug)]
pub struct Query {
    /// The dashboard's title.
    pub dashboard: String,
    /// The title of the panel, or the name of the annotation.
    pub panel: String,
    /// PromQL, with Grafana's variables in it.
    pub expr: String,
    /// How its series are named.
    pub legend: String,
    /// Whether it asks for this moment alone.
    pub instant: bool,
}

impl Dashboard {
    /// All dashboards of the repository at `root`, by file name.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let read = |path: &Path| -> Result<Self> {
            let json: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
            Ok(Self { title: json["title"].as_str().unwrap_or_default().to_owned(), json })
        };
        let paths = files(&root.join(FOLDER), "json")?.into_iter();
        paths.map(|path| read(&path).with_context(|| path.display().to_string())).collect()
    }

    /// Its panels, without the headings of rows.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().into_iter().flatten().filter(|panel| panel["type"] != "row")
    }

    /// What its panels and annotations ask.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        let mut add = |name: &Value, query: &Value| {
            let text = |field: &str| query[field].as_str().unwrap_or_default().to_owned();
            queries.push(Query {
                dashboard: self.title.clone(),
                panel: name.as_str().unwrap_or_default().to_owned(),
                expr: text("expr"),
                legend: text("legendFormat"),
                instant: query["instant"] == true,
            });
        };
        for panel in self.panels() {
            panel["targets"].as_array().into_iter().flatten().for_each(|target| add(&panel["title"], target));
        }
        let annotations = self.json["annotations"]["list"].as_array().into_iter().flatten();
        annotations.for_each(|annotation| add(&annotation["name"], annotation));
        queries
    }
}

impl Query {
    /// The expression as Grafana sends it: all shards selected, 5 s between scrapes.
    #[must_use]
    pub fn sent(&self) -> String {
        self.expr.replace("$__rate_interval", "20s").replace("$shard", ".*")
    }
}

/// The files of a folder that end so, sorted; none where there is no folder.
///
/// # Errors
/// When the folder cannot be read to its end.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}
