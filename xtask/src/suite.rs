//! Starts measuring programs as root.

use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Root};
use crate::terminal;
use lab::tree::Tree;

/// The release build of `program` as a command that runs as root; `why` completes "it …".
///
/// # Errors
/// When there is no way to become root.
pub(crate) fn as_root(tree: &Tree, program: &str, why: &str) -> Result<Command> {
    let path = tree.release_binary(program);
    match packages::root(terminal::is_interactive()) {
        Root::Already => Ok(Command::new(path)),
        Root::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "--"]).arg(path);
            Ok(command)
        }
        Root::No => bail!("{program} needs root, as it {why}: run it with sudo"),
    }
}
