//! Runs Prometheus for a lab and sends queries to it.

use ::lab::process::{Log, Process};
use ::lab::programs;
use ::lab::prometheus::Targets;
use serde_json::Value;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

use crate::lab::{self, Lab};
use crate::{build, poll, skip};

/// Whether `program` of the package `prometheus` is installed. If not, reports the test `name` as skipped.
#[must_use]
pub fn available(name: &str, program: &str) -> bool {
    let why = || format!("{program} is {}", ::lab::prometheus::REMEDY);
    skip::unless(name, programs::find(program).ok_or_else(why)).is_some()
}

/// A running Prometheus. Dropping it stops it and removes its data.
pub struct Prometheus {
    process: Process,
    addr: SocketAddr,
    client: reqwest::Client,
    // Dropped after the process, which writes into the folder.
    _folder: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes every part of `lab`, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(lab: &Lab) -> Self {
        Self::of(&lab.targets().expect("all parts are ready")).await
    }

    /// Starts a Prometheus that scrapes these targets, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn of(targets: &Targets) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        // Prometheus does not report its port, so choose a free one first. Another process could still take it.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let addr = free.expect("a free port");
        let start = |log| ::lab::prometheus::start(&build::tree(), targets, folder.path(), addr, log);
        let process = Log::unnamed().and_then(start).expect("Prometheus can be started");
        let prometheus = Self { process, addr, client: lab::client(), _folder: folder };
        let ready = poll::until(Duration::from_secs(30), || async {
            let answer = prometheus.client.get(format!("http://{addr}/-/ready")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                Ok(())
            } else {
                Err("not ready".to_owned())
            }
        });
        ready.await.unwrap_or_else(|why| panic!("Prometheus: {why}\n{}", prometheus.process.log()));
        prometheus
    }

    /// Sends an API request and returns the answer's `data`.
    ///
    /// # Errors
    /// The error that Prometheus reports.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/{path}", self.addr);
        let url = reqwest::Url::parse_with_params(&url, parameters).map_err(|err| err.to_string())?;
        let answer = async { self.client.get(url).send().await?.json::<Value>().await };
        let answer = answer.await.map_err(|err| err.to_string())?;
        if answer["status"] == "success" {
            Ok(answer["data"].clone())
        } else {
            Err(answer["error"].to_string())
        }
    }

    /// Evaluates an expression, as an instant query or over the last half minute.
    ///
    /// # Errors
    /// The error that Prometheus reports.
    pub async fn series(&self, expr: &str, instant: bool) -> Result<Vec<Value>, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let (start, end) = ((now - 30.0).to_string(), now.to_string());
        let data = if instant {
            self.api("query", &[("query", expr)]).await?
        } else {
            let range = [("query", expr), ("start", &start), ("end", &end), ("step", "5")];
            self.api("query_range", &range).await?
        };
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The firing alerts with this name.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn firing(&self, name: &str) -> Result<Vec<Value>, String> {
        let mut alerts = self.api("alerts", &[]).await?["alerts"].as_array().cloned().unwrap_or_default();
        alerts.retain(|alert| alert["labels"]["alertname"] == name && alert["state"] == "firing");
        Ok(alerts)
    }
}

/// The values of a series, from an instant or a range query.
#[must_use]
pub fn numbers(series: &Value) -> Vec<f64> {
    let values = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
    let number = |value: &Value| value[1].as_str()?.parse().ok();
    values.iter().filter_map(number).filter(|number: &f64| !number.is_nan()).collect()
}

/// Checks a text exposition with `promtool check metrics`.
///
/// # Errors
/// promtool's output.
pub fn check_metrics(text: &str) -> Result<(), String> {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = || {
        let mut child = promtool.spawn()?;
        // Taking the input closes it after the write. If promtool exits early, its status shows the failure.
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(text.as_bytes());
        }
        child.wait_with_output()
    };
    let output = run().map_err(|err: std::io::Error| err.to_string())?;
    let findings = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() && findings.trim().is_empty() { Ok(()) } else { Err(findings) }
}
