//! Starts a server and sends bytes to it.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::FutureExt;
use service::lean::{JsonBody, PlainRead, Reading, Reads};
use service::server::{Routes, Server, Started};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Duration of `/slow`.
pub(crate) const SLOW: Duration = Duration::from_millis(1_500);

/// The number of `/slow` handlers that have begun, and of those whose future was dropped.
#[derive(Clone, Default)]
pub(crate) struct Slow {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) gone: Arc<AtomicUsize>,
    /// Whether reads are served on the lean way.
    is_lean: bool,
}

struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Slow {
    /// One for the general way of reads, and one for the lean way.
    pub(crate) fn both() -> [Self; 2] {
        [false, true].map(|is_lean| Self { is_lean, ..Self::default() })
    }

    async fn wait(self) -> &'static str {
        let _gone = Gone(self.gone);
        self.begun.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(SLOW).await;
        "slow"
    }

    /// Starts a server on one worker.
    pub(crate) fn start(&self, refused: &Arc<AtomicUsize>) -> Started {
        let mut server = Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
        let count = Arc::clone(refused);
        server.on_refused(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let slow = self.clone();
        let started = server.start(move |_| {
            let wait = slow.clone();
            let router = Router::new()
                .route("/ok", get(|| async { "ok" }))
                .route("/slow", get(|| wait.wait()))
                .route("/large", get(|| async { vec![b'x'; 1 << 20] }))
                .route("/echo", post(|body: Bytes| async move { body }));
            let routes = Routes::from(router);
            if slow.is_lean { routes.with_reads("/", Arc::new(LeanSlow(slow.clone()))) } else { routes }
        });
        started.unwrap()
    }
}

/// Answers reads like the router.
struct LeanSlow(Slow);

impl Reads for LeanSlow {
    fn read(&self, request: &PlainRead<'_>) -> Reading {
        let json = |text: &[u8]| {
            // The value in the middle.
            let (around, value) = (vec![text[0]], text[1..].to_vec().into());
            Reading::Now(Ok(JsonBody { around, at: 1, value }))
        };
        match request.segment {
            "ok" => json(b"ok"),
            "slow" => {
                let body = |text: &str| JsonBody { around: text.into(), ..JsonBody::default() };
                Reading::Later(Box::pin(self.0.clone().wait().map(move |text| Ok(body(text)))))
            }
            "large" => json(&[b'x'; 1 << 20]),
            "headers" => json(format!("{} {:?}", request.uri(), request.headers()).as_bytes()),
            "panic" => panic!("a test"),
            other => Reading::Now(Err(Box::new((StatusCode::NOT_FOUND, other.to_owned()).into_response()))),
        }
    }
}

pub(crate) fn connect(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Reads until the server closes the connection.
pub(crate) fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Waits until `done` returns true.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    panic!("waited in vain");
}
