//! Runs the runbook's docker lines unchanged, with Compose.

use std::process::Command;

use anyhow::Result;

use super::script::{self, Output, Running};
use lab::tree::Tree;

/// Settings for Compose.
pub(super) struct Compose<'a> {
    tree: &'a Tree,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Compose<'a> {
    pub(super) const fn new(tree: &'a Tree, environment: Vec<(&'static str, String)>) -> Self {
        Self { tree, environment }
    }

    /// Variables that select the engine and the files.
    pub(super) fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// Runs `line`.
    ///
    /// # Errors
    /// When bash cannot be started, or a signal arrives.
    pub(super) fn run(&self, line: &str) -> Result<Output> {
        script::docker(self.tree, line, &self.environment)
    }

    /// Starts the load in `line`.
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
