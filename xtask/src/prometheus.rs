//! The lab's Prometheus on this machine: the compose file's configuration with native addresses.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::child::Child;
use crate::lab;
use crate::ports::{Ports, SHARDS};
use crate::process::find_program;
use crate::tree::Tree;

/// The configuration, from the root; its hosts are those of compose.
const FOLDER: &str = "deploy/prometheus";

/// Starts it where it is installed and its port is free; else says why not. It starts without a past.
///
/// # Errors
/// When its files cannot be written, or it cannot be started.
pub(crate) fn start(tree: &Tree, ports: Ports, with_probe: bool) -> Result<Result<Child, String>> {
    let Some(program) = find_program("prometheus") else {
        return Ok(Err(
            "not installed (Debian: apt-get install --no-install-recommends prometheus)".to_owned()
        ));
    };
    if let Err(why) = Ports::free(ports.prometheus()) {
        return Ok(Err(format!("port {} {why}", ports.prometheus())));
    }
    let folder = lab::logs(tree, ports).join("prometheus");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let source = tree.root.join(FOLDER);
    let read = fs::read_to_string(source.join("prometheus.yml"));
    let template = read.with_context(|| format!("cannot read {FOLDER}/prometheus.yml"))?;
    let file = folder.join("prometheus.yml");
    let config = native(&template, &source, ports, with_probe);
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--storage.tsdb.retention.time=1d")
        .arg(format!("--web.listen-address=127.0.0.1:{}", ports.prometheus()));
    Ok(Ok(Child::start("prometheus", command, lab::logs(tree, ports).join("prometheus.log"))?))
}

/// The configuration with this machine's addresses, and without a job for a probe that does not run.
fn native(template: &str, folder: &Path, ports: Ports, with_probe: bool) -> String {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let mut config = template
        .replace("rules/*.yml", &folder.join("rules/*.yml").display().to_string())
        .replace("lab39-api-gateway:8000", &at(ports.gateway()))
        .replace("lab39-probe:9010", &at(ports.probe()));
    for id in 0..SHARDS {
        config = config.replace(&format!("lab39-shard-{id}:{}", 9000 + id), &at(ports.shard(id)));
    }
    if !with_probe && let Some((others, _)) = config.split_once("  - job_name: probe\n") {
        config = others.to_owned();
    }
    config
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::native;
    use crate::ports::Ports;

    const TEMPLATE: &str = include_str!("../../deploy/prometheus/prometheus.yml");

    #[test]
    fn every_host_of_compose_is_replaced() {
        let config = native(TEMPLATE, Path::new("here"), Ports::new(18_000), true);
        let settings: Vec<&str> = config.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(settings.iter().all(|line| !line.contains("lab39")), "{config}");
        for target in ["18000", "19000", "19001", "19002", "19003", "19010"] {
            assert!(config.contains(&format!("[127.0.0.1:{target}]")), "{target}: {config}");
        }
        assert!(config.contains("- here/rules/*.yml"), "{config}");
    }

    #[test]
    fn without_a_probe_nobody_asks_it() {
        let config = native(TEMPLATE, Path::new("here"), Ports::new(18_000), false);
        assert!(config.contains("job_name: shard-3") && !config.contains("probe"), "{config}");
    }
}
