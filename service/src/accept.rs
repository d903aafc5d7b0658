//! Accepts HTTP/1.1 connections on one runtime, until the drain.
//!
//! Beyond the limit, or without a descriptor, connections are still accepted, a few at a time. Only control requests
//! are answered on them. A process cannot tell such a request from others before it has read its head.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connections::{Connections, Entered, Place};
use crate::limits::{SPARES, lacks_descriptor};
use crate::overload::Reason;
use crate::reserve::Reserve;
use crate::serve::Serving;

/// Pause after an accept error that nothing can be done about. Without it the error would repeat at once.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);
/// Pause while all spare descriptors are in use. They are soon free again.
const SPARE_PAUSE: Duration = Duration::from_millis(2);
/// How often, and at which interval, a connection is tried to be admitted while others are about to end.
const ADMISSIONS: u32 = 40;
const ADMISSION_PAUSE: Duration = Duration::from_millis(1);

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) connections: Arc<Connections>,
    pub(crate) reserve: Reserve,
    pub(crate) spares: Spares,
    pub(crate) drain: CancellationToken,
}

/// Serves `listener` until the drain, its queue is empty, and every connection has ended.
pub(crate) async fn serve(listener: TcpListener, serving: Arc<Serving>, shared: Shared) {
    let Shared { connections, spares, drain, .. } = &shared;
    let tasks = TaskTracker::new();
    let within = |stream: TcpStream, place: Place| {
        drop(tasks.spawn(within_limit(Arc::clone(&serving), stream, place)));
    };
    let beyond = |stream: TcpStream, permit: Option<OwnedSemaphorePermit>, may_enter: bool| {
        let (serving, shared) = (Arc::clone(&serving), shared.clone());
        drop(tasks.spawn(async move {
            // The next connection does not wait for this place.
            let place = if may_enter { shared.place_soon().await } else { None };
            if let Some(place) = place {
                drop(permit);
                return within_limit(serving, stream, place).await;
            }
            serving.beyond_limit(stream, &shared.reserve).await;
            shared.spares.fill();
            drop(permit);
        }));
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) if spares.fill() => match connections.enter() {
                Entered::In(place) => within(stream, place),
                Entered::Soon | Entered::Full => beyond(stream, shared.reserved().await, true),
            },
            Ok((stream, _)) => beyond(stream, shared.reserved().await, false),
            Err(err) => {
                let is_exhausted = lacks_descriptor(&err);
                if is_exhausted {
                    connections.overload.count(Reason::NoDescriptor, 1);
                    connections.make_room();
                } else {
                    tracing::warn!(%err, "a connection could not be accepted");
                }
                let pause = match is_exhausted {
                    true if spares.give_up() => continue,
                    true => SPARE_PAUSE,
                    false => ACCEPT_ERROR_PAUSE,
                };
                drop(tokio::time::timeout(pause, drain.cancelled()).await);
            }
        }
    }
    // Closing a listener resets the connections in its backlog, so they are served first. `accept` is called on the
    // socket directly, because the runtime's readiness state may be outdated.
    if let Ok(listener) = listener.into_std() {
        connections.drain();
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
                && let Entered::In(place) = connections.enter()
            {
                within(stream, place);
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn within_limit(serving: Arc<Serving>, stream: TcpStream, place: Place) {
    // Fails only on a closed connection.
    let _ = stream.set_nodelay(true);
    if let Err(err) = serving.connection(stream, &place.progress).await {
        tracing::debug!(%err, "connection ended early");
    }
}

impl Shared {
    /// Takes a place within the limit, if there is one soon.
    async fn place_soon(&self) -> Option<Place> {
        for _ in 0..ADMISSIONS {
            match self.connections.enter() {
                Entered::In(place) => return Some(place),
                Entered::Soon => tokio::time::sleep(ADMISSION_PAUSE).await,
                Entered::Full => return None,
            }
        }
        None
    }

    /// Waits for a place beyond the limit. A drain ends the wait.
    async fn reserved(&self) -> Option<OwnedSemaphorePermit> {
        self.drain.run_until_cancelled(self.reserve.place()).await.flatten()
    }
}

/// Descriptors that are given up one by one to accept connections when there are no others. While one is missing, no
/// connection is within the limit: it would keep the descriptor.
#[derive(Clone, Default)]
pub(crate) struct Spares(Arc<Mutex<Vec<OwnedFd>>>);

impl Spares {
    /// Opens those that are missing. Returns whether none is missing now.
    pub(crate) fn fill(&self) -> bool {
        let mut held = self.0.lock();
        while held.len() < SPARES {
            // Any descriptor will do. Standard error is always there, also without a file system.
            let Ok(spare) = std::io::stderr().as_fd().try_clone_to_owned() else { return false };
            held.push(spare);
        }
        true
    }

    /// Closes one. Returns whether there was one.
    fn give_up(&self) -> bool {
        self.0.lock().pop().is_some()
    }
}
