//! Finds out how the probe may use the kernel.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::packages::{self, Root};
use crate::terminal;
use lab::command;
use lab::ports::Ports;
use lab::tree::Tree;
use protocol::probe_api::PreflightFinding;

/// How the probe is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// As this user, who is root, or the program has file capabilities.
    Direct,
    /// Through sudo, which has cached the password.
    Sudo,
    /// The kernel is not available.
    None(Lacking),
}

/// Why the kernel is not available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// What is missing, one item a line.
    pub(crate) why: Vec<String>,
    /// The command that provides it, if there is one.
    pub(crate) remedy: Option<String>,
}

impl Lacking {
    /// The user switched the kernel part off.
    pub(crate) fn switched_off() -> Self {
        Self { why: vec!["switched off with --no-kernel".to_owned()], remedy: None }
    }

    /// `error` prevented the build of the probe or its object.
    pub(crate) fn not_built(error: &anyhow::Error) -> Self {
        let why = format!("{error:#}").lines().map(str::to_owned).collect();
        Self { why, remedy: Some("cargo xtask setup".to_owned()) }
    }

    /// What is missing, and the remedy.
    pub(crate) fn lines(&self) -> Vec<String> {
        let why = self.why.iter().flat_map(|why| terminal::wrap(why, 90));
        let mut lines: Vec<String> = why.map(|line| format!("  {line}")).collect();
        if let Some(remedy) = &self.remedy {
            lines.push(format!("To fix this:  {remedy}"));
        }
        lines
    }

    /// [`lines`](Self::lines) in a box.
    pub(crate) fn banner(&self) -> String {
        let mut lines = vec!["The probe cannot run here, so the kernel's columns stay empty.".to_owned()];
        lines.extend(self.lines());
        terminal::banner(&lines)
    }
}

/// Runs the probe's preflight check as this user, then with sudo if a person can type the password.
///
/// # Errors
/// When the preflight cannot be started at all.
pub(crate) fn access(tree: &Tree, ports: Ports) -> Result<Access> {
    let (passes, findings) = preflight(tree, ports, false)?;
    if passes {
        return Ok(Access::Direct);
    }
    if !command::is_root() && packages::root(terminal::is_interactive()) == Root::Sudo {
        let (passes, findings) = preflight(tree, ports, true)?;
        return Ok(if passes { Access::Sudo } else { Access::None(Lacking { why: findings, remedy: None }) });
    }
    let remedy = (!command::is_root()).then(|| {
        let probe = tree.shown(&tree.release_binary("probe"));
        format!("sudo setcap cap_bpf,cap_net_admin,cap_perfmon=ep {probe}")
    });
    Ok(Access::None(Lacking { why: findings, remedy }))
}

fn preflight(tree: &Tree, ports: Ports, sudo: bool) -> Result<(bool, Vec<String>)> {
    let mut command = command(tree, sudo);
    command.args(["check", "--json", "--shard-urls", &ports.shard_urls()]).stdin(Stdio::null());
    let output = command.output()?;
    lab::signals::check()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.success(), failures(text.lines())))
}

/// The failed findings in the output of `probe check --json`. Lines that are not findings are kept.
pub(crate) fn failures<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let failure = |line: &str| match serde_json::from_str::<PreflightFinding>(line) {
        Ok(finding) if finding.passed => None,
        Ok(finding) => Some(finding.to_string()),
        Err(_) => Some(line.trim_end().to_owned()),
    };
    lines.into_iter().filter_map(failure).filter(|line| !line.is_empty()).collect()
}

/// A command that runs the probe, with sudo if `sudo` is set.
pub(crate) fn command(tree: &Tree, sudo: bool) -> Command {
    let probe = tree.release_binary("probe");
    if sudo {
        let mut command = Command::new("sudo");
        command.args(["-n", "--"]).arg(probe);
        command
    } else {
        Command::new(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lacking, failures};

    #[test]
    fn only_failed_findings_are_reported() {
        let passed = r#"{"check":"kernel","passed":true,"found":"6.18","remedy":null}"#;
        let failed =
            r#"{"check":"privileges","passed":false,"found":"lacks CAP_BPF","remedy":"run as root"}"#;
        assert_eq!(failures([passed, failed, ""]), ["privileges: lacks CAP_BPF: run as root"]);
        assert_eq!(failures(["SHARD_URLS=x: wrong"]), ["SHARD_URLS=x: wrong"]);
    }

    #[test]
    fn the_banner_ends_with_the_remedy() {
        let lacking = Lacking { why: vec!["lacks CAP_BPF".to_owned()], remedy: Some("sudo x".to_owned()) };
        let lines = lacking.lines();
        assert_eq!(lines.last().map(String::as_str), Some("To fix this:  sudo x"));
        assert!(lacking.banner().contains("lacks CAP_BPF"));
    }
}
