//! Counts SIGINT and SIGTERM for an orderly stop.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Signals received so far. The first requests an orderly stop, the second an immediate one.
static RECEIVED: AtomicU32 = AtomicU32::new(0);

/// The error of work that a signal interrupted. `main` converts it to exit code 130.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

extern "C" fn count(_signal: libc::c_int) {
    RECEIVED.fetch_add(1, Ordering::SeqCst);
}

/// Installs the handlers. From then on SIGINT and SIGTERM are counted and no longer end this process.
pub fn install() {
    let handler = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // If the caller ignores SIGCHLD, every wait for a child process would fail.
    for (signal, action) in
        [(libc::SIGINT, handler), (libc::SIGTERM, handler), (libc::SIGCHLD, libc::SIG_DFL)]
    {
        #[expect(unsafe_code, reason = "neither std nor rustix installs signal handlers")]
        // SAFETY: the handler only touches an atomic, which is async-signal-safe.
        unsafe {
            libc::signal(signal, action);
        }
    }
}

/// Number of signals received so far.
pub fn received() -> u32 {
    RECEIVED.load(Ordering::SeqCst)
}

/// Checks that no signal has arrived.
///
/// # Errors
/// [`Interrupted`] after a signal.
pub fn check() -> Result<()> {
    if received() > 0 { bail!(Interrupted) } else { Ok(()) }
}

/// Sleeps for `length`.
pub fn pause(length: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the lab's processes are watched without a runtime")]
    std::thread::sleep(length);
}

/// Calls `attempt` every `step` until it returns a value. Returns `None` after `limit`.
///
/// # Errors
/// [`Interrupted`] on a signal, and the errors of `attempt`.
pub fn poll<T>(
    limit: Duration,
    step: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        check()?;
        if let Some(value) = attempt()? {
            return Ok(Some(value));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        pause(step);
    }
}
