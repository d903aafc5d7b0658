//! Runs an HTTP server on one single-threaded runtime a core.
//!
//! A request never changes cores.

use axum::http::{Method, Uri};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::accept::{self, Shared, Spares};
use crate::connections::{Connections, LOOK_PERIOD};
use crate::health::Health;
use crate::lean::Dates;
use crate::limits::{self, Needs};
use crate::listen::{self, BindError};
use crate::overload::{LOG_PERIOD, Overload};
use crate::reserve::Reserve;
pub use crate::serve::Routes;
use crate::serve::{OnRefused, Serving};
use crate::tasks::Tasks;

/// A bound server that does not accept yet.
pub struct Server {
    listeners: Vec<std::net::TcpListener>,
    addr: SocketAddr,
    health: Health,
    tasks: Tasks,
    flush: Option<Flush>,
    on_refused: OnRefused,
    overload: Overload,
    needs: Needs,
}

/// The last step of a drain. It gets the remaining time.
type Flush = Box<dyn FnOnce(Duration) + Send>;

/// The argument of the function that builds a runtime's routes. That function runs inside the runtime.
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
            overload: Overload::default(),
            needs: Needs::default(),
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

    /// Counts what is shed, and reads request bodies.
    #[must_use]
    pub fn overload(&self) -> Overload {
        self.overload.clone()
    }

    /// Sets what the process needs beside its clients' connections. The rest determines how many of them may be open.
    pub fn needs(&mut self, needs: Needs) {
        self.needs = needs;
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
    pub fn start<R, T>(self, routes: R) -> std::io::Result<Started>
    where
        R: Fn(&Worker) -> T + Send + Sync + 'static,
        T: Into<Routes>,
    {
        let routes = Arc::new(routes);
        let workers = NonZeroUsize::new(self.listeners.len()).unwrap_or(NonZeroUsize::MIN);
        let limit = self.needs.connections(limits::open_files(), workers);
        if let Some(memory_limit) = self.needs.memory_limit
            && self.needs.most_bytes(limit) > memory_limit
        {
            let needed = self.needs.most_bytes(limit);
            tracing::warn!(memory_limit, needed, "the limits of the settings do not fit the memory limit");
        }
        let connections = Connections::new(limit, self.overload.clone());
        let drain = CancellationToken::new();
        let spares = Spares::default();
        spares.fill();
        let shared = Shared { connections, reserve: Reserve::default(), spares, drain: drain.clone() };
        let dates = Arc::new(Dates::new());
        let (events, received) = mpsc::channel();
        let mut threads = Vec::new();
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let worker = Worker { index, tasks: self.tasks.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (routes, shared, events) = (Arc::clone(&routes), shared.clone(), events.clone());
            let (on_refused, overload) = (Arc::clone(&self.on_refused), self.overload.clone());
            let dates = Arc::clone(&dates);
            let life = async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(err) => return tracing::error!(%err, "a listener could not be taken over"),
                };
                if index == 0 {
                    let (connections, counts) = (Arc::clone(&shared.connections), overload.clone());
                    let dates = Arc::clone(&dates);
                    worker.tasks.every("slow clients", LOOK_PERIOD, move || {
                        connections.look(Instant::now());
                        dates.renew();
                    });
                    worker.tasks.every("overload log", LOG_PERIOD, move || counts.log());
                }
                let serving = Serving { routes: routes(&worker).into(), dates, on_refused, overload };
                let _ = events.send(Event::Up);
                accept::serve(listener, Arc::new(serving), shared).await;
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

    /// Returns a token that is cancelled when a task has made the process fail.
    pub(crate) fn failed(&self) -> CancellationToken {
        self.tasks.failed()
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
