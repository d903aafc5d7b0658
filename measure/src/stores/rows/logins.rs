//! Passwords and ACL users. The store's log and error counters stay as they were.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Context, errors, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::stores::server::Server;

/// Commands of the client.
const COMMANDS: usize = 400;

/// The longest wait for a start.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A user of the store, and the error replies that the probe causes as this user.
struct Login {
    name: &'static str,
    user: Option<&'static str>,
    password: Option<&'static str>,
    errors: &'static [&'static str],
}

/// The rights in docs/redis.md, with and without COMMAND.
const USERS: &str = "--requirepass right \
     --user smallest on >pass -@all +info +command +cluster|shards +cluster|slots \
     --user denied on >pass -@all +info +cluster|shards +cluster|slots";

const LOGINS: [Login; 4] = [
    Login { name: "no password", user: None, password: None, errors: &[] },
    Login { name: "requirepass", user: None, password: Some("right"), errors: &[] },
    Login { name: "smallest ACL", user: Some("smallest"), password: Some("pass"), errors: &[] },
    // The store counts the refusal, once.
    Login {
        name: "COMMAND denied",
        user: Some("denied"),
        password: Some("pass"),
        errors: &["errorstat_NOPERM:count=1"],
    },
];

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    LOGINS.iter().map(|login| one(context, &format!("{row}: {}", login.name), login)).collect()
}

fn one(context: &Context<'_>, row: &str, login: &Login) -> Result<Line> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let log_name = log.to_str().context("a path")?;
    let mut options = vec!["--logfile", log_name];
    options.extend(USERS.split_whitespace().filter(|_| login.password.is_some()));
    let server = Server::start("this row", &options).context("redis-server does not start")?;
    let started = || match std::fs::read_to_string(&log) {
        Ok(text) if text.contains("Ready to accept connections") => Ok(()),
        _ => Err("redis-server does not report that it has started".to_owned()),
    };
    context.stage.until(TIMEOUT, started).map_err(anyhow::Error::msg)?;
    let lines = || std::fs::read_to_string(&log).map(|text| text.lines().count());
    let settings = [("STORE_USER", login.user), ("STORE_PASSWORD", login.password)];
    let settings = settings.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned())));
    let mut client = Connection::open(server.address)?;
    if login.password.is_some() {
        client.call(&["AUTH", "right"])?;
    }
    // Reads without redis-cli, because it would need the password.
    let before = (lines()?, errors(&mut client)?);
    let probe = context.stage.start_watch(&url(&server), &settings.collect::<Vec<_>>());
    Rest::read(context.stage, &probe)?;
    let pairs = [command(&["SET", "key", "value"]), command(&["GET", "key"])].concat();
    client.exchange(&pairs.repeat(COMMANDS / 2), COMMANDS)?;
    let rest = Rest::read(context.stage, &probe)?;
    let node = rest.answer.nodes.first().context("a node")?;
    let mut line = rest.line(row, node, client.repeated_bytes());
    let from = rest.answer.commands_from.clone();
    probe.stop();
    let after = (lines()?, errors(&mut client)?);
    let new: Vec<&String> = after.1.iter().filter(|one| !before.1.contains(one)).collect();
    if after.0 != before.0 {
        line.verdict = RowVerdict::Wrong(format!("{} new lines in the store's log", after.0 - before.0));
    } else if new != login.errors {
        line.verdict = RowVerdict::Wrong(format!("error counters of the store: {new:?}"));
    }
    let denied = if new.is_empty() { String::new() } else { format!("; error counters {new:?}") };
    line.note = format!("commands from {from}{denied}");
    Ok(line)
}
