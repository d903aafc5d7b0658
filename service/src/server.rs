//! Runs an HTTP server on one single-threaded runtime a core.
//!
//! A request never changes cores.

use axum::Router;
use axum::http::{Method, Uri};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accept::{self, OnRefused};
use crate::health::Health;
use crate::listen::{self, BindError};
use crate::tasks::Tasks;

/// Maximum number of open connections. Further ones wait in the listen backlog.
const MAX_CONNECTIONS: usize = 16_384;

/// A bound server that does not accept yet.
pub struct Server {
    listeners: Vec<std::net::TcpListener>,
    addr: SocketAddr,
    health: Health,
    tasks: Tasks,
    flush: Option<Flush>,
    on_refused: OnRefused,
}

/// The last step of a drain. It gets the remaining time.
type Flush = Box<dyn FnOnce(Duration) + Send>;

/// The argument of the function that builds a runtime's router. That function runs inside the runtime.
pub struct Worker {
    /// 0 … workers − 1. Background tasks belong on worker 0.
    pub index: usize,
    /// Spawns and tracks tasks.
    pub tasks: Tasks,
}

impl Server {
    /// Binds the port, one listener a worker.
    ///
    /// # Errors
    /// Returns an error when the address is in use or not allowed.
    pub fn bind(addr: SocketAddr, workers: NonZeroUsize) -> Result<Self, BindError> {
        let listeners = listen::listeners(addr, workers)?;
        let addr = listeners.first().and_then(|l| l.local_addr().ok()).unwrap_or(addr);
        Ok(Self {
            listeners,
            addr,
            health: Health::default(),
            tasks: Tasks::default(),
            flush: None,
            on_refused: Arc::new(|_, _| {}),
        })
    }

    /// The listening address. Its port is the real one if port 0 was requested.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The state behind `/ready`.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The tasks of the process.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Sets the last step of a drain. It runs when all tasks have ended and gets the rest of the grace period.
    pub fn flush_last(&mut self, flush: impl FnOnce(Duration) + Send + 'static) {
        self.flush = Some(Box::new(flush));
    }

    /// Sets a function that is called with method and target of every request refused before it reaches the router.
    pub fn on_refused(&mut self, count: impl Fn(&Method, &Uri) + Send + Sync + 'static) {
        self.on_refused = Arc::new(count);
    }

    /// Starts one thread and runtime a worker. Returns once all of them accept connections.
    ///
    /// # Errors
    /// Returns an error when a thread or runtime cannot be created.
    pub fn start<R>(self, router: R) -> std::io::Result<Started>
    where
        R: Fn(&Worker) -> Router + Send + Sync + 'static,
    {
        let router = Arc::new(router);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let drain = CancellationToken::new();
        let (events, received) = mpsc::channel();
        let mut threads = Vec::new();
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let worker = Worker { index, tasks: self.tasks.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (router, connections) = (Arc::clone(&router), Arc::clone(&connections));
            let (drain, events) = (drain.clone(), events.clone());
            let on_refused = Arc::clone(&self.on_refused);
            let life = async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(err) => return tracing::error!(%err, "a listener could not be taken over"),
                };
                let app = router(&worker);
                let _ = events.send(Event::Up);
                accept::serve(listener, app, on_refused, connections, drain).await;
                let _ = events.send(Event::ConnectionsDone);
                // The runtime must outlive every task that may run on it.
                worker.tasks.stopping().cancelled().await;
                worker.tasks.wait().await;
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                runtime.block_on(life);
                runtime.shutdown_background();
            })?;
            threads.push(thread);
        }
        let Self { addr, health, tasks, flush, .. } = self;
        let started = Started { addr, health, tasks, drain, received, threads, flush };
        started.await_events(Event::Up, None);
        started.health.set_ready();
        Ok(started)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Up,
    ConnectionsDone,
}

/// A running server. It keeps running when this is dropped without [`Started::stop`], until the process ends.
pub struct Started {
    addr: SocketAddr,
    health: Health,
    tasks: Tasks,
    drain: CancellationToken,
    received: mpsc::Receiver<Event>,
    threads: Vec<JoinHandle<()>>,
    flush: Option<Flush>,
}

impl Started {
    /// The listening address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops the server and returns the names of what did not end. Blocks for at most `grace`. The steps are:
    ///
    /// 1. `/ready` answers 503.
    /// 2. Accept connections until the listen backlog is empty, then close the listeners.
    /// 3. Wait for the requests in flight.
    /// 4. Stop the background tasks and wait for them.
    /// 5. Run the step set by [`Server::flush_last`].
    #[must_use]
    pub fn stop(mut self, grace: Duration) -> Vec<String> {
        let deadline = Instant::now() + grace;
        self.health.set_draining();
        self.drain.cancel();
        let mut left = Vec::new();
        let open = self.await_events(Event::ConnectionsDone, Some(deadline));
        if open > 0 {
            left.push(format!("connections of {open} workers"));
        }
        self.tasks.stop();
        while Instant::now() < deadline && !self.threads.iter().all(JoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        left.extend(self.tasks.left());
        if let Some(flush) = self.flush.take() {
            flush(deadline.saturating_duration_since(Instant::now()));
        }
        left
    }

    /// Waits for `wanted` from every worker. Returns the number of workers that did not send it before the deadline
    /// or their end.
    fn await_events(&self, wanted: Event, deadline: Option<Instant>) -> usize {
        let mut missing = self.threads.len();
        while missing > 0 {
            let event = match deadline {
                Some(at) => self.received.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
                None => self.received.recv().ok(),
            };
            match event {
                Some(event) if event == wanted => missing -= 1,
                Some(_) => {}
                None => return missing,
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use tokio::sync::Notify;

    fn start(workers: usize, router: impl Fn(&Worker) -> Router + Send + Sync + 'static) -> Started {
        let addr = "127.0.0.1:0".parse().unwrap();
        Server::bind(addr, NonZeroUsize::new(workers).unwrap()).unwrap().start(router).unwrap()
    }

    fn ask(addr: SocketAddr, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        stream
    }

    fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_request_in_flight_ends_and_nothing_is_left() {
        let (release, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (r, a) = (Arc::clone(&release), Arc::clone(&arrived));
        let started = start(2, move |_| {
            let (r, a) = (Arc::clone(&r), Arc::clone(&a));
            Router::new().route(
                "/slow",
                get(move || async move {
                    a.notify_one();
                    r.notified().await;
                    "done"
                }),
            )
        });
        let addr = started.local_addr();
        let pending = ask(addr, "GET /slow HTTP/1.1");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(arrived.notified());
        let stopping = std::thread::spawn(move || started.stop(Duration::from_secs(10)));
        // The port closes while the request is still held.
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(addr).is_ok() {
            assert!(Instant::now() < deadline, "the listener stays open");
        }
        release.notify_one();
        assert!(answer(pending).ends_with("done"));
        assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn whoever_waits_in_the_queue_when_the_drain_begins_is_served() {
        let (release, gate) = mpsc::channel::<()>();
        let (entered, arrived) = mpsc::channel();
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let started = start(1, move |_| {
            let (gate, entered) = (Arc::clone(&gate), entered.clone());
            // Blocks the only worker, so that no connection is accepted until the test releases it.
            let block = move || async move {
                let _ = entered.send(());
                let _ = gate.lock().recv();
                "done"
            };
            Router::new().route("/block", get(block)).route("/queued", get(|| async { "done" }))
        });
        let addr = started.local_addr();
        let mut waiting = vec![ask(addr, "GET /block HTTP/1.1")];
        arrived.recv().unwrap();
        waiting.extend((0..400).map(|_| ask(addr, "GET /queued HTTP/1.1")));
        let drain = started.drain.clone();
        let stopping = std::thread::spawn(move || started.stop(Duration::from_secs(20)));
        while !drain.is_cancelled() {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        for stream in waiting {
            assert!(answer(stream).ends_with("done"));
        }
        assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_request_whose_client_leaves_at_once_still_reaches_its_handler() {
        let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let started = start(1, move |_| {
            let count = Arc::clone(&count);
            let handler = move || async move {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                "counted"
            };
            Router::new().route("/", get(handler))
        });
        for _ in 0..500 {
            drop(ask(started.local_addr(), "GET / HTTP/1.1"));
        }
        assert!(started.stop(Duration::from_secs(10)).is_empty());
        assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 500);
    }

    #[test]
    fn what_outlives_the_grace_is_named() {
        let started = start(1, |worker| {
            drop(worker.tasks.spawn("stuck", std::future::pending::<()>()));
            Router::new()
        });
        assert_eq!(started.stop(Duration::from_secs(2)), ["stuck (1)"]);
    }

    #[test]
    fn a_panic_is_a_500_without_its_text_and_the_next_request_is_served() {
        async fn panics() -> () {
            panic!("secret");
        }
        let started =
            start(1, |_| Router::new().route("/", get(panics)).route("/ok", get(|| async { "ok" })));
        let failed = answer(ask(started.local_addr(), "GET / HTTP/1.1"));
        assert!(failed.starts_with("HTTP/1.1 500") && !failed.contains("secret"), "{failed}");
        assert!(failed.contains("\"kind\":\"internal\""), "{failed}");
        assert!(answer(ask(started.local_addr(), "GET /ok HTTP/1.1")).ends_with("ok"));
        assert!(started.stop(Duration::from_secs(5)).is_empty());
    }

    #[test]
    fn a_head_over_32_kib_is_431_a_malformed_one_400_and_one_of_a_long_key_is_served() {
        let started = start(1, |_| Router::new().route("/{key}", get(|| async { "ok" })));
        let key = "%41".repeat(512);
        assert!(answer(ask(started.local_addr(), &format!("GET /{key} HTTP/1.1"))).ends_with("ok"));
        let head = format!("GET /k HTTP/1.1\r\nX: {}", "x".repeat(33 * 1024));
        let refused = answer(ask(started.local_addr(), &head));
        assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
        let malformed = answer(ask(started.local_addr(), "GET /<> HTTP/1.1"));
        assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
        assert!(started.stop(Duration::from_secs(5)).is_empty());
    }

    #[test]
    fn head_and_the_http2_preface_are_refused() {
        let started = start(1, |_| Router::new().route("/ok", get(|| async { "ok" })));
        let head = answer(ask(started.local_addr(), "HEAD /ok HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 405"), "{head}");
        let preface = answer(ask(started.local_addr(), "PRI * HTTP/2.0\r\n\r\nSM"));
        assert!(preface.starts_with("HTTP/1.1 400"), "{preface}");
        assert!(started.stop(Duration::from_secs(5)).is_empty());
    }
}
