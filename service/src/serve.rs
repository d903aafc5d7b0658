//! Serves one connection, and answers its requests.
//!
//! On a shutdown before its first read hyper closes the connection, even if the socket buffer has a request. So a
//! connection is passed to hyper only once it is readable, and hyper is polled before the shutdown.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::ErrorKind;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::connection::{Order, Progress};
use crate::connections::IDLE_TIMEOUT;
use crate::host;
use crate::lean::{Dates, Lean, Left, Reads};
use crate::limits::SMALL_BYTES;
use crate::overload::{Overload, Reason};
use crate::problem::Problem;
use crate::reserve::Reserve;
use crate::stream::TrackedStream;

/// Called with method and target of a request that is refused before it reaches the router.
pub(crate) type OnRefused = Arc<dyn Fn(&Method, &Uri) + Send + Sync>;

/// Maximum size of a request head in bytes. Longer ones are answered with 431. A 512-byte key takes 1,536 bytes
/// encoded.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// How long a connection accepted during a drain may take to send its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a connection beyond the limit may take for its request head, while places beyond the limit are free.
const RESERVE_HEAD_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a connection beyond the limit may take in all.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The routes of one core.
pub struct Routes {
    router: Router,
    lean: Option<Lean>,
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { router, lean: None }
    }
}

impl Routes {
    /// Serves plain reads of paths below `prefix` on the [lean way](crate::lean).
    #[must_use]
    pub fn with_reads(self, prefix: &'static str, reads: Arc<dyn Reads>) -> Self {
        Self { lean: Some(Lean { prefix, reads }), ..self }
    }
}

/// The state shared by the connections of one runtime.
pub(crate) struct Serving {
    pub(crate) routes: Routes,
    pub(crate) dates: Arc<Dates>,
    pub(crate) on_refused: OnRefused,
    pub(crate) overload: Overload,
}

impl Serving {
    /// Serves a connection until it ends, or has an order to.
    pub(crate) async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        progress: &Progress,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let (mut first, mut late) = ([0], [0]);
        tokio::select! {
            biased;
            // The runtime calls an accepted stream readable before it knows.
            _ = stream.peek(&mut first) => {}
            order = progress.ordered(Order::Finish) => {
                let arrives = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut late));
                if order > Order::Finish || arrives.await.is_err() {
                    return Ok(());
                }
            }
        }
        let tcp = Arc::new(stream);
        // A client that resets its connection needs no answer. A client that closes it may have closed only its
        // sending side.
        let mut reset = std::pin::pin!(tcp.ready(Interest::ERROR));
        let mut read_ahead = Bytes::new();
        if let Some(lean) = &self.routes.lean {
            let left = tokio::select! {
                biased;
                left = lean.serve(&tcp, progress, &self.overload, &self.dates) => left?,
                _ = reset.as_mut() => return Ok(()),
                () = progress.must_close() => return Ok(()),
            };
            match left {
                Left::Ended => return Ok(()),
                Left::General(bytes) => read_ahead = bytes,
            }
        }
        let handled = progress.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let guard = handled.handle();
            let (serving, handled) = (Arc::clone(&self), handled.clone());
            begun(async move {
                let _guard = guard;
                let request = request.map(|body| handled.body(body));
                Ok::<_, Infallible>(serving.answer(request, &handled).await)
            })
        });
        let stream = TrackedStream::new(Arc::clone(&tcp), read_ahead, progress.clone());
        let served = builder(IDLE_TIMEOUT)
            // A client may close its sending side after its request (RFC 9112, section 9.6).
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            // hyper is polled first, so that it reads the received bytes before the shutdown.
            biased;
            ended = served.as_mut() => Ok(ended?),
            _ = reset.as_mut() => Ok(()),
            order = progress.ordered(Order::Finish) => {
                if order == Order::Close {
                    return Ok(());
                }
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = served.as_mut() => Ok(ended?),
                    _ = reset.as_mut() => Ok(()),
                    () = progress.must_close() => Ok(()),
                }
            }
        }
    }

    /// Answers the first request of a connection beyond the limit, if it is a control request. Refuses any other one.
    pub(crate) async fn beyond_limit(self: Arc<Self>, stream: TcpStream, reserve: &Reserve) {
        let progress = Progress::default();
        let handled = progress.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let guard = handled.handle();
            let (serving, handled) = (Arc::clone(&self), handled.clone());
            async move {
                let _guard = guard;
                let request = request.map(|body| handled.body(body));
                let mut response = if is_control(request.method(), request.uri()) {
                    serving.answer(request, &handled).await
                } else {
                    (serving.on_refused)(request.method(), request.uri());
                    serving.overload.count(Reason::Refused, 1);
                    let problem =
                        Problem::new(ErrorKind::Overloaded, "too many connections; try again later");
                    problem.retry_after(1).into_response()
                };
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                Ok::<_, Infallible>(response)
            }
        });
        let stream = TrackedStream::new(Arc::new(stream), Bytes::new(), progress.clone());
        let served =
            builder(RESERVE_HEAD_TIMEOUT).keep_alive(false).serve_connection(TokioIo::new(stream), service);
        let ends_in_time = async {
            tokio::select! {
                // The client that is too slow gets no answer.
                _ = served => {}
                () = reserve.needed_by_others(&progress) => {}
            }
        };
        let _ = tokio::time::timeout(RESERVE_TIMEOUT, ends_in_time).await;
    }

    async fn answer(&self, mut request: Request<Body>, progress: &Progress) -> Response {
        if let Err(problem) = host::check(request.version(), request.headers()) {
            (self.on_refused)(request.method(), request.uri());
            return problem.into_response();
        }
        // axum answers HEAD with the GET handler. Here HEAD is answered like TRACE, which no route supports.
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::TRACE;
        }
        let is_control = is_control(request.method(), request.uri());
        let answered = AssertUnwindSafe(self.routes.router.clone().oneshot(request)).catch_unwind().await;
        // The panic hook has logged it.
        let response = answered.unwrap_or_else(|_| Ok(Problem::internal().into_response()));
        let mut response = response.unwrap_or_else(|never| match never {});
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            remove_head(response.headers_mut());
        }
        match response.body().size_hint().exact() {
            Some(length) if length < SMALL_BYTES as u64 => response,
            Some(length) => self.counted(response, length, is_control).await,
            None => response.map(|body| progress.stream(body)),
        }
    }

    /// Counts an answer's bytes until the socket has taken the last one.
    async fn counted(&self, response: Response, length: u64, is_control: bool) -> Response {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(room) = self.overload.answer(length, is_control) else {
            return Problem::too_many_answers().into_response();
        };
        let (parts, body) = response.into_parts();
        match to_bytes(body, length).await {
            Ok(body) => Response::from_parts(parts, Body::from(room.hold(body))),
            Err(error) => Problem::new(ErrorKind::Internal, error.to_string()).into_response(),
        }
    }
}

/// Whether a request shows the state of the process. It is answered whatever the load is.
fn is_control(method: &Method, uri: &Uri) -> bool {
    *method == Method::GET && matches!(uri.path(), "/live" | "/ready" | "/metrics" | "/stats")
}

/// Removes HEAD from the allowed methods. axum adds it to every GET route.
fn remove_head(headers: &mut HeaderMap) {
    let Some(Ok(allowed)) = headers.get(header::ALLOW).map(HeaderValue::to_str) else { return };
    let allowed: Vec<&str> = allowed.split(',').filter(|method| *method != "HEAD").collect();
    if let Ok(allowed) = HeaderValue::from_str(&allowed.join(",")) {
        headers.insert(header::ALLOW, allowed);
    }
}

fn builder(head_timeout: Duration) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(HEAD_MAX_BYTES)
        .max_buf_size(2 * HEAD_MAX_BYTES);
    builder
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
