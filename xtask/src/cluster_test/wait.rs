//! Waits with a progress line.

use std::time::Duration;

use anyhow::{Result, bail};
use lab::signals;

use crate::terminal::Progress;

/// Time between two attempts.
const STEP: Duration = Duration::from_millis(300);

/// Calls `attempt` until it returns a value, and shows what it waits for.
///
/// # Errors
/// After `limit`, on a signal, and the errors of `attempt`.
pub(crate) fn wait<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut progress = Progress::new();
    let found = signals::poll(limit, STEP, || {
        progress.show(&format!("waiting for {what}, {} s", progress.elapsed().as_secs()));
        attempt()
    })?;
    match found {
        Some(value) => Ok(value),
        None => bail!("waited {} s in vain for {what}", limit.as_secs()),
    }
}

/// Lets time pass, and shows why.
///
/// # Errors
/// On a signal.
pub(crate) fn pass(what: &str, length: Duration) -> Result<()> {
    let mut progress = Progress::new();
    signals::poll(length, Duration::from_millis(100), || {
        progress.show(&format!("{what}, {} of {} s", progress.elapsed().as_secs(), length.as_secs()));
        Ok(None::<()>)
    })
    .map(drop)
}
