//! `cargo xtask down`: stops the lab that `cargo xtask up` runs.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::ports::Ports;
use lab::tree::Tree;
use lab::{process, signals};

use crate::native_lab;

/// Maximum time for a lab to stop. Each of its parts has its own limit below.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// A lock on the ports of a lab, with the process id of its owner. The kernel releases it when the process ends.
pub(crate) struct Claim {
    _lock: File,
}

impl Claim {
    /// Claims the ports of a lab.
    ///
    /// # Errors
    /// When another lab has them, or the file cannot be written.
    pub(crate) fn take(tree: &Tree, ports: Ports) -> Result<Self> {
        let mut file = open(tree, ports)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "a lab runs on these ports; stop it with `cargo xtask down`, or choose others with --port-base N"
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the lab's ports"),
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _lock: file })
    }
}

/// Stops the lab on `ports` in order, and waits until it has ended.
///
/// # Errors
/// When the lab belongs to another user, or does not stop in time.
pub(crate) fn down(tree: &Tree, ports: Ports) -> Result<()> {
    let mut file = open(tree, ports)?;
    if file.try_lock().is_ok() {
        println!("No lab runs on these ports.");
        return Ok(());
    }
    let mut owner = String::new();
    file.read_to_string(&mut owner)?;
    let Ok(owner) = owner.parse::<i32>() else {
        bail!("the lab on these ports is just starting; try again");
    };
    process::terminate(owner).with_context(|| format!("cannot stop the lab (process {owner})"))?;
    let stopped = signals::poll(STOPPED_WITHIN, Duration::from_millis(50), || {
        Ok(file.try_lock().is_ok().then_some(()))
    })?;
    if stopped.is_none() {
        bail!("the lab (process {owner}) did not stop within {} s", STOPPED_WITHIN.as_secs());
    }
    println!("The lab is stopped.");
    Ok(())
}

fn open(tree: &Tree, ports: Ports) -> Result<File> {
    let folder = native_lab::logs(tree, ports);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path: PathBuf = folder.join("up.pid");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}
