//! Each exception moves its own counter and no other.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use protocol::probe_api::StoreAnswer;

use super::{Context, server, url};
use crate::accuracy::probe::Probe;
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::stores::server::Server;

/// The longest wait for a counter.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long the others must keep still. The probe reads the stores once a second.
const QUIET: Duration = Duration::from_millis(1_500);

/// A primary, its replica, and a server of its own.
struct Servers {
    primary: Server,
    replica: Server,
    single: Server,
    socket: std::path::PathBuf,
}

/// Counters by server and name.
type Counters = BTreeMap<(&'static str, String), u64>;

/// What is done, and the counters that it must move.
struct Act {
    name: &'static str,
    run: fn(&mut Servers) -> Result<()>,
    moves: &'static [(&'static str, &'static str, u64)],
}

const ACTS: [Act; 10] = [
    Act { name: "DISCARD", run: discard, moves: &[("primary", "discarded", 2)] },
    Act { name: "behind QUIT", run: quit, moves: &[("primary", "behind_close", 1)] },
    Act { name: "closed behind BLPOP", run: blocked, moves: &[("primary", "aborted", 6)] },
    Act { name: "unknown name", run: unknown, moves: &[("primary", "unknown", 3)] },
    Act { name: "replication", run: write, moves: &[("replica", "replicated", 4)] },
    Act { name: "script", run: script, moves: &[("primary", "scripted", 6)] },
    Act { name: "Unix socket", run: unix, moves: &[("single", "unseen bytes", 100 * 20)] },
    Act { name: "RESETSTAT", run: reset, moves: &[("single", "new baseline: reset", 1)] },
    Act { name: "restart", run: restart, moves: &[("single", "new baseline: restart", 1)] },
    Act { name: "role", run: follow, moves: &[("single", "new baseline: role", 1)] },
];

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    // The primary's PING counts as a command at the replica.
    let primary = server(&["--repl-ping-replica-period", "3600", "--repl-diskless-sync-delay", "0"])?;
    let port = primary.address.port().to_string();
    let replica = server(&["--replicaof", "127.0.0.1", &port])?;
    let single = server(&single_options(&socket))?;
    let mut servers = Servers { primary, replica, single, socket };
    let linked = || match servers.replica.cli(&["info", "replication"]).contains("master_link_status:up") {
        true => Ok(()),
        false => Err("the replica has no link to its primary".to_owned()),
    };
    context.stage.until(TIMEOUT, linked).map_err(anyhow::Error::msg)?;
    // The stream begins with SELECT, once.
    write(&mut servers)?;
    let all = [&servers.primary, &servers.replica, &servers.single].map(url).join(",");
    let probe = context.stage.start_watch(&all, &[]);
    Rest::read(context.stage, &probe)?;
    let mut lines = Vec::new();
    for act in &ACTS {
        let verdict = perform(context, &probe, &mut servers, act)?;
        let moves = act.moves.iter().map(|(server, name, by)| format!("{server}: {name} +{by}"));
        lines.push(Line::plain(
            &format!("{row}: {}", act.name),
            verdict,
            moves.collect::<Vec<_>>().join(", "),
        ));
    }
    probe.stop();
    Ok(lines)
}

/// Acts, waits for the counters, and checks that no other has moved.
fn perform(context: &Context<'_>, probe: &Probe<'_>, servers: &mut Servers, act: &Act) -> Result<RowVerdict> {
    let before = counters(servers, &probe.store()?);
    (act.run)(servers)?;
    let expected: Counters =
        act.moves.iter().map(|(server, name, by)| ((*server, (*name).to_owned()), *by)).collect();
    let moved = || -> Result<Counters> {
        let now = counters(servers, &probe.store()?);
        let grown = now.into_iter().map(|(name, count)| {
            let by = count.saturating_sub(before.get(&name).copied().unwrap_or_default());
            (name, by)
        });
        Ok(grown.filter(|(_, by)| *by > 0).collect())
    };
    let check = || {
        let moved = moved().map_err(|error| error.to_string())?;
        if moved == expected { Ok(()) } else { Err(format!("moved: {moved:?}")) }
    };
    if let Err(why) = context.stage.until(TIMEOUT, check) {
        return Ok(RowVerdict::Wrong(why));
    }
    lab::signals::pause(QUIET);
    Ok(check().map_or_else(|why| RowVerdict::Wrong(format!("later {why}")), |()| RowVerdict::Exact))
}

fn counters(servers: &Servers, answer: &StoreAnswer) -> Counters {
    let named = [("primary", &servers.primary), ("replica", &servers.replica), ("single", &servers.single)];
    let mut counters = Counters::new();
    for (name, server) in named {
        let address = server.address.to_string();
        let Some(node) = answer.nodes.iter().find(|node| node.address == address) else { continue };
        let found = &node.reconciliation;
        counters.extend(found.exceptions.iter().map(|(one, count)| ((name, one.name().to_owned()), *count)));
        let baselines = found.baselines.iter();
        counters
            .extend(baselines.map(|(why, count)| ((name, format!("new baseline: {}", why.name())), *count)));
        let unseen = found.bytes.difference.and_then(|bytes| u64::try_from(-bytes).ok());
        counters.insert((name, "unseen bytes".to_owned()), unseen.unwrap_or_default());
    }
    counters
}

fn discard(servers: &mut Servers) -> Result<()> {
    let queued = [command(&["MULTI"]), command(&["GET", "a"]), command(&["GET", "b"]), command(&["DISCARD"])];
    Connection::open(servers.primary.address)?.exchange(&queued.concat(), 4).map(drop)
}

fn quit(servers: &mut Servers) -> Result<()> {
    let both = [command(&["QUIT"]), command(&["GET", "a"])].concat();
    Connection::open(servers.primary.address)?.exchange(&both, 1).map(drop)
}

fn blocked(servers: &mut Servers) -> Result<()> {
    let mut connection = Connection::open(servers.primary.address)?;
    let behind = command(&["GET", "a"]).repeat(5);
    connection.send(&[command(&["BLPOP", "empty", "0"]), behind].concat())?;
    // The store must have read the commands before the connection closes.
    let waits =
        || super::info(&servers.primary, "clients", "blocked_clients").is_some_and(|clients| clients > 0);
    let read =
        lab::signals::poll(Duration::from_secs(20), Duration::from_millis(20), || Ok(waits().then_some(())))?;
    read.context("the store did not read BLPOP within 20 s")
}

fn unknown(servers: &mut Servers) -> Result<()> {
    Connection::open(servers.primary.address)?.exchange(&command(&["NO-SUCH", "a"]).repeat(3), 3).map(drop)
}

fn write(servers: &mut Servers) -> Result<()> {
    Connection::open(servers.primary.address)?.exchange(&command(&["SET", "a", "1"]).repeat(4), 4).map(drop)
}

fn script(servers: &mut Servers) -> Result<()> {
    // A name of its own: the difference of one name is the sum of all exceptions.
    let calls = "redis.call('TYPE', KEYS[1]) redis.call('TYPE', KEYS[1]) return redis.call('TYPE', KEYS[1])";
    let evals = command(&["EVAL", calls, "1", "a"]).repeat(2);
    Connection::open(servers.primary.address)?.exchange(&evals, 2).map(drop)
}

fn unix(servers: &mut Servers) -> Result<()> {
    let mut stream = UnixStream::connect(&servers.socket).context("the Unix socket")?;
    for _ in 0..100 {
        stream.write_all(&command(&["GET", "a"]))?;
        // The reply is a null.
        stream.read_exact(&mut [0; 5])?;
    }
    Ok(())
}

fn reset(servers: &mut Servers) -> Result<()> {
    servers.single.cli(&["config", "resetstat"]);
    Ok(())
}

fn restart(servers: &mut Servers) -> Result<()> {
    let port = servers.single.address.port();
    // The old process must have left its port.
    let old = std::mem::replace(&mut servers.single, server(&[])?);
    drop(old);
    let options = single_options(&servers.socket);
    servers.single =
        Server::try_start("this row", port, &options).flatten().context("redis-server does not start")?;
    Ok(())
}

fn follow(servers: &mut Servers) -> Result<()> {
    servers.single.cli(&["replicaof", "127.0.0.1", &servers.primary.address.port().to_string()]);
    Ok(())
}

fn single_options(socket: &Path) -> [&str; 2] {
    ["--unixsocket", socket.to_str().unwrap_or_default()]
}
