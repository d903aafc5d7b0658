//! What key statistics cost: instructions of the gateway, with them and without.
//!
//! callgrind counts the instructions in user space, so other work of the machine does not change the result. It slows
//! the gateway down, and a second has far fewer requests than usual. So the work of a request and the work of a second
//! are told apart.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::process::{Log, Process};
use lab::{programs, signals};

use super::Options;
use super::client;
use super::origin::{Origin, SHARDS};
use super::row::Row;
use super::server::{gateway, started};
use super::side::TrafficPath;
use crate::experiment::report::File;
use crate::machine::{date, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, thousands};

/// Requests of the shorter run, after one for each key.
const REQUESTS: u32 = 10_000;

/// Connections with a request in flight.
const CONNECTIONS: u32 = 16;

/// How long the longest run rests. The last ten seconds of requests are still in the windows.
const REST: Duration = Duration::from_secs(6);

/// Longest wait for the counts, which callgrind writes at the end.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

/// Measurements of each figure. Which work of a second falls into a run differs.
const ROUNDS: usize = 3;

const ROWS: [Row; 2] = [Row::Base, Row::UniformKeys];

const HEADINGS: [&str; 7] = [
    "path",
    "keys",
    "on: a request",
    "off: a request",
    "on ⁄ off (quartiles)",
    "on: a second",
    "off: a second",
];

/// Instructions, by a model: those of a request, and those of a second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    request: f64,
    second: f64,
}

/// One run of the gateway under callgrind.
#[derive(Clone, Copy, Debug)]
struct Run {
    requests: u32,
    seconds: f64,
    instructions: f64,
}

impl Cost {
    /// The solution of instructions = start + request · requests + second · seconds, by three runs: a short one, one with
    /// more requests, and one with as many and a rest.
    fn of([short, more, rests]: [Run; 3]) -> Self {
        let second = (rests.instructions - short.instructions) / (rests.seconds - short.seconds);
        let of_requests = more.instructions - short.instructions - second * (more.seconds - short.seconds);
        Self { request: of_requests / f64::from(more.requests - short.requests), second }
    }
}

/// Measures all rows and returns the file for `docs/benchmarks/`. It calls `progress` with a line for each row.
///
/// # Errors
/// When callgrind is missing, a process cannot be started, or a request fails.
pub fn instructions(options: &Options, progress: impl Fn(&str)) -> Result<File> {
    ensure!(programs::find("valgrind").is_some(), "there is no valgrind: install it");
    let origin = Origin::start(&options.programs, SHARDS)?;
    let mut rows = Vec::new();
    for path in TrafficPath::ALL {
        for row in ROWS {
            let cost = |statistics| {
                let run = |requests, rest| run(options, &origin, path, row, statistics, requests, rest);
                anyhow::Ok(Cost::of([
                    run(REQUESTS, Duration::ZERO)?,
                    run(2 * REQUESTS, Duration::ZERO)?,
                    run(REQUESTS, REST)?,
                ]))
            };
            let round = |_| anyhow::Ok([cost("true")?, cost("false")?]);
            let rounds = (0..ROUNDS).map(round).collect::<Result<Vec<_>>>()?;
            let cells = cells(path, row, &rounds).context("no round")?;
            progress(&cells.join(", "));
            rows.push(cells);
        }
    }
    let table = Table { headings: &HEADINGS, numbers: 2..7, rows };
    let content = format!(
        "# {}: Instructions for key statistics\n\n\
         **Question.** How many more instructions does the gateway take for a request if it counts keys?\n\n\
         **Command.** `cargo xtask bench gateway --instructions`\n\n{}; profile `{}`.\n\n{}\n\
         Instructions in user space by callgrind, with `KEY_STATISTICS` on and off and one worker. Reads of values of \
         about 100 bytes on {CONNECTIONS} connections, of all keys in turn. So of 20,000 keys none comes again in the \
         same batch of a core, which is the worst case.\n\n\
         The work of a request and of a second are told apart by a model with three runs: {} requests, twice as many, and \
         a rest of {} s. Under callgrind a second has about a tenth of the requests that it has otherwise. Figures are medians of {ROUNDS} \
         rounds.\n",
        date("+%F"),
        describe(),
        options.profile(),
        table.markdown(),
        thousands(u64::from(REQUESTS)),
        REST.as_secs(),
    );
    Ok(File { name: format!("{}-gateway-instructions.md", date("+%F")), content })
}

/// The medians of all rounds, with statistics on and off, and the ratio with its quartiles. `None` without a round.
fn cells(path: TrafficPath, row: Row, rounds: &[[Cost; 2]]) -> Option<Vec<String>> {
    let of = |figure: fn(&[Cost; 2]) -> f64| Quartiles::of(rounds.iter().map(figure));
    let whole = |of: Quartiles| thousands(of.median.max(0.0).round() as u64);
    let ratio = of(|[on, off]| on.request / off.request)?;
    Some(vec![
        path.name().to_owned(),
        thousands(u64::from(row.keys().count())),
        whole(of(|[on, _]| on.request)?),
        whole(of(|[_, off]| off.request)?),
        format!("{:.3} ({:.3} … {:.3})", ratio.median, ratio.lower, ratio.upper),
        whole(of(|[on, _]| on.second)?),
        whole(of(|[_, off]| off.second)?),
    ])
}

fn run(
    options: &Options,
    origin: &Origin,
    path: TrafficPath,
    row: Row,
    statistics: &str,
    requests: u32,
    rest: Duration,
) -> Result<Run> {
    let folder = tempfile::Builder::new().prefix("gateway-bench-").tempdir()?;
    let counts = folder.path().join("counts");
    let plain = gateway(&options.programs, path, &origin.addresses);
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display()));
    command.arg(plain.get_program()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("KEY_STATISTICS", statistics).env("WORKERS", "1");
    let mut process = Process::start("gateway", command, Log::unnamed()?)?;
    let address = started(&mut process, Process::reported_address)?;
    let begin = Instant::now();
    let keys = row.keys().count();
    // The first read of a key creates its value, and fills the cache.
    client::in_turn(address, CONNECTIONS, keys + requests, keys, |key| row.request(key))?;
    signals::pause(rest);
    signals::check()?;
    process.terminate();
    let seconds = begin.elapsed().as_secs_f64();
    let ended = signals::poll(END_TIMEOUT, STEP, || Ok((!process.is_running()).then_some(())))?;
    ended.with_context(|| format!("the gateway does not end under callgrind; {}", process.last_words()))?;
    let text = fs::read_to_string(&counts).context("callgrind wrote no counts")?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    Ok(Run { requests, seconds, instructions: total.context("callgrind's counts have no total")? })
}

#[cfg(test)]
mod tests {
    use super::{Cost, Run};

    #[test]
    fn three_runs_tell_requests_from_seconds() {
        let run = |requests: u32, seconds: f64| Run {
            requests,
            seconds,
            instructions: 1e9 + 7_000.0 * f64::from(requests) + 2e6 * seconds,
        };
        let cost = Cost::of([run(10_000, 4.0), run(20_000, 7.0), run(10_000, 10.0)]);
        assert!((cost.request - 7_000.0).abs() < 1e-3 && (cost.second - 2e6).abs() < 1e-3, "{cost:?}");
    }
}
