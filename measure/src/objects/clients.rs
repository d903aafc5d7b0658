//! Clients that read keys at the same time. Each has one connection, with one request in flight.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow};

use crate::accuracy::client::{Client, get};

/// The keys that each client reads, one after another.
pub(super) type Scripts = Vec<Vec<u32>>;

/// Returns scripts with every key once.
pub(super) fn every_key(keys: u32, clients: u32) -> Scripts {
    (0..clients).map(|first| (first..keys).step_by(clients as usize).collect()).collect()
}

/// Returns scripts of so many requests together, for uniformly drawn keys.
pub(super) fn uniform(keys: u32, requests: u32, clients: u32, seed: u64) -> Scripts {
    let mut random = fastrand::Rng::with_seed(seed);
    let shares = every_key(requests, clients).into_iter().map(|share| share.len());
    shares.map(|share| (0..share).map(|_| random.u32(..keys)).collect()).collect()
}

/// Connected clients.
pub(super) struct Clients {
    clients: Vec<Client>,
    /// The request for each key.
    requests: Vec<Vec<u8>>,
}

impl Clients {
    /// Connects so many clients for the keys 0 … `keys` − 1.
    ///
    /// # Errors
    /// When the server does not accept.
    pub(super) fn connect(server: SocketAddr, clients: u32, keys: u32) -> Result<Self> {
        let clients = (0..clients).map(|_| Client::connect(server)).collect::<Result<_>>()?;
        Ok(Self { clients, requests: (0..keys).map(|key| get(&format!("item-{key}"))).collect() })
    }

    /// Sends the requests of all scripts and waits for their answers.
    ///
    /// # Errors
    /// When an answer does not arrive.
    pub(super) fn read(&mut self, scripts: &Scripts) -> Result<()> {
        let requests = &self.requests;
        std::thread::scope(|scope| {
            let threads = self.clients.iter_mut().zip(scripts).map(|(client, script)| {
                scope.spawn(move || {
                    let mut requests = script.iter().filter_map(|key| requests.get(*key as usize));
                    requests.try_for_each(|request| client.exchange(request))
                })
            });
            // All threads start before the first is waited for.
            for thread in threads.collect::<Vec<_>>() {
                thread.join().map_err(|_| anyhow!("a client panicked"))?.context("a request failed")?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{every_key, uniform};

    #[test]
    fn clients_share_all_requests_of_all_keys() {
        assert_eq!(every_key(5, 2), [vec![0, 2, 4], vec![1, 3]]);
        let scripts = uniform(3, 101, 2, 7);
        assert_eq!(scripts.iter().map(Vec::len).collect::<Vec<_>>(), [51, 50]);
        assert!((0..3).all(|key| scripts.iter().all(|script| script.contains(&key))), "{scripts:?}");
        assert!(scripts == uniform(3, 101, 2, 7) && scripts != uniform(3, 101, 2, 8));
    }
}
