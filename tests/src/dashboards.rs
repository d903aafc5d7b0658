//! Reads the panels and queries of `grafana/dashboards`.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Folder of the dashboards, relative to the repository root.
pub const FOLDER: &str = "grafana/dashboards";

/// One dashboard.
pub struct Dashboard {
    /// The title.
    pub title: String,
    /// The complete JSON.
    pub json: Value,
}

/// One query of a panel or an annotation.
#[derive(Clone, Debug)]
pub struct Query {
    /// The dashboard's title.
    pub dashboard: String,
    /// The title of the panel, or the name of the annotation.
    pub panel: String,
    /// The PromQL expression, with Grafana's variables.
    pub expr: String,
    /// The legend format.
    pub legend: String,
    /// Whether it is an instant query.
    pub instant: bool,
}

impl Dashboard {
    /// Reads all dashboards of the repository at `root`, ordered by file name.
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

    /// The panels, without row headings.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().into_iter().flatten().filter(|panel| panel["type"] != "row")
    }

    /// The queries of its panels and annotations.
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
    /// The expression as Grafana sends it, with all shards selected and a scrape interval of 5 s.
    #[must_use]
    pub fn sent(&self) -> String {
        self.expr.replace("$__rate_interval", "20s").replace("$shard", ".*")
    }
}

/// The sorted files in `folder` with this extension. Empty if the folder does not exist.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}
