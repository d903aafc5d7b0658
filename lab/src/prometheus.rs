//! Runs Prometheus on this machine with the compose file's configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::Lab;
use crate::process::{Log, Process};
use crate::programs;
use crate::tree::Tree;

/// How to install Prometheus.
pub const REMEDY: &str = "not installed (Debian: apt-get install --no-install-recommends prometheus)";

/// The configuration folder, relative to the repository root. Its host names are those of the compose file.
const FOLDER: &str = "deploy/prometheus";

/// Starts Prometheus at `address`. It scrapes every part of `lab` and stores its data in `folder`.
///
/// # Errors
/// When it is not installed, its files cannot be written, or it cannot be started.
pub fn start(tree: &Tree, lab: &Lab, folder: &Path, address: SocketAddr, log: Log) -> Result<Process> {
    let program = programs::find("prometheus").context(REMEDY)?;
    let source = tree.root.join(FOLDER);
    let template = fs::read_to_string(source.join("prometheus.yml"));
    let template = template.with_context(|| format!("cannot read {FOLDER}/prometheus.yml"))?;
    let shards = lab.shards.iter().map(Process::address).collect::<Result<Vec<_>>>()?;
    let probe = lab.probe.as_ref().map(Process::address).transpose()?;
    let file = folder.join("prometheus.yml");
    fs::write(&file, configuration(&template, &source, lab.gateway.address()?, &shards, probe))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--storage.tsdb.retention.time=1d")
        .arg(format!("--web.listen-address={address}"));
    Process::start("prometheus", command, log)
}

/// The configuration with this lab's addresses. Without a probe it has no job for one.
fn configuration(
    template: &str,
    folder: &Path,
    gateway: SocketAddr,
    shards: &[SocketAddr],
    probe: Option<SocketAddr>,
) -> String {
    let mut config = template
        .replace("rules/*.yml", &folder.join("rules/*.yml").display().to_string())
        .replace("lab39-api-gateway:8000", &gateway.to_string());
    for (id, address) in shards.iter().enumerate() {
        config = config.replace(&format!("lab39-shard-{id}:{}", 9000 + id), &address.to_string());
    }
    match (probe, config.split_once("  - job_name: probe\n")) {
        (Some(address), _) => config.replace("lab39-probe:9010", &address.to_string()),
        (None, Some((others, _))) => others.to_owned(),
        (None, None) => config,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use super::configuration;

    const TEMPLATE: &str = include_str!("../../deploy/prometheus/prometheus.yml");

    fn configured(with_probe: bool) -> String {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let shards: Vec<SocketAddr> = (19_000..19_004).map(at).collect();
        configuration(TEMPLATE, Path::new("here"), at(18_000), &shards, with_probe.then(|| at(19_010)))
    }

    #[test]
    fn every_host_of_compose_is_replaced() {
        let config = configured(true);
        let settings: Vec<&str> = config.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(settings.iter().all(|line| !line.contains("lab39")), "{config}");
        for target in ["18000", "19000", "19001", "19002", "19003", "19010"] {
            assert!(config.contains(&format!("[127.0.0.1:{target}]")), "{target}: {config}");
        }
        assert!(config.contains("- here/rules/*.yml"), "{config}");
    }

    #[test]
    fn without_a_probe_it_is_not_scraped() {
        let config = configured(false);
        assert!(config.contains("job_name: shard-3") && !config.contains("probe"), "{config}");
    }
}
