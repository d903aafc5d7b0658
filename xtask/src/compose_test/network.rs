//! Saves and restores the network settings that a container engine changes.
//!
//! A stopped engine leaves its bridge, its rules and IP forwarding behind.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use lab::{command, programs};

const BRIDGE: &str = "docker0";

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Tables that an engine writes to, with their default chains.
const EMPTY: [(&str, &[&str]); 2] =
    [("filter", &["INPUT", "FORWARD", "OUTPUT"]), ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"])];

/// The network settings before the engine started.
#[derive(Debug)]
pub(crate) struct Before {
    rules: String,
    forwarding: String,
    had_bridge: bool,
}

impl Before {
    /// Reads the current settings.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub(crate) fn look() -> Result<Self> {
        let rules = command::capture(&mut program("iptables-save")?)?;
        let forwarding = fs::read_to_string(FORWARDING).with_context(|| FORWARDING.to_owned())?;
        Ok(Self { rules, forwarding, had_bridge: bridge_is_there() })
    }

    /// Restores the saved settings.
    ///
    /// # Errors
    /// When something cannot be restored. The error lists it.
    pub(crate) fn put_back(&self) -> Result<()> {
        if !self.had_bridge && bridge_is_there() {
            command::capture(program("ip")?.args(["link", "delete", BRIDGE]))
                .context("docker0 is not removed")?;
        }
        let mut restore = program("iptables-restore")?.stdin(Stdio::piped()).spawn()?;
        if let Some(mut input) = restore.stdin.take() {
            input.write_all(complete(&self.rules).as_bytes())?;
        }
        if !restore.wait()?.success() {
            bail!("the engine's iptables rules are not removed");
        }
        fs::write(FORWARDING, &self.forwarding).with_context(|| FORWARDING.to_owned())
    }
}

fn bridge_is_there() -> bool {
    Path::new("/sys/class/net").join(BRIDGE).exists()
}

fn program(name: &str) -> Result<Command> {
    Ok(Command::new(programs::find(name).with_context(|| format!("there is no {name}"))?))
}

/// Adds an empty table to `rules` for each missing one. A restore does not change tables that `rules` omits.
fn complete(rules: &str) -> String {
    let mut text = rules.to_owned();
    for (table, chains) in EMPTY {
        if rules.lines().any(|line| line.strip_prefix('*') == Some(table)) {
            continue;
        }
        text.push_str(&format!("*{table}\n"));
        for chain in chains {
            text.push_str(&format!(":{chain} ACCEPT [0:0]\n"));
        }
        text.push_str("COMMIT\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn a_table_without_rules_is_emptied() {
        let text = complete("*filter\n:INPUT DROP [0:0]\nCOMMIT\n");
        assert!(text.starts_with("*filter\n:INPUT DROP"), "{text}");
        assert_eq!(text.matches("*filter").count(), 1, "{text}");
        assert!(text.contains("*nat\n:PREROUTING ACCEPT"), "{text}");
        assert_eq!(text.matches("COMMIT").count(), 2, "{text}");
    }
}
