//! Removes a pinned set (`probe unpin DIR`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use service::process::complain;

use super::folder::{self, Folder, PinError, Removed};

/// Options of `probe unpin`.
#[derive(Clone, Debug, clap::Args)]
pub struct UnpinArgs {
    /// The folder, as passed to run --pin
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Prints what was removed. Returns exit code 1 if something is left, 2 for an invalid folder.
#[must_use]
pub fn run(args: UnpinArgs) -> ExitCode {
    let folder = match folder::named(args.folder) {
        Ok(folder) => folder,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    match unpin(&folder) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Removes all pins under `path`, and the folder. Returns one line that names them.
///
/// # Errors
/// When the folder cannot be used, or something is left.
pub fn unpin(path: &Path) -> Result<String, PinError> {
    let shown = path.display();
    let Some(folder) = Folder::existing(path)? else {
        return Ok(format!("nothing is pinned under {shown}: the folder does not exist"));
    };
    let Removed { links, maps } = folder.remove_all()?;
    folder.remove()?;
    let list = |what: &str, names: &[String]| match names {
        [] => format!("no {what}s"),
        [name] => format!("1 {what} ({name})"),
        names => format!("{} {what}s ({})", names.len(), names.join(", ")),
    };
    Ok(format!("removed {shown}: {}, {}", list("link", &links), list("map", &maps)))
}
