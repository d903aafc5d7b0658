//! Versions of all programs of a run.

use std::process::{Command, Stdio};

use lab::programs;
use lab::tree::Tree;

/// Programs of the comparison, with the option that prints the version.
const PROGRAMS: [(&str, &str); 4] = [("nginx", "-v"), ("haproxy", "-v"), ("varnishd", "-V"), ("wrk", "-v")];

/// Returns one line for each installed program, and the commit of this repository.
pub(super) fn all() -> Vec<String> {
    let mut lines: Vec<String> = PROGRAMS.iter().filter_map(|(name, option)| version(name, option)).collect();
    lines.extend(commit());
    lines
}

fn version(name: &str, option: &str) -> Option<String> {
    let output = Command::new(programs::find(name)?).arg(option).stdin(Stdio::null()).output().ok()?;
    // nginx and Varnish write it to standard error.
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
    // The licence after it is of no use here.
    let end = ["Copyright", " - http", " ["].iter().filter_map(|mark| line.find(mark)).min();
    let version = line.get(..end.unwrap_or(line.len()))?;
    Some(version.trim_start_matches("nginx version: ").trim().to_owned())
}

/// Returns the commit of this repository, and whether files differ from it.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let root = Tree::find().ok()?.root;
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed =
        if git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() { "" } else { ", changed" };
    Some(format!("commit {}{changed}", git(&["rev-parse", "--short=12", "HEAD"])?))
}
