//! Six nodes, commands of all kinds, slots that migrate, one failover.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use protocol::probe_api::StoreNode;

use super::{Context, info, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::mix::{Answered, Driven, Mix};
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::stores::server::{self, Server};

/// Clients that send at the same time.
const CLIENTS: u64 = 4;

/// The longest wait for a failover.
const FAILOVER: Duration = Duration::from_secs(60);

/// The longest wait until the nodes agree about the slots.
const AGREEMENT: Duration = Duration::from_secs(30);

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let (commands, slots) = if context.full { (1_000_000, 300) } else { (40_000, 20) };
    let mut nodes = server::cluster("this row", 3).context("the cluster does not start")?;
    let probe = context.stage.start_watch(&url(&nodes[0]), &[]);
    let before = Rest::read(context.stage, &probe)?;
    let primaries = nodes[..3].iter().map(|node| node.address).collect();
    let mix = Mix::new(primaries, commands)?;
    std::thread::scope(|scope| -> Result<()> {
        let mix = &mix;
        let clients: Vec<_> = (0..CLIENTS).map(|seed| scope.spawn(move || mix.drive(seed))).collect();
        let changed = change(context, &mut nodes, slots);
        mix.end();
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        changed
    })?;
    let driven = mix.driven();
    let after = Rest::read(context.stage, &probe)?;
    let repeated = driven.repeated.iter().map(|(address, bytes)| (address.to_string(), *bytes)).collect();
    let mut lines = after.lines(row, &repeated);
    lines.push(clients(row, &driven, &before, &after));
    probe.stop();
    Ok(lines)
}

/// Moves slots, fails over the second primary, moves the slots back. The full run kills the primary.
fn change(context: &Context<'_>, nodes: &mut Vec<Server>, slots: u32) -> Result<()> {
    reshard(context, nodes, 0, 2, slots)?;
    let of_second = Some(u64::from(nodes[1].address.port()));
    let replica = nodes.iter().find(|node| info(node, "replication", "master_port") == of_second);
    let port = replica.context("the second primary has no replica")?.address.port();
    if context.full {
        drop(nodes.remove(1));
    } else {
        replica.context("a replica")?.cli(&["cluster", "failover"]);
    }
    let promoted = || {
        let replica = nodes.iter().find(|node| node.address.port() == port);
        let role = replica.map(|node| node.cli(&["role"])).unwrap_or_default();
        let ok = nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"));
        if role.starts_with("master") && ok { Ok(()) } else { Err(role) }
    };
    context.stage.until(FAILOVER, promoted).map_err(|role| anyhow!("no failover: {role}"))?;
    let third = if context.full { 1 } else { 2 };
    reshard(context, nodes, third, 0, slots)
}

/// Moves slots between two primaries while clients use them.
pub(crate) fn reshard(
    context: &Context<'_>,
    nodes: &[Server],
    from: usize,
    to: usize,
    slots: u32,
) -> Result<()> {
    // `redis-cli` refuses to move slots until all nodes agree about them.
    let agreed = || {
        let address = nodes[0].address.to_string();
        let check = Command::new("redis-cli").args(["--cluster", "check", &address]).output();
        let check = check.map_err(|error| error.to_string())?;
        if check.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&check.stdout).into_owned()) }
    };
    context.stage.until(AGREEMENT, agreed).map_err(|why| anyhow!("the nodes do not agree: {why}"))?;
    let id = |node: usize| nodes[node].cli(&["cluster", "myid"]).trim().to_owned();
    let address = nodes[0].address.to_string();
    let (from, to, slots) = (id(from), id(to), slots.to_string());
    let ends = ["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", &slots, "--cluster-yes"];
    nodes[0].cli(&[&["--cluster", "reshard", &address], &ends[..]].concat());
    Ok(())
}

/// Compares the kernel's counts with the answers that the clients got, on nodes that kept their baseline.
fn clients(row: &str, driven: &Driven, before: &Rest, after: &Rest) -> Line {
    let kept = |node: &&StoreNode| {
        let then = before.answer.nodes.iter().find(|one| one.address == node.address);
        node.role == "primary"
            && then.is_some_and(|then| then.reconciliation.baselines == node.reconciliation.baselines)
    };
    let mut wrong = Vec::new();
    let mut compared = 0;
    for node in after.answer.nodes.iter().filter(kept) {
        for (name, answered) in of_node(&driven.answered, &node.address) {
            compared += answered;
            let kernel = Rest::kernel(node, name);
            if kernel != answered {
                wrong.push(format!(
                    "{name} at shard {}: {kernel} counted, {answered} answered",
                    node.shard_id
                ));
            }
        }
    }
    if compared == 0 {
        wrong.push("no primary kept its baseline, so nothing was compared".to_owned());
    }
    let verdict = if wrong.is_empty() { RowVerdict::Exact } else { RowVerdict::Wrong(wrong.join("; ")) };
    let Driven { moved, ask, aborted, lost, .. } = driven;
    let note = format!(
        "{} answers, {moved} MOVED, {ask} ASK, {aborted} transactions sent again, {lost} commands without an answer",
        driven.total()
    );
    Line {
        kernel: Some(compared),
        ..Line::plain(&format!("{row}: answers to clients, by name"), verdict, note)
    }
}

fn of_node(answered: &Answered, address: &str) -> BTreeMap<&'static str, u64> {
    let own = |(node, _): &(SocketAddr, &str)| node.to_string() == address;
    answered.iter().filter(|(key, _)| own(key)).map(|((_, name), count)| (*name, *count)).collect()
}
