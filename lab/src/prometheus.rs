//! Runs Prometheus on this machine with the compose file's configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{Log, Process};
use crate::programs;
use crate::tree::Tree;

/// How to install Prometheus.
pub const REMEDY: &str = "not installed (Debian: apt-get install --no-install-recommends prometheus)";

/// The configuration folder, relative to the repository root. Its host names are those of the compose file.
const FOLDER: &str = "deploy/prometheus";

/// What Prometheus scrapes.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The gateway. `None` leaves gateway and shards out.
    pub gateway: Option<SocketAddr>,
    /// The shards, by id.
    pub shards: Vec<SocketAddr>,
    /// The probe. `None` leaves it out.
    pub probe: Option<SocketAddr>,
}

/// Starts Prometheus at `address`. It scrapes the `targets` and stores its data in `folder`.
///
/// # Errors
/// When it is not installed, its files cannot be written, or it cannot be started.
pub fn start(
    tree: &Tree,
    targets: &Targets,
    folder: &Path,
    address: SocketAddr,
    log: Log,
) -> Result<Process> {
    let program = programs::find("prometheus").context(REMEDY)?;
    let source = tree.root.join(FOLDER);
    let template = fs::read_to_string(source.join("prometheus.yml"));
    let template = template.with_context(|| format!("cannot read {FOLDER}/prometheus.yml"))?;
    let file = folder.join("prometheus.yml");
    fs::write(&file, configuration(&template, &source, targets))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--storage.tsdb.retention.time=1d")
        .arg(format!("--web.listen-address={address}"));
    Process::start("prometheus", command, log)
}

/// The configuration with the addresses of the targets, and without the jobs of absent ones.
fn configuration(template: &str, folder: &Path, targets: &Targets) -> String {
    const GATEWAY: &str = "  - job_name: api-gateway\n";
    const PROBE: &str = "  - job_name: probe\n";
    let mut config = template.replace("rules/*.yml", &folder.join("rules/*.yml").display().to_string());
    let probe = config.find(PROBE).map(|at| config.split_off(at)).unwrap_or_default();
    match targets.gateway {
        Some(gateway) => config = config.replace("lab39-api-gateway:8000", &gateway.to_string()),
        None => config.truncate(config.find(GATEWAY).unwrap_or(config.len())),
    }
    for (id, address) in targets.shards.iter().enumerate() {
        config = config.replace(&format!("lab39-shard-{id}:{}", 9000 + id), &address.to_string());
    }
    match targets.probe {
        Some(address) => config + &probe.replace("lab39-probe:9010", &address.to_string()),
        None => config,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use super::{Targets, configuration};

    const TEMPLATE: &str = include_str!("../../deploy/prometheus/prometheus.yml");

    fn configured(with_probe: bool) -> String {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let shards: Vec<SocketAddr> = (19_000..19_004).map(at).collect();
        let targets = Targets { gateway: Some(at(18_000)), shards, probe: with_probe.then(|| at(19_010)) };
        configuration(TEMPLATE, Path::new("here"), &targets)
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

    #[test]
    fn without_a_gateway_only_the_probe_is_scraped() {
        let probe = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 19_010)));
        let config = configuration(TEMPLATE, Path::new("here"), &Targets { probe, ..Targets::default() });
        assert_eq!(config.matches("job_name").count(), 1, "{config}");
        assert!(
            config.contains("scrape_configs:\n  - job_name: probe") && config.contains("[127.0.0.1:19010]")
        );
    }
}
