//! Tracks a connection's progress, and lets others end it.
//!
//! A drain closes the connection of a stalled client but waits for a request that is being handled. While the process
//! runs, [`Connections`](crate::connections::Connections) ends idle and stalled connections.

use axum::body::{Body, Bytes, HttpBody};
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, Incoming, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a client may make no progress during a drain while the server waits for it.
const STALL_TIMEOUT: Duration = Duration::from_millis(400);
/// Interval of the checks during a drain.
const CHECK_PERIOD: Duration = Duration::from_millis(20);

/// The progress of one connection. Cheap to clone; all clones share its state.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<State>);

/// Every field but `order` has one writer, the connection's task. So a load and a store add to a count.
#[derive(Default)]
struct State {
    /// Number of reads and writes that completed.
    moved: AtomicU32,
    /// Number of request handlers that have begun.
    begun: AtomicU32,
    /// Whether a request handler runs.
    handles: AtomicBool,
    /// Whether bytes arrived that belong to no request yet.
    has_part_of_head: AtomicBool,
    /// Whether the handler waits for more of the request body.
    awaits_body: AtomicBool,
    /// Whether a write is blocked because the client does not read the answer.
    write_blocked: AtomicBool,
    /// Whether an answer without a known length is being sent.
    streams: AtomicBool,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The next request. No byte of it has arrived.
    Idle,
    /// The rest of a request head.
    Head,
    /// More of a request body.
    Body,
    /// The client, which does not read the answer.
    Write,
    /// The server: a handler runs, or a stream has nothing new.
    Server,
}

/// How a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// After the request that is handled or has arrived, or arrives soon.
    Finish = 1,
    /// Now, but after the request that is handled or has arrived.
    Leave = 2,
    /// Now.
    Close = 3,
}

impl Progress {
    /// Marks a handler as running until the guard is dropped.
    pub(crate) fn handle(&self) -> HandlerGuard {
        add_one(&self.0.begun);
        self.0.handles.store(true, Ordering::Relaxed);
        self.0.has_part_of_head.store(false, Ordering::Relaxed);
        HandlerGuard(self.clone())
    }

    /// Wraps the body of a request.
    pub(crate) fn body(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(TrackedBody { body, progress: self.clone() })
        }
    }

    /// Wraps an answer of unknown length. Its connection is not idle while the handler has returned.
    pub(crate) fn stream(&self, body: Body) -> Body {
        self.0.streams.store(true, Ordering::Relaxed);
        Body::new(Stream { body, progress: self.clone() })
    }

    /// Records a completed read of `bytes` bytes.
    pub(crate) fn has_read(&self, bytes: usize) {
        add_one(&self.0.moved);
        if bytes > 0 && !self.0.handles.load(Ordering::Relaxed) {
            self.0.has_part_of_head.store(true, Ordering::Relaxed);
        }
    }

    /// Records that a write completed, or that it is blocked.
    pub(crate) fn has_written(&self, completed: bool) {
        self.0.write_blocked.store(!completed, Ordering::Relaxed);
        if completed {
            add_one(&self.0.moved);
        }
    }

    /// The number of reads and writes that completed.
    pub(crate) fn moved(&self) -> u32 {
        self.0.moved.load(Ordering::Relaxed)
    }

    /// The number of request handlers that have begun.
    pub(crate) fn begun(&self) -> u32 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// What the connection waits for.
    pub(crate) fn phase(&self) -> Phase {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let state = &*self.0;
        match (is(&state.write_blocked), is(&state.handles)) {
            (true, _) => Phase::Write,
            (_, true) if is(&state.awaits_body) => Phase::Body,
            (_, true) => Phase::Server,
            _ if is(&state.streams) => Phase::Server,
            _ if is(&state.has_part_of_head) => Phase::Head,
            _ => Phase::Idle,
        }
    }

    /// Orders the connection to end. A later order cannot weaken an earlier one.
    pub(crate) fn order(&self, order: Order) {
        self.0.order.fetch_max(order as u8, Ordering::AcqRel);
        self.0.waker.wake();
    }

    /// Whether the connection has an order to end.
    pub(crate) fn is_ordered(&self) -> bool {
        self.0.order.load(Ordering::Acquire) >= Order::Finish as u8
    }

    /// Returns when the connection has the order to close, or the order to finish and a client that takes too long.
    pub(crate) async fn must_close(&self) {
        if self.ordered(Order::Finish).await != Order::Close {
            tokio::select! {
                _ = self.ordered(Order::Close) => {}
                () = self.stalled() => {}
            }
        }
    }

    /// Returns once the connection has an order of at least this strength. Only one task may wait at a time.
    pub(crate) async fn ordered(&self, at_least: Order) -> Order {
        let ordered = || match self.0.order.load(Ordering::Acquire) {
            order if order < at_least as u8 => Poll::Pending,
            order if order == Order::Finish as u8 => Poll::Ready(Order::Finish),
            order if order == Order::Leave as u8 => Poll::Ready(Order::Leave),
            _ => Poll::Ready(Order::Close),
        };
        poll_fn(|cx| {
            if ordered().is_pending() {
                self.0.waker.register(cx.waker());
            }
            ordered()
        })
        .await
    }

    /// Returns when the server has waited too long for the client. Only an order to finish leads here. The cases are:
    ///
    /// - The server waits for the rest of a body, or for the client to read an answer. The limit is
    ///   [`STALL_TIMEOUT`] without progress.
    /// - The server waits for the rest of a request head. The limit is [`STALL_TIMEOUT`] in total.
    /// - The handler runs and needs nothing from the client. There is no limit.
    async fn stalled(&self) {
        let (mut before, mut stalled) = (self.moved(), Duration::ZERO);
        loop {
            tokio::time::sleep(CHECK_PERIOD).await;
            let works = self.0.handles.load(Ordering::Relaxed);
            let blocked = if works { &self.0.awaits_body } else { &self.0.write_blocked };
            let blocked = blocked.load(Ordering::Relaxed);
            let progressed = std::mem::replace(&mut before, self.moved()) != before;
            // While no handler runs, received bytes do not count as progress: a request head that arrives in small
            // pieces is no request yet.
            let waits_for_head = !works && !blocked;
            stalled += CHECK_PERIOD;
            if (works && !blocked) || (progressed && !waits_for_head) {
                stalled = Duration::ZERO;
            }
            if stalled >= STALL_TIMEOUT {
                return;
            }
        }
    }
}

fn add_one(count: &AtomicU32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The guard of [`Progress::handle`].
pub(crate) struct HandlerGuard(Progress);

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        self.0.0.handles.store(false, Ordering::Relaxed);
    }
}

/// A request body that records whether its reader waits for data.
struct TrackedBody {
    body: Incoming,
    progress: Progress,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.0.awaits_body.store(frame.is_pending(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.progress.0.awaits_body.store(false, Ordering::Relaxed);
    }
}

/// An answer of unknown length that is being sent until this is dropped.
struct Stream {
    body: Body,
    progress: Progress,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.progress.0.streams.store(false, Ordering::Relaxed);
    }
}
