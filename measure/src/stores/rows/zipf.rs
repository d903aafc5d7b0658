//! A million keys by Zipf's law: the kernel's counts of the hottest hundred.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use load::keys::{Distribution, KeySpace};

use super::{Context, server, url};
use crate::accuracy::keys::KeyTable;
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::table::thousands;

/// Exponent of the law, as in YCSB.
const EXPONENT: f64 = 0.99;

/// Commands in one write.
const DEPTH: usize = 64;

/// Keys that must be exact.
const TOP: usize = 100;

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let keys = if context.full { 1_000_000 } else { 20_000 };
    let server = server(&[])?;
    let probe = context.stage.start_watch(&url(&server), &[]);
    Rest::read(context.stage, &probe)?;
    let space = KeySpace::numbered("user-", keys, Distribution::Zipf(EXPONENT))?;
    let mut counts = vec![0_u64; keys];
    let mut client = Connection::open(server.address)?;
    let mut draws = space.draws(1);
    let mut batch = Vec::new();
    // Every key is read once, and two other reads are drawn.
    for (number, turn) in (0..3 * keys).enumerate() {
        let index = if turn % 3 == 0 { turn / 3 } else { draws.draw() };
        let key = space.keys().get(index).context("a key")?;
        *counts.get_mut(index).context("a count")? += 1;
        batch.push(command(&["GET", key.as_str()]));
        if batch.len() == DEPTH || number + 1 == 3 * keys {
            client.exchange(&batch.concat(), batch.len())?;
            batch.clear();
        }
    }
    let rest = Rest::read(context.stage, &probe)?;
    let mut lines = rest.lines(row, &[(server.address.to_string(), client.repeated_bytes())].into());
    let mut truth: Vec<(u64, &str)> =
        counts.iter().zip(space.keys()).map(|(count, key)| (*count, key.as_str())).collect();
    truth.sort_unstable_by(|a, b| b.cmp(a));
    let found = probe.keys(0)?;
    let memory = format!(
        "{} keys in the kernel's table, {} evictions; the probe has {} KiB, its maps {} KiB",
        thousands(u64::try_from(found.keys.len())?),
        thousands(found.evictions),
        thousands(probe.resident_bytes() >> 10),
        thousands(probe.map_bytes()? >> 10)
    );
    let exact = truth.iter().take_while(|(count, key)| found.keys.get(*key) == Some(&(*count, 0))).count();
    let verdict = judge(&truth, &found);
    let note = format!("the {} hottest keys are exact. {memory}", thousands(u64::try_from(exact)?));
    lines.push(Line::plain(
        &format!("{row}: top {TOP} of {} keys", thousands(u64::try_from(keys)?)),
        verdict,
        note,
    ));
    probe.stop();
    Ok(lines)
}

/// Compares the hottest keys of both.
fn judge(truth: &[(u64, &str)], found: &KeyTable) -> RowVerdict {
    let mut counted: Vec<u64> = found.keys.values().map(|(requests, _)| *requests).collect();
    counted.sort_unstable_by(|a, b| b.cmp(a));
    let top: BTreeMap<&str, u64> = truth.iter().take(TOP).map(|(count, key)| (*key, *count)).collect();
    let wrong = top.iter().find(|(key, count)| found.keys.get(**key) != Some(&(**count, 0)));
    if let Some((key, count)) = wrong {
        return RowVerdict::Wrong(format!("key {key}: {count} sent, {:?} counted", found.keys.get(*key)));
    }
    // Another key with a larger count would push one of them out of the list.
    let least = truth.get(TOP - 1).map(|(count, _)| *count);
    match counted.get(TOP).copied() > least {
        true => RowVerdict::Wrong(format!(
            "the key after the first {TOP} has a larger count than the least of them"
        )),
        false => RowVerdict::Exact,
    }
}
