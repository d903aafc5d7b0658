//! Waits until the terminal hangs up.

use std::fs::File;
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Returns when a terminal in use has hung up. Keys are read from standard input, or else from the controlling
/// terminal.
pub(super) async fn hung_up() {
    let keys = || {
        if stdin().is_terminal() { copy(&stdin()) } else { File::open("/dev/tty").ok().map(OwnedFd::from) }
    };
    tokio::select! {
        () = of(copy(&stdout())) => {}
        () = of(keys()) => {}
    }
}

fn copy(terminal: &impl AsFd) -> Option<OwnedFd> {
    terminal.as_fd().try_clone_to_owned().ok()
}

/// Never returns for a descriptor that does not support polling.
async fn of(terminal: Option<OwnedFd>) {
    // SAFETY: an `OwnedFd` stays open, and the same descriptor, until it is dropped.
    #[expect(unsafe_code, reason = "tokio leaves to its caller that the descriptor stays open")]
    let waiting = terminal
        .and_then(|terminal| unsafe { AsyncFd::register_with_interest(terminal, Interest::READABLE) }.ok());
    let Some(terminal) = waiting else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = terminal.readable().await else { return std::future::pending().await };
        if ready.ready().is_read_closed() {
            return;
        }
        // The terminal has input, which another thread reads.
        ready.clear_ready();
    }
}
