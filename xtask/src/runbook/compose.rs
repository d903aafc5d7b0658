//! The runbook's docker lines as they stand, done by Compose.

use std::process::Command;

use anyhow::Result;

use super::script::{self, Output, Running};
use lab::tree::Tree;

/// How Compose is called.
pub(super) struct Compose<'a> {
    tree: &'a Tree,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Compose<'a> {
    pub(super) const fn new(tree: &'a Tree, environment: Vec<(&'static str, String)>) -> Self {
        Self { tree, environment }
    }

    /// Which engine, and which files.
    pub(super) fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// Does `line`.
    ///
    /// # Errors
    /// When bash cannot be started, or a signal arrives.
    pub(super) fn run(&self, line: &str) -> Result<Output> {
        script::docker(self.tree, line, &self.environment)
    }

    /// Starts the load that `line` is.
    ///
    /// # Errors
    /// When bash cannot be started.
    pub(super) fn start(&self, line: &str, name: &str) -> Result<Running> {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {line}")]).current_dir(&self.tree.root);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Running::start(command, self.tree.target.join("runbook").join(format!("{name}.log")))
    }
}
