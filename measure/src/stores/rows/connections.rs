//! Ten thousand connections at the same time.

use anyhow::{Context as _, Result, bail};

use super::{Context, server, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::table::thousands;

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let number = if context.full { 10_000 } else { 500 };
    let limit = (number + 100).to_string();
    let server = server(&["--maxclients", &limit])?;
    let probe = context.stage.start_watch(&url(&server), &[]);
    Rest::read(context.stage, &probe)?;
    let before = probe.resident_bytes();
    let mut clients = Vec::with_capacity(number);
    for index in 0..number {
        let mut client = Connection::open(server.address)?;
        let key = format!("key-{index}");
        client.exchange(&[command(&["SET", &key, "1"]), command(&["GET", &key])].concat(), 2)?;
        clients.push(client);
    }
    // All of them send before the first one reads.
    for client in &mut clients {
        client.send(&command(&["GET", "shared"]).repeat(8))?;
    }
    for client in &mut clients {
        client.replies(8)?;
    }
    let counted = probe.counted()?;
    let connections = counted.first().and_then(|node| node.connections.as_ref());
    let open = connections.context("the probe reports no connections")?.open;
    let rest = Rest::read(context.stage, &probe)?;
    let repeated = clients.iter().map(Connection::repeated_bytes).sum();
    let node = rest.answer.nodes.first().context("the probe reports no node")?;
    let mut line = rest.line(row, node, repeated);
    let all = u64::try_from(number)?;
    if open < all {
        line.verdict = RowVerdict::Wrong(format!("{open} connections open, {number} were opened"));
    }
    line.note = format!(
        "{} connections open; the probe has {} KiB, before {} KiB, and its maps {} KiB",
        thousands(open),
        thousands(probe.resident_bytes() >> 10),
        thousands(before >> 10),
        thousands(probe.map_bytes()? >> 10)
    );
    if Rest::kernel(node, "get") != 9 * all {
        bail!("{} reads counted, {} sent", Rest::kernel(node, "get"), 9 * all);
    }
    probe.stop();
    Ok(vec![line])
}
