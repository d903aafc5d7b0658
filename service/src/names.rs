//! Host names and their last addresses.
//!
//! Names are looked up in the background, so that nobody waits for a name server that does not answer. A name that cannot
//! be resolved keeps its last addresses. Only the first lookup of a name is waited for, and the one after a failed
//! connection: the addresses may be old then.

use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::Service;

/// After this time the addresses of a name in use are looked up again.
const RENEW: Duration = Duration::from_secs(2);

/// How long a caller waits for new addresses in place of doubtful ones.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a caller waits for the first addresses of a name.
const FIRST_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest number of lookups at a time. Each blocks a thread.
const CONCURRENT: usize = 16;

/// Resolves host names. Cheap to clone. There is one entry for each name ever asked for: names come from settings only.
#[derive(Clone, Debug)]
pub struct Names {
    hosts: Arc<Mutex<HashMap<String, Arc<Host>>>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Host {
    name: String,
    state: Mutex<State>,
    /// Incremented after each lookup.
    lookups: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    addresses: Vec<IpAddr>,
    /// Why the last lookup failed.
    failure: Option<String>,
    /// End of the last lookup.
    at: Option<Instant>,
    running: bool,
    /// A connection to an address failed since the last lookup.
    doubtful: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { hosts: Arc::default(), permits: Arc::new(Semaphore::new(CONCURRENT)) }
    }
}

impl Names {
    /// The addresses of a host, an address or a name. IPv6 addresses may be in brackets.
    ///
    /// # Errors
    /// Returns the reason if the name was never resolved.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, IoError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let host = self.host(host);
        let limit = {
            let state = host.state.lock();
            match (state.addresses.is_empty(), state.doubtful) {
                (true, _) => FIRST_TIMEOUT,
                (false, true) => DOUBT_TIMEOUT,
                (false, false) => Duration::ZERO,
            }
        };
        let mut ended = host.lookups.subscribe();
        self.renew(&host);
        if !limit.is_zero() {
            // Without an answer in time, what is known counts.
            let _ = timeout(limit, ended.changed()).await;
        }
        host.known(limit)
    }

    /// The same with a port.
    ///
    /// # Errors
    /// The same.
    pub async fn resolve_with_port(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, IoError> {
        let addresses = self.resolve(host).await?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Reports that no address of a host accepts connections. The next caller waits for new addresses.
    pub fn doubt(&self, host: &str) {
        let known = self.hosts.lock().get(host).cloned();
        if let Some(host) = known {
            host.state.lock().doubtful = true;
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        let host = Arc::new(Host {
            name: name.to_owned(),
            state: Mutex::default(),
            lookups: watch::Sender::default(),
        });
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    /// Begins a lookup in the background, if one is due and none is in progress.
    fn renew(&self, host: &Arc<Host>) {
        {
            let mut state = host.state.lock();
            let is_fresh = state.at.is_some_and(|at| at.elapsed() < RENEW);
            if state.running || (is_fresh && !state.doubtful && !state.addresses.is_empty()) {
                return;
            }
            state.running = true;
            state.doubtful = false;
        }
        let (host, permits) = (Arc::clone(host), Arc::clone(&self.permits));
        tokio::spawn(async move {
            let mut lookup = Lookup { host, found: Err("the lookup was interrupted".to_owned()) };
            if let Ok(_permit) = permits.acquire().await {
                let found = tokio::net::lookup_host((lookup.host.name.as_str(), 0)).await;
                lookup.found =
                    found.map(|found| found.map(|at| at.ip()).collect()).map_err(|err| err.to_string());
            }
        });
    }
}

/// Lets a client of hyper resolve by [`Names`].
#[derive(Clone, Debug)]
pub struct Resolver(pub Names);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = IoError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.0.clone();
        // The client sets the port.
        Box::pin(async move { Ok(names.resolve_with_port(name.as_str(), 0).await?.into_iter()) })
    }
}

/// A lookup in progress. It also ends if its runtime does.
struct Lookup {
    host: Arc<Host>,
    found: Result<Vec<IpAddr>, String>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut state = self.host.state.lock();
        state.running = false;
        state.at = Some(Instant::now());
        match &mut self.found {
            Ok(found) => {
                // Each address once, in the resolver's order.
                let mut addresses = Vec::with_capacity(found.len());
                for address in found.drain(..) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                state.addresses = addresses;
                state.failure = None;
            }
            Err(why) => {
                let is_new = state.failure.is_none();
                if is_new && !state.addresses.is_empty() {
                    let name = &self.host.name;
                    tracing::warn!(%name, error = %why, "the name cannot be resolved; its last addresses are used");
                }
                state.failure = Some(std::mem::take(why));
            }
        }
        drop(state);
        self.host.lookups.send_modify(|lookups| *lookups += 1);
    }
}

impl Host {
    fn known(&self, waited: Duration) -> Result<Vec<IpAddr>, IoError> {
        let state = self.state.lock();
        if !state.addresses.is_empty() {
            return Ok(state.addresses.clone());
        }
        let name = &self.name;
        Err(match &state.failure {
            Some(why) => IoError::new(ErrorKind::NotFound, format!("the name {name} has no address: {why}")),
            None => {
                let why = format!("the name {name} has no address: no answer within {} s", waited.as_secs());
                IoError::new(ErrorKind::TimedOut, why)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_keeps_its_last_addresses() {
        let names = Names::default();
        let failure = names.resolve("no-such-host.invalid").await.unwrap_err().to_string();
        assert!(failure.starts_with("the name no-such-host.invalid has no address: "), "{failure}");
        let last = vec![IpAddr::from([10, 0, 0, 7])];
        let host = names.host("no-such-host.invalid");
        for doubtful in [false, true] {
            {
                let mut state = host.state.lock();
                state.addresses.clone_from(&last);
                state.doubtful = doubtful;
                state.at = None;
            }
            let mut ended = host.lookups.subscribe();
            assert_eq!(names.resolve("no-such-host.invalid").await.unwrap(), last);
            while host.state.lock().running {
                ended.changed().await.unwrap();
            }
            assert!(host.state.lock().failure.is_some(), "it was looked up");
            assert_eq!(
                names.resolve_with_port("no-such-host.invalid", 9).await.unwrap(),
                [SocketAddr::new(last[0], 9)]
            );
        }
    }

    #[tokio::test]
    async fn after_a_failed_connection_the_next_caller_gets_new_addresses() {
        let names = Names::default();
        let local = names.resolve("localhost").await.unwrap();
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback), "{local:?}");
        let old = vec![IpAddr::from([10, 0, 0, 7])];
        names.host("localhost").state.lock().addresses.clone_from(&old);
        assert_eq!(names.resolve("localhost").await.unwrap(), old, "looked up less than {RENEW:?} ago");
        names.doubt("localhost");
        assert_eq!(names.resolve("localhost").await.unwrap(), local);
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let names = Names::default();
        assert_eq!(names.resolve("[::1]").await.unwrap(), [IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        assert!(names.hosts.lock().is_empty());
    }
}
