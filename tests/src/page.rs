//! The live page in a real browser: which tools that takes, and the scripts of `tests/page/`.

use std::path::{Path, PathBuf};

use crate::build;
use crate::process::Process;

/// Where `cargo xtask page-test` puts Playwright, within the target folder.
const INSTALLED: &str = "tools/playwright-core-1.56.1/node_modules/playwright-core/index.mjs";

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
        let why = match Self::find() {
            Ok(tools) => return Some(tools),
            Err(why) => why,
        };
        assert!(std::env::var_os("LAB_PAGE_TEST").is_none(), "{name}: {why}");
        println!("SKIPPED {name}: {why}");
        None
    }

    fn find() -> Result<Self, String> {
        let missing = |what: &str| format!("{what} is not installed; `cargo xtask page-test` installs it");
        let playwright = build::target_folder().join(INSTALLED);
        Ok(Self {
            node: program("node").ok_or_else(|| missing("node"))?,
            chromium: program("chromium").ok_or_else(|| missing("chromium"))?,
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
    let folder = build::target_folder().join("page");
    if let Err(err) = std::fs::create_dir_all(&folder) {
        panic!("{}: {err}", folder.display());
    }
    folder
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
