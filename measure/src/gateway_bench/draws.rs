//! The keys that wrk reads, drawn before the run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use load::keys::{Distribution, KeySpace};

use super::row::{Keys, Row};

/// The number of drawn keys. A slice uses a part of them.
const DRAWS: u32 = 1_000_000;

const KEYS_SCRIPT: &str = include_str!("../../peers/keys.lua");
const POST_SCRIPT: &str = include_str!("../../peers/post.lua");

/// The scripts of wrk and a row's keys.
pub(super) struct Script {
    path: PathBuf,
    arguments: Vec<String>,
    starts_anywhere: bool,
}

impl Script {
    /// Writes the files of a row into `folder`. Returns `None` if wrk needs no script.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn of(row: Row, folder: &Path, seed: u64) -> Result<Option<Self>> {
        if row.writes() {
            let arguments = vec![row.value_bytes().to_string()];
            let path = write(folder, "post.lua", POST_SCRIPT)?;
            return Ok(Some(Self { path, arguments, starts_anywhere: false }));
        }
        match row.keys() {
            Keys::One => Ok(None),
            keys => Self::of_keys(keys, folder, seed).map(Some),
        }
    }

    /// Writes the files for reads of `keys` into `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn of_keys(keys: Keys, folder: &Path, seed: u64) -> Result<Self> {
        let law = match keys {
            Keys::One | Keys::Uniform(_) => Distribution::Uniform,
            Keys::Zipf(_) => Distribution::Zipf(0.99),
        };
        let mut draws = KeySpace::numbered("item-", keys.count() as usize, law)?.draws(seed);
        let mut text = String::with_capacity(8 * DRAWS as usize);
        for _ in 0..DRAWS {
            let _ = write!(text, "{:08}", draws.draw());
        }
        let numbers = write(folder, "numbers", &text)?;
        let path = write(folder, "keys.lua", KEYS_SCRIPT)?;
        Ok(Self { path, arguments: vec![numbers.display().to_string()], starts_anywhere: true })
    }

    /// Returns the script and its arguments for one slice.
    pub(super) fn slice(&self, random: &mut fastrand::Rng) -> (&Path, Vec<String>) {
        let mut arguments = self.arguments.clone();
        if self.starts_anywhere {
            arguments.push(random.u32(..DRAWS).to_string());
        }
        (&self.path, arguments)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
