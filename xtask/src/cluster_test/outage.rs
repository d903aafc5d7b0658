//! Reads a key of each shard again and again, and measures how long it fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use lab::http::Client;
use lab::signals;
use protocol::ShardId;

use super::namespace::within;

/// Time between two reads of a key.
const STEP: Duration = Duration::from_millis(40);

/// A time in which a key failed: from the first failed request's start to the next success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// One thread for each shard that reads a key of it.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Read>>>,
}

/// What became of one shard's key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) outages: Vec<Outage>,
}

impl Watch {
    /// Starts to read `urls` in the network namespace of `file`.
    pub(crate) fn start(file: &Path, urls: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = urls.into_iter().map(|url| {
            let (file, stop) = (file.to_owned(), Arc::clone(&stop));
            thread::spawn(move || within(&file, || Ok(read(&url, &stop))))
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    /// Stops, and returns the outages of each key, in the order given.
    ///
    /// # Errors
    /// When the namespace could not be entered.
    pub(crate) fn stop(mut self) -> Result<Vec<Read>> {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads)
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a reader panicked"))?)
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read(url: &str, stop: &AtomicBool) -> Read {
    let (client, mut result, mut failing) = (Client::default(), Read::default(), None);
    while !stop.load(Ordering::Relaxed) && signals::received() == 0 {
        let started = Instant::now();
        result.requests += 1;
        if client.is_ok(url) {
            if let Some(start) = failing.take() {
                result.outages.push(Outage { start, end: Instant::now() });
            }
        } else {
            result.failed += 1;
            failing.get_or_insert(started);
        }
        signals::pause(STEP.saturating_sub(started.elapsed()));
    }
    if let Some(start) = failing {
        result.outages.push(Outage { start, end: Instant::now() });
    }
    result
}

/// A key of each shard, in order of id, by the mapping `home`.
///
/// # Errors
/// When a shard has none of the first keys, and the errors of `home`.
pub(crate) fn keys(shards: usize, mut home: impl FnMut(&str) -> Result<ShardId>) -> Result<Vec<String>> {
    let mut found = vec![None; shards];
    for number in 0..100 {
        let key = format!("user-{number}");
        let home = home(&key)?.index();
        if let Some(free @ None) = found.get_mut(home) {
            *free = Some(key);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().map(|key| key.context("a shard has none of the first keys")).collect()
}

/// The largest number of keys that fail at the same moment.
pub(crate) fn at_once(keys: &[Read]) -> usize {
    let away = |outages: &[Outage], moment: Instant| {
        outages.iter().any(|outage| outage.start <= moment && moment < outage.end)
    };
    let starts = keys.iter().flat_map(|key| key.outages.iter().map(|outage| outage.start));
    starts.map(|start| keys.iter().filter(|key| away(&key.outages, start)).count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Outage, Read, at_once};
    use std::time::{Duration, Instant};

    #[test]
    fn outages_that_overlap_are_away_at_once() {
        let zero = Instant::now();
        let read = |times: &[(u64, u64)]| Read {
            outages: times
                .iter()
                .map(|(start, end)| Outage {
                    start: zero + Duration::from_secs(*start),
                    end: zero + Duration::from_secs(*end),
                })
                .collect(),
            ..Read::default()
        };
        assert_eq!(at_once(&[read(&[]), read(&[])]), 0);
        assert_eq!(at_once(&[read(&[(0, 2)]), read(&[(2, 4), (8, 9)])]), 1);
        assert_eq!(at_once(&[read(&[(0, 3)]), read(&[(2, 4)]), read(&[(6, 7)])]), 2);
    }
}
