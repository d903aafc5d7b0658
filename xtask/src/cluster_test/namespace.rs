//! Runs code in another network namespace.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` on a thread in the network namespace of `file`. Processes that it starts would end with the thread.
///
/// # Errors
/// When the namespace cannot be entered, and the errors of `work`.
pub(crate) fn within<T: Send>(file: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(file).with_context(|| file.display().to_string())?;
    thread::scope(|scope| {
        let entered = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter the network namespace")?;
            work()
        });
        entered.join().map_err(|_| anyhow!("the thread panicked"))?
    })
}
