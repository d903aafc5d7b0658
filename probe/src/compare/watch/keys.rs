//! The loop's look at the keys: the kernel's table is read where nobody waits for it, counted, and compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::probe_api::HotKeyOverlap;

use crate::compare::hot_keys::{AppKeys, HotKeysLedger};
use crate::probe::Probe;
use crate::signal::key_table::KeyTable;
use crate::signal::key_window::KeyReading;
use crate::source::Counters;

/// Both witnesses' keys, read one right after the other.
#[derive(Default)]
pub(super) struct KeyLook {
    pub(super) kernel: KernelKeys,
    /// `None` where the application could not be read.
    pub(super) app: Option<AppKeys>,
}

/// The kernel's keys.
#[derive(Default)]
pub(super) enum KernelKeys {
    #[default]
    Unreadable,
    /// They were read a moment ago.
    NotDue,
    Read {
        /// Since the loop's start.
        at: Duration,
        table: Arc<KeyTable>,
        /// Read after the table, so that there are no fewer reads than reads of keys.
        counters: Counters,
    },
}

impl KernelKeys {
    /// One shard's, at `at`.
    pub(super) async fn read(probe: &Arc<Probe>, shard: u32, at: Duration) -> Self {
        let (reader, since) = (Arc::clone(probe), Instant::now());
        let read = tokio::task::spawn_blocking(move || reader.keys(shard, since)).await;
        // An error says that the runtime ends.
        let table = read.ok().and_then(|read| probe.readable(shard, read));
        let both = table.and_then(|table| Some((table, probe.counters(shard)?)));
        both.map_or(Self::Unreadable, |(table, counters)| Self::Read { at, table, counters })
    }
}

/// Counts what was read of each shard, and compares it with what the application says.
pub(super) fn compare(
    probe: &Probe,
    ledgers: &mut [HotKeysLedger],
    looks: Vec<Option<KeyLook>>,
    now: Duration,
) -> Vec<HotKeyOverlap> {
    let shards = (0..).zip(ledgers).zip(looks);
    let compared = shards.map(|((shard, ledger), look)| {
        let compared = one(probe, shard, ledger, look.unwrap_or_default(), now);
        probe.metrics.overlapped(shard, compared.overlap_ratio);
        compared
    });
    let compared = compared.collect();
    probe.metrics.keys.decide(now);
    compared
}

fn one(probe: &Probe, shard: u32, ledger: &mut HotKeysLedger, look: KeyLook, now: Duration) -> HotKeyOverlap {
    match (look.kernel, look.app) {
        (KernelKeys::NotDue, Some(_)) => return ledger.shown().clone(),
        (KernelKeys::NotDue, None) => {}
        (KernelKeys::Unreadable, _) => ledger.interrupted(now),
        (KernelKeys::Read { at, table, counters }, app) => {
            probe.metrics.keys.counted(shard, at, &table, counters.requests.get);
            if let Some(app) = app {
                let kernel = KeyReading { total: counters.requests.data(), keys: table };
                return ledger.observe(at, kernel, app).clone();
            }
            ledger.interrupted(at);
        }
    }
    HotKeyOverlap::default()
}
