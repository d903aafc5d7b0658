//! The live page in a real browser: which tools that takes, and the scripts of `tests/page/`.

use ::lab::{playwright, programs};
use std::path::{Path, PathBuf};

use crate::process::{Process, TestProcess as _};
use crate::{build, skip};

/// What runs the scripts.
#[derive(Clone, Debug)]
pub struct Tools {
    node: PathBuf,
    chromium: PathBuf,
    playwright: PathBuf,
}

impl Tools {
    /// The tools, if they are there. When one is not, the test `name` is reported as skipped, with the reason.
    ///
    /// # Panics
    /// When one is not and the tests of the page were asked for (`cargo xtask page-test`).
    #[must_use]
    pub fn available(name: &str) -> Option<Self> {
        let asked_for = std::env::var_os("LAB_PAGE_TEST").is_some();
        skip::unless_asked_for(name, Self::find(), asked_for)
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

/// Where pictures of the page go: `target/page/`.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn pictures() -> PathBuf {
    let folder = build::tree().target.join("page");
    if let Err(err) = std::fs::create_dir_all(&folder) {
        panic!("{}: {err}", folder.display());
    }
    folder
}
