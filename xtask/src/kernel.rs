//! Finds out how the probe may use the kernel.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::packages::{self, Root};
use crate::terminal;
use lab::command;
use lab::ports::Ports;
use lab::tree::Tree;

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
            lines.push(format!("To have it:  {remedy}"));
        }
        lines
    }

    /// [`lines`](Self::lines) in a box.
    pub(crate) fn banner(&self) -> String {
        let mut lines = vec![
            "The kernel is not asked, and what comes from it stays empty: the probe cannot run here."
                .to_owned(),
        ];
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
    command.args(["check", "--shard-urls", &ports.shard_urls()]).stdin(Stdio::null());
    let output = command.output()?;
    lab::signals::check()?;
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), unmet(&text)))
}

/// The failed findings of the preflight. All of its output if no finding is marked as failed.
fn unmet(said: &str) -> Vec<String> {
    let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let failed: Vec<String> = lines
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix("FAIL"))
        .map(|why| why.trim().to_owned())
        .collect();
    if failed.is_empty() { lines.into_iter().map(str::to_owned).collect() } else { failed }
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
    use super::{Lacking, unmet};

    #[test]
    fn only_what_is_missing_is_said() {
        let said = "ok kernel: 6.18\nFAIL privileges: lacks CAP_BPF: run as root\n\n";
        assert_eq!(unmet(said), ["privileges: lacks CAP_BPF: run as root"]);
        assert_eq!(unmet("SHARD_URLS=x: wrong\n"), ["SHARD_URLS=x: wrong"]);
    }

    #[test]
    fn the_banner_ends_with_the_remedy() {
        let lacking = Lacking { why: vec!["lacks CAP_BPF".to_owned()], remedy: Some("sudo x".to_owned()) };
        let lines = lacking.lines();
        assert_eq!(lines.last().map(String::as_str), Some("To have it:  sudo x"));
        assert!(lacking.banner().contains("lacks CAP_BPF"));
    }
}
