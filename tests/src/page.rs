//! Runs the browser scripts of `tests/page/` on the live page.

use ::lab::{playwright, programs};
use std::path::{Path, PathBuf};

use crate::process::{Process, TestProcess as _};
use crate::{build, skip};

/// The programs that run the scripts.
#[derive(Clone, Debug)]
pub struct Tools {
    node: PathBuf,
    chromium: PathBuf,
    playwright: PathBuf,
}

impl Tools {
    /// Finds the tools. If one is missing, reports the test `name` as skipped, with the reason.
    ///
    /// # Panics
    /// When a tool is missing and `cargo xtask page-test` requested the test.
    #[must_use]
    pub fn available(name: &str) -> Option<Self> {
        let requested = std::env::var_os("LAB_PAGE_TEST").is_some();
        skip::unless_requested(name, Self::find(), requested)
    }

    fn find() -> Result<Self, String> {
        let missing = |what: &str| format!("{what} is not installed; `cargo xtask page-test` installs it");
        let playwright = playwright::module(&build::tree());
        Ok(Self {
            node: programs::find("node").ok_or_else(|| missing("node"))?,
            chromium: programs::find("chromium").ok_or_else(|| missing("chromium"))?,
            playwright: Some(playwright)
                .filter(|file| file.is_file())
                .ok_or_else(|| missing("playwright"))?,
        })
    }

    /// Starts a script of `tests/page/` with these settings.
    #[must_use]
    pub fn start(&self, script: &str, settings: &[(&'static str, String)]) -> Process {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("page").join(script).with_extension("mjs");
        let shown = |path: &Path| path.display().to_string();
        let tools = [("PLAYWRIGHT", shown(&self.playwright)), ("CHROMIUM", shown(&self.chromium))];
        Process::start_program(&self.node, &[&shown(&path)], &[&tools, settings].concat())
    }
}

/// The folder for screenshots: `target/page/`.
///
/// # Panics
/// When it cannot be created.
#[must_use]
pub fn pictures() -> PathBuf {
    let folder = build::tree().target.join("page");
    if let Err(err) = std::fs::create_dir_all(&folder) {
        panic!("{}: {err}", folder.display());
    }
    folder
}
