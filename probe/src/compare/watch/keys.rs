//! Reads and counts the kernel's keys; compares them with the application's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use probe_common::requests::Requests;
use protocol::probe_api::HotKeyOverlap;

use crate::compare::hot_keys::{AppKeys, HotKeysLedger};
use crate::probe::Probe;
use crate::signal::key_table::KeyTable;
use crate::signal::key_window::KeyReading;

/// The keys of both witnesses, read one right after the other.
#[derive(Default)]
pub(super) struct KeyReadout {
    pub(super) kernel: KernelKeys,
    /// `None` when the application could not be read.
    pub(super) app: Option<AppKeys>,
}

/// The kernel's keys.
#[derive(Default)]
pub(super) enum KernelKeys {
    #[default]
    Unreadable,
    /// The last reading is too recent.
    NotDue,
    Read {
        /// Time since the loop's start.
        at: Duration,
        table: Arc<KeyTable>,
        /// Read after the table, so that it has no fewer reads than the table.
        requests: Box<Requests>,
    },
}

impl KernelKeys {
    /// Reads one shard's keys at `at`, or when the thread that reads tables is free.
    pub(super) async fn read(probe: &Arc<Probe>, shard: u32, at: Duration) -> Self {
        let since = Instant::now();
        let read = probe.read_tables(move |probe| (since.elapsed(), probe.keys(shard, since))).await;
        let read = read.ok().and_then(|(waited, read)| Some((at + waited, probe.readable(shard, read)?)));
        let both = read.and_then(|(at, table)| Some((at, table, probe.counters(shard)?)));
        both.map_or(Self::Unreadable, |(at, table, counters)| {
            let requests = Box::new(counters.requests);
            Self::Read { at, table, requests }
        })
    }
}

/// Counts each shard's keys, and compares them with the application's keys.
pub(super) fn compare(
    probe: &Probe,
    ledgers: &mut [HotKeysLedger],
    readouts: Vec<Option<KeyReadout>>,
    now: Duration,
) -> Vec<HotKeyOverlap> {
    let shards = (0..).zip(ledgers).zip(readouts);
    let compared = shards.map(|((shard, ledger), readout)| {
        let compared = one(probe, shard, ledger, readout.unwrap_or_default(), now);
        probe.metrics.overlapped(shard, compared.overlap_ratio);
        compared
    });
    let compared = compared.collect();
    probe.metrics.keys.decide(now);
    compared
}

fn one(
    probe: &Probe,
    shard: u32,
    ledger: &mut HotKeysLedger,
    readout: KeyReadout,
    now: Duration,
) -> HotKeyOverlap {
    match (readout.kernel, readout.app) {
        (KernelKeys::NotDue, Some(_)) => return ledger.shown().clone(),
        (KernelKeys::NotDue, None) => {}
        (KernelKeys::Unreadable, _) => ledger.interrupted(now),
        (KernelKeys::Read { at, table, requests }, app) => {
            probe.metrics.keys.counted(shard, at, &table, requests.get);
            if let Some(app) = app {
                let kernel = KeyReading { total: requests.data(), keys: table };
                return ledger.observe(at, kernel, app).clone();
            }
            ledger.interrupted(at);
        }
    }
    HotKeyOverlap::default()
}
