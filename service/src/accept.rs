//! Accepts and serves HTTP/1.1 connections on one runtime, until the drain.
//!
//! On a shutdown before its first read hyper closes the connection, even if the socket buffer has a request. So a
//! connection is passed to hyper only once it is readable, and hyper is polled before the shutdown.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::ErrorKind;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::connection::{Progress, TrackedStream};
use crate::host;
use crate::problem::{Problem, method_not_allowed};

/// Called with method and target of a request that is refused before it reaches the router.
pub(crate) type OnRefused = Arc<dyn Fn(&Method, &Uri) + Send + Sync>;

/// Maximum size of a request head in bytes. Longer ones are answered with 431. A 512-byte key takes 1,536 bytes
/// encoded.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// How long a connection may be silent between requests or within a head. It exceeds the idle time of usual client
/// pools, so that the client closes the connection first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after an accept error such as "too many open files". Without it the error would repeat at once.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection accepted during a drain may take to send its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(250);

/// Serves `listener` until `drain` is cancelled, its queue is empty, and every connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    on_refused: OnRefused,
    connections: Arc<Semaphore>,
    drain: CancellationToken,
) {
    let open = Arc::new(Open { router, on_refused, drain: drain.clone() });
    let tasks = TaskTracker::new();
    let connection = |stream: TcpStream, permit: Option<OwnedSemaphorePermit>| {
        // Fails only on a closed connection.
        let _ = stream.set_nodelay(true);
        let open = Arc::clone(&open);
        drop(tasks.spawn(async move {
            let _permit = permit;
            if let Err(err) = open.connection(stream).await {
                tracing::debug!(%err, "connection ended early");
            }
        }));
    };
    loop {
        let accepted = async {
            // The semaphore is never closed, so the permit is always acquired. Meanwhile connections wait in the
            // listen backlog.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit.ok())
        };
        tokio::select! {
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => connection(stream, permit),
                Err(err) => {
                    tracing::warn!(%err, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                }
            },
            () = drain.cancelled() => break,
        }
    }
    // Closing a listener resets the connections in its backlog, so they are served first. `accept` is called on the
    // socket directly, because the runtime's readiness state may be outdated.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                connection(stream, None);
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// The state shared by the connections of one runtime.
struct Open {
    router: Router,
    on_refused: OnRefused,
    drain: CancellationToken,
}

impl Open {
    async fn connection(&self, stream: TcpStream) -> Result<(), hyper::Error> {
        tokio::select! {
            biased;
            _ = stream.readable() => {}
            () = self.drain.cancelled() => {
                if tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.readable()).await.is_err() {
                    return Ok(());
                }
            }
        }
        let router = self.router.clone();
        let (progress, on_refused) = (Progress::default(), Arc::clone(&self.on_refused));
        let handled = progress.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let guard = handled.handle();
            let answer =
                answer(router.clone(), request.map(|body| handled.body(body)), Arc::clone(&on_refused));
            begun(async move {
                let _guard = guard;
                answer.await
            })
        });
        let tcp = Arc::new(stream);
        let stream = TrackedStream::new(Arc::clone(&tcp), progress.clone());
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            // A client may close its sending side after its request (RFC 9112, section 9.6).
            .half_close(true)
            .max_header_size(HEAD_MAX_BYTES)
            .max_buf_size(2 * HEAD_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        // A client that resets its connection needs no answer. A client that closes it may have closed only its
        // sending side.
        let mut reset = std::pin::pin!(tcp.ready(Interest::ERROR));
        tokio::select! {
            // hyper is polled first, so that it reads the received bytes before the shutdown.
            biased;
            ended = served.as_mut() => ended,
            _ = reset.as_mut() => Ok(()),
            () = self.drain.cancelled() => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = served.as_mut() => ended,
                    _ = reset.as_mut() => Ok(()),
                    () = progress.stalled() => Ok(()),
                }
            }
        }
    }
}

/// Polls a request's handler once immediately. hyper drops a handler unpolled when its client has closed the
/// connection by then. The kernel would count such a request and the application would not.
fn begun<F: Future>(handler: F) -> impl Future<Output = F::Output> {
    let mut handler = Box::pin(handler);
    match (&mut handler).now_or_never() {
        Some(answer) => Either::Left(std::future::ready(answer)),
        None => Either::Right(handler),
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
    on_refused: OnRefused,
) -> Result<Response, Infallible> {
    if let Err(problem) = host::check(request.version(), request.headers()) {
        on_refused(request.method(), request.uri());
        return Ok(problem.into_response());
    }
    // axum answers HEAD with the GET handler. Here HEAD is answered with 405 like any other unsupported method.
    if request.method() == Method::HEAD {
        let (parts, _) = request.into_parts();
        return Ok(method_not_allowed(parts.method, parts.uri).await.into_response());
    }
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    Ok(answered
        .unwrap_or_else(|_| {
            // The panic hook has logged it.
            Ok(Problem::new(ErrorKind::Internal, "internal server error; see the server's log")
                .into_response())
        })
        .unwrap_or_else(|never| match never {}))
}
