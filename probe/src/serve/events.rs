//! Serves `/api/events`: server-sent events for the live page, one a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use protocol::ErrorKind;
use service::health::Health;
use service::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::compare::feed::LISTENERS;
use crate::probe::Probe;

/// After this time without an event a comment is sent. Sending also detects closed connections.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The state of the handler.
#[derive(Clone)]
pub(crate) struct EventsState {
    probe: Arc<Probe>,
    health: Health,
}

impl EventsState {
    /// Creates the state. The streams end when `health` reports that the process stops.
    pub(crate) fn new(probe: Arc<Probe>, health: Health) -> Self {
        Self { probe, health }
    }
}

/// One listener's stream.
struct Listener {
    frames: watch::Receiver<Arc<str>>,
    health: Health,
    hello: Option<String>,
    /// Dropping it frees the listener's place.
    _place: OwnedSemaphorePermit,
}

/// The stream: first `hello` with the last two minutes, then one `second` event per second. 503 when the maximum
/// number of pages listen.
pub(crate) async fn events(State(state): State<EventsState>) -> Result<Response, Problem> {
    let feed = &state.probe.feed;
    let full = || {
        Problem::new(
            ErrorKind::Overloaded,
            format!("{LISTENERS} live pages are connected, which is the maximum; close one and try again"),
        )
    };
    let place = feed.place().ok_or_else(|| full().retry_after(5))?;
    // Subscribe before reading the past, so that no second is missed in between.
    let (frames, hello) = (feed.listen(), Some(feed.hello()));
    let listener = Listener { frames, health: state.health, hello, _place: place };
    Ok(Sse::new(stream::unfold(listener, next)).into_response())
}

async fn next(mut listener: Listener) -> Option<(Result<Event, Infallible>, Listener)> {
    if let Some(hello) = listener.hello.take() {
        return Some((Ok(Event::default().event("hello").data(hello)), listener));
    }
    let waited = tokio::time::timeout(KEEP_ALIVE, listener.frames.changed()).await;
    if listener.health.is_draining() {
        return None;
    }
    let event = match waited {
        Ok(Ok(())) => {
            let frame = Arc::clone(&listener.frames.borrow_and_update());
            Event::default().event("second").data(&*frame)
        }
        Ok(Err(_)) => return None,
        Err(_) => Event::default().comment("nothing new"),
    };
    Some((Ok(event), listener))
}
