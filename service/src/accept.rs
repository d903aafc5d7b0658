//! One runtime's accept loop: serves HTTP/1.1 connections until told to drain, then empties its queue and lets them end.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use protocol::ErrorKind;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::problem::{Problem, method_not_allowed};

/// Longest request head, in bytes; longer ones are answered with 431. A 512-byte key takes 1,536 bytes encoded.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// How long a connection may be silent between requests or within a head. Longer than clients' pools keep idle
/// connections, so that the client is the one to close.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after an accept error such as "too many open files", which would otherwise repeat at once.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `drain` is cancelled and its queue is empty; gives the connections still open.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    drain: CancellationToken,
) -> GracefulShutdown {
    let open = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Never closed, so the permit is always had; the queue of the kernel holds who waits for it.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit.ok())
        };
        tokio::select! {
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => connection(stream, &router, &open, permit),
                Err(err) => {
                    tracing::warn!(%err, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                }
            },
            () = drain.cancelled() => break,
        }
    }
    // Closing a listener resets what is still in its queue; those clients are served first.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        connection(stream, &router, &open, None);
    }
    open
}

fn connection(
    stream: TcpStream,
    router: &Router,
    open: &GracefulShutdown,
    permit: Option<OwnedSemaphorePermit>,
) {
    // Fails only on a connection that is already gone.
    let _ = stream.set_nodelay(true);
    let router = router.clone();
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let served = open.watch(served);
    // The graceful shutdown tracks connections; Tasks tracks everything else.
    tokio::spawn(async move {
        let _permit = permit;
        if let Err(err) = served.await {
            tracing::debug!(%err, "connection ended early");
        }
    });
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    // axum answers HEAD with the GET handler; here HEAD is a method like any other that a path does not have.
    if request.method() == Method::HEAD {
        let (parts, _) = request.into_parts();
        return Ok(method_not_allowed(parts.method, parts.uri).await.into_response());
    }
    let answered = AssertUnwindSafe(router.oneshot(request.map(Body::new))).catch_unwind().await;
    Ok(answered
        .unwrap_or_else(|_| {
            // The panic hook has logged it.
            Ok(Problem::new(ErrorKind::Internal, "a fault of this server; its log says more").into_response())
        })
        .unwrap_or_else(|never| match never {}))
}
