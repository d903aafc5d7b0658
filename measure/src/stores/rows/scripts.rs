//! Scripts: the store counts their calls, the kernel does not.

use anyhow::{Context as _, Result};
use protocol::probe_api::StoreException;

use super::{Context, server, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;

/// Scripts in one pipeline.
const DEPTH: usize = 16;

/// Calls of one script.
const CALLS: u64 = 3;

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let rounds = if context.full { 1_000 } else { 20 };
    let server = server(&[])?;
    let probe = context.stage.start_watch(&url(&server), &[]);
    Rest::read(context.stage, &probe)?;
    let mut client = Connection::open(server.address)?;
    let script =
        "redis.call('SET', KEYS[1], 1) redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])";
    let hash = client.call(&["SCRIPT", "LOAD", script])?;
    let pair = [
        command(&["EVAL", script, "1", "key"]),
        command(&["EVALSHA", hash.text().context("a hash")?, "1", "key"]),
        command(&["GET", "key"]),
    ];
    let pair = pair.concat();
    for _ in 0..rounds {
        client.exchange(&pair.repeat(DEPTH), 3 * DEPTH)?;
    }
    let rest = Rest::read(context.stage, &probe)?;
    let node = rest.answer.nodes.first().context("a node")?;
    let mut line = rest.line(row, node, client.repeated_bytes());
    let known = 2 * CALLS * rounds * u64::try_from(DEPTH)?;
    let scripted = node.reconciliation.exceptions.get(&StoreException::Scripted).copied().unwrap_or_default();
    let bytes = node.reconciliation.bytes.difference;
    // The probe does not call this agreement, so the row does not ask for it.
    line.verdict =
        if scripted == known && bytes == i64::try_from(client.repeated_bytes()).ok() && line.unparsed == 0 {
            RowVerdict::Explained(format!("the remainder equals the {known} calls of the scripts"))
        } else {
            RowVerdict::Wrong(format!("{scripted} calls by scripts, {known} known, {bytes:?} bytes"))
        };
    probe.stop();
    Ok(vec![line])
}
