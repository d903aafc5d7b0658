//! Ctrl-C and SIGTERM: counted here, so that whatever is running can be stopped in order.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Signals received so far. The first asks for an orderly stop, the second for an immediate one.
static RECEIVED: AtomicU32 = AtomicU32::new(0);

/// The error of anything that a signal cut short; `main` turns it into exit code 130.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

extern "C" fn count(_signal: libc::c_int) {
    RECEIVED.fetch_add(1, Ordering::SeqCst);
}

/// From now on SIGINT and SIGTERM are counted instead of ending this process.
pub(crate) fn install() {
    let handler = count as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        #[expect(unsafe_code, reason = "the standard library has no signal handlers")]
        // SAFETY: the handler only touches an atomic, which is async-signal-safe.
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
    #[expect(unsafe_code, reason = "the standard library has no signal handlers")]
    // SAFETY: plain integers. A caller that ignores SIGCHLD would make every wait for a child fail.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// How many signals have arrived.
pub(crate) fn received() -> u32 {
    RECEIVED.load(Ordering::SeqCst)
}

/// Fails once a signal has arrived.
///
/// # Errors
/// [`Interrupted`].
pub(crate) fn check() -> Result<()> {
    if received() > 0 { bail!(Interrupted) } else { Ok(()) }
}

/// Sleeps for `length`.
pub(crate) fn pause(length: Duration) {
    #[expect(clippy::disallowed_methods, reason = "xtask has no runtime to block; this is its only sleep")]
    std::thread::sleep(length);
}

/// Calls `attempt` every `step` until it gives a value, at most for `limit`; `None` when the time is over.
///
/// # Errors
/// [`Interrupted`] on a signal, and the errors of `attempt`.
pub(crate) fn poll<T>(
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
