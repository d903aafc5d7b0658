//! Whether the probe may use the kernel here, and with whose rights: its own, sudo's, or not at all.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::packages::{self, Root};
use crate::ports::Ports;
use crate::process;
use crate::terminal;
use crate::tree::Tree;

/// How the probe is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// As this user (root, or the program has file capabilities).
    Direct,
    /// Through sudo, which has been asked for the password already.
    Sudo,
    /// Not at all.
    None(Lacking),
}

/// Why the kernel cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// What is missing, in lines.
    pub(crate) why: Vec<String>,
    /// The command that gives it, where one does.
    pub(crate) remedy: Option<String>,
}

impl Lacking {
    /// Not asked for on purpose.
    pub(crate) fn switched_off() -> Self {
        Self { why: vec!["switched off with --no-kernel".to_owned()], remedy: None }
    }

    /// `error` kept the probe or its object from being built.
    pub(crate) fn not_built(error: &anyhow::Error) -> Self {
        let why = format!("{error:#}").lines().map(str::to_owned).collect();
        Self { why, remedy: Some("cargo xtask setup".to_owned()) }
    }

    /// All of it in a box.
    pub(crate) fn banner(&self) -> String {
        let mut lines = vec!["The kernel's columns stay empty: the probe cannot run here.".to_owned()];
        for why in &self.why {
            lines.extend(terminal::wrap(why, 90).into_iter().map(|line| format!("  {line}")));
        }
        if let Some(remedy) = &self.remedy {
            lines.push(format!("To have them:  {remedy}"));
        }
        terminal::banner(&lines)
    }
}

/// Asks the probe's own preflight, as this user and then with sudo where a person can give the password.
///
/// # Errors
/// When the preflight cannot be started at all.
pub(crate) fn access(tree: &Tree, ports: Ports) -> Result<Access> {
    let (passes, findings) = preflight(tree, ports, false)?;
    if passes {
        return Ok(Access::Direct);
    }
    if !process::is_root() && packages::root(terminal::is_interactive()) == Root::Sudo {
        let (passes, findings) = preflight(tree, ports, true)?;
        return Ok(if passes { Access::Sudo } else { Access::None(Lacking { why: findings, remedy: None }) });
    }
    let remedy = (!process::is_root()).then(|| {
        let probe = tree.shown(&tree.release_binary("probe"));
        format!("sudo setcap cap_bpf,cap_net_admin,cap_perfmon=ep {probe}")
    });
    Ok(Access::None(Lacking { why: findings, remedy }))
}

fn preflight(tree: &Tree, ports: Ports, sudo: bool) -> Result<(bool, Vec<String>)> {
    let mut command = command(tree, sudo);
    command.args(["check", "--shard-urls", &ports.shard_urls()]).stdin(Stdio::null());
    let output = command.output()?;
    crate::signals::check()?;
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let findings = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned);
    Ok((output.status.success(), findings.collect()))
}

/// The probe as a command, with sudo in front where asked.
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
