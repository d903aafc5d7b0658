//! The repository's files, for the programs and tests that read them.

use std::path::{Path, PathBuf};

/// The repository's root.
///
/// # Panics
/// Never: this package has a folder of its own in it.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in a workspace").to_path_buf()
}
