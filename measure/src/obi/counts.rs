//! Compares the counts of both watchers, which watch the same requests at the same time.

use anyhow::{Context as _, Result};
use lab::signals;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Options;
use super::results::{Count, Results};
use super::traffic::{Traffic, older_connections};
use super::watcher::{Watcher, Watching};
use crate::testbed::Testbed;

/// A count that has not changed for so long is complete. OBI passes its events on once a second.
const REST: Duration = Duration::from_secs(8);

/// The longest wait for a complete count.
const LIMIT: Duration = Duration::from_secs(90);

const STEP: Duration = Duration::from_millis(500);

/// Both watchers, each if it runs.
struct Pair {
    probe: Option<Watching>,
    obi: Option<Watching>,
}

/// The counts of one shard at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted {
    shard: u64,
    probe: Option<u64>,
    obi: Option<u64>,
}

/// Sends each kind of traffic and adds its counts to the results.
pub(super) fn measure(
    testbed: &mut Testbed,
    options: &Options,
    results: &mut Results,
    progress: &impl Fn(&str),
) -> Result<()> {
    progress("counts: starting both watchers");
    let addresses =
        testbed.lab.shards.iter().map(lab::process::Process::address).collect::<Result<Vec<_>>>()?;
    let places = Traffic::COUNTED.into_iter().zip(addresses.iter().copied().cycle());
    let mut older = Vec::new();
    for (traffic, shard) in places.clone() {
        if traffic == Traffic::OldConnections {
            older = older_connections(shard)?;
        }
    }
    let pair = Pair {
        probe: start(Watcher::Probe, testbed, &options.obi, results),
        obi: start(Watcher::Obi, testbed, &options.obi, results),
    };
    for (traffic, shard) in places {
        let older = if traffic == Traffic::OldConnections { std::mem::take(&mut older) } else { Vec::new() };
        let counted = pair.settled(testbed, shard, None).and_then(|before| {
            let sent = traffic.send(shard, options.requests, older)?;
            let after = pair.settled(testbed, shard, Some((before, sent)))?;
            let more = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
            Ok(Count {
                traffic: traffic.name(),
                sent,
                shard: after.shard - before.shard,
                probe: more(after.probe, before.probe),
                obi: more(after.obi, before.obi),
            })
        });
        match counted {
            Ok(count) => {
                progress(&format!(
                    "counts, {}: sent {}, shard {}, probe {:?}, OBI {:?}",
                    count.traffic, count.sent, count.shard, count.probe, count.obi
                ));
                results.counts.push(count);
            }
            Err(error) => results.fail(format!("counts, {}: {error:#}", traffic.name()))?,
        }
    }
    for watching in [pair.probe, pair.obi].into_iter().flatten() {
        if let Err(error) = watching.end() {
            results.fail(format!("counts: {error:#}"))?;
        }
    }
    Ok(())
}

fn start(watcher: Watcher, testbed: &mut Testbed, obi: &Path, results: &mut Results) -> Option<Watching> {
    watcher.start(testbed, obi).unwrap_or_else(|error| {
        results.failures.push(format!("counts, {}: {error:#}", watcher.name()));
        None
    })
}

impl Pair {
    fn read(&self, testbed: &Testbed, shard: SocketAddr) -> Result<Counted> {
        let of = |watching: &Option<Watching>| {
            watching.as_ref().map(|watching| watching.counted(&testbed.client, shard)).transpose()
        };
        let stats: Value = testbed.client.get(&format!("http://{shard}/stats"))?;
        let received =
            stats["requests_received"].as_u64().context("the shard does not report its requests")?;
        Ok(Counted { shard: received, probe: of(&self.probe)?, obi: of(&self.obi)? })
    }

    /// Returns the counts once all watchers have what was sent since a moment, or once they no longer change.
    fn settled(&self, testbed: &Testbed, shard: SocketAddr, sent: Option<(Counted, u64)>) -> Result<Counted> {
        let mut last = self.read(testbed, shard)?;
        let (deadline, mut changed) = (Instant::now() + LIMIT, Instant::now());
        loop {
            let is_whole = sent.is_some_and(|(before, sent)| {
                let all = |now: Option<u64>, then: Option<u64>| now == then.map(|then| then + sent);
                all(last.probe, before.probe) && all(last.obi, before.obi)
            });
            if is_whole || changed.elapsed() >= REST || Instant::now() >= deadline {
                return Ok(last);
            }
            signals::check()?;
            signals::pause(STEP);
            let now = self.read(testbed, shard)?;
            if now != last {
                (last, changed) = (now, Instant::now());
            }
        }
    }
}
