//! Results of the run, for a terminal, Markdown and JSON.

use serde_json::{Value, json};

use super::empty::StatisticsCost;
use super::programs::Runs;
use super::watcher::Watcher;
use crate::machine::{self, date};
use crate::pair::Pair;
use crate::statistics::Quartiles;
use crate::table::{Table, percent, thousands};
use crate::testbed::{CONNECTIONS, KEYS};

/// The goal: the largest accepted loss of throughput.
const GOAL: f64 = 0.02;

/// All results.
#[derive(Clone, Debug)]
pub struct CostReport {
    /// What the kernel's statistics cost.
    pub statistics: StatisticsCost,
    /// The programs' runs for HTTP, one element a round.
    pub http: Vec<Runs>,
    /// The same for RESP, or why there are none.
    pub resp: Result<Vec<Runs>, String>,
    /// Throughput by watcher.
    pub rows: Vec<Row>,
    /// Rounds.
    pub(super) pairs: u32,
    /// Requests with a watcher, and as many without, in each pair.
    pub(super) requests: u64,
    /// Seed of the order of runs.
    pub(super) seed: u64,
    /// Load average of the machine over a minute, before and after the run.
    pub(super) load_average: [String; 2],
}

/// Results of one watcher.
#[derive(Clone, Debug)]
pub struct Row {
    /// The watcher.
    pub watcher: Watcher,
    /// The pairs of runs.
    pub pairs: Vec<Pair>,
    /// The watcher's own count in each run, which has half of the requests.
    pub counted: Vec<String>,
    /// The reason why there are no pairs.
    pub absent: Option<String>,
}

impl Row {
    /// Returns a row without pairs.
    pub(super) const fn new(watcher: Watcher) -> Self {
        Self { watcher, pairs: Vec::new(), counted: Vec::new(), absent: None }
    }

    fn quartiles(&self, figure: fn(&Pair) -> f64) -> Option<Quartiles> {
        Quartiles::of(self.pairs.iter().map(figure))
    }

    fn cells(&self) -> Vec<String> {
        let name = self.watcher.name().to_owned();
        let figures = (self.quartiles(Pair::loss), self.quartiles(Pair::more_cpu));
        let ((Some(loss), Some(cpu)), Some(rate)) = (figures, self.quartiles(|pair| pair.without.per_second))
        else {
            let why = format!("not measured: {}", self.absent.as_deref().unwrap_or("no pair"));
            return [name].into_iter().chain(["–"; 5].map(str::to_owned)).chain([why]).collect();
        };
        vec![
            name,
            percent(loss.median),
            format!("{} … {}", percent(loss.lower), percent(loss.upper)),
            format!("{} … {}", percent(loss.min), percent(loss.max)),
            format!("{} ({} … {})", percent(cpu.median), percent(cpu.lower), percent(cpu.upper)),
            thousands(rate.median as u64),
            self.counted.last().cloned().unwrap_or_default(),
        ]
    }
}

const PAIR_HEADINGS: [&str; 7] = [
    "watcher",
    "median loss",
    "quartiles",
    "extremes",
    "more CPU time (quartiles)",
    "req/s without",
    "counted in its last run",
];
const RUN_HEADINGS: [&str; 5] = ["protocol", "program", "runs a request", "ns a run", "ns a request"];

impl CostReport {
    /// Returns the median nanoseconds of all programs a request, with quartiles over the rounds.
    #[must_use]
    pub fn nanoseconds(&self, runs: &[Runs]) -> Option<Quartiles> {
        Quartiles::of(runs.iter().map(|round| {
            let programs = round.programs.keys();
            programs.map(|program| self.a_request(round, program).1).sum::<f64>()
        }))
    }

    /// Returns a program's runs a request, and its nanoseconds a request without the statistics' own.
    #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
    fn a_request(&self, round: &Runs, program: &str) -> (f64, f64) {
        let (runs, nanoseconds) = round.programs.get(program).copied().unwrap_or_default();
        let own = nanoseconds - runs as f64 * self.statistics.recorded.median;
        (runs as f64 / round.requests as f64, own / round.requests as f64)
    }

    /// Returns the verdict: whether the probe's cost meets the goal, with both quartiles on one side of it.
    #[must_use]
    pub fn verdict(&self) -> String {
        let loss = |watcher| {
            let row = self.rows.iter().find(|row| row.watcher == watcher);
            row.and_then(|row| row.quartiles(Pair::loss))
        };
        let (Some(loss), Some(noise)) = (loss(Watcher::Probe), loss(Watcher::Nothing)) else {
            return "probe: not measured".to_owned();
        };
        let interval = |found: Quartiles| {
            format!(
                "{} (quartiles {} … {})",
                percent(found.median),
                percent(found.lower),
                percent(found.upper)
            )
        };
        format!(
            "probe: median loss of throughput {} over {} pairs; goal: at most {}: {}; two equal runs differ by {}",
            interval(loss),
            self.pairs,
            percent(GOAL),
            if loss.upper <= GOAL {
                "HOLDS"
            } else if loss.lower > GOAL {
                "DOES NOT HOLD"
            } else {
                "UNDECIDED"
            },
            interval(noise)
        )
    }

    /// Returns the report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "The programs' own time. {}.\n{}\nThroughput, directly on one shard\n{}load of the machine {} … {}\n{}\n",
            self.statistics_sentence(),
            self.run_table().text(),
            self.pair_table().text(),
            self.load_average[0],
            self.load_average[1],
            self.verdict()
        )
    }

    /// Returns the report for `docs/experiments/`.
    #[must_use]
    pub fn markdown(&self) -> String {
        let (pairs, requests, seed) = (self.pairs, self.requests, self.seed);
        let whats =
            self.rows.iter().map(|row| vec![row.watcher.name().to_owned(), row.watcher.what().to_owned()]);
        let whats = Table { headings: &["watcher", "what it is"], numbers: 0..0, rows: whats.collect() };
        format!(
            "# {}: What the probe costs\n\n\
             **Question.** How long do the kernel programs run for a request? How much throughput does the probe cost at full\n\
             speed? At most {} is the goal. What do similar tools cost?\n\n\
             **Answer.** {}.\n\n\
             **Command.** `cargo xtask bench cost --pairs {pairs} --requests {requests} --seed {seed}`\n\n\
             {}; load average {} before, {} after.\n\n\
             ## The programs' own time\n\n{}\n\
             Medians over {pairs} rounds of {} reads, {CONNECTIONS} connections, {} uniform keys: HTTP by `load saturate`,\n\
             directly on one shard; RESP by `redis-benchmark` on `redis-server`. The programs are on the server's cgroup. A run\n\
             is a packet or an event. From `/status` with `PROGRAM_STATS=on`.\n{}.\n\n\
             ## Throughput\n\n{}\n\
             The same HTTP load, without the statistics. A server without any work of its own is the worst case. A pair is {}\n\
             requests with the watcher and as many without, in two runs each, on one lab. **Loss** is 1 − with ⁄ without, by pair.\n\
             No pair is left out. **CPU time** is that of generator, gateway, shards and watcher for a request. Other work on the\n\
             machine disturbs it less.\n\n{}\n\
             The probe counts requests. `nftables` and `tcpdump` count packets, `bpftrace` received segments. None of them knows a\n\
             request, a key or a latency.\n",
            date("+%F"),
            percent(GOAL),
            self.verdict(),
            machine::describe(),
            self.load_average[0],
            self.load_average[1],
            self.run_table().markdown(),
            thousands(requests),
            thousands(u64::from(KEYS)),
            self.statistics_sentence(),
            self.pair_table().markdown(),
            thousands(requests),
            whats.markdown(),
        )
    }

    /// Returns the report as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "watcher": row.watcher.name(),
                "what": row.watcher.what(),
                "loss": row.quartiles(Pair::loss),
                "pairs": row.pairs,
                "counted": row.counted,
                "absent": row.absent,
            })
        });
        json!({
            "machine": machine::describe(),
            "load_average": self.load_average,
            "requests": self.requests,
            "seed": self.seed,
            "verdict": self.verdict(),
            "throughput": rows.collect::<Vec<_>>(),
            "statistics": self.statistics,
            "programs": {"http": self.http, "resp": self.resp},
        })
    }

    fn statistics_sentence(&self) -> String {
        let StatisticsCost { recorded, added } = &self.statistics;
        format!(
            "The statistics record {:.0} ns ({:.0} … {:.0}) for a run of an empty program. This is taken off. They make a run \
             {added:.0} ns longer",
            recorded.median, recorded.lower, recorded.upper
        )
    }

    fn run_table(&self) -> Table<'_> {
        let mut rows = Vec::new();
        for (protocol, runs) in [("HTTP", Ok(&self.http)), ("RESP", self.resp.as_ref())] {
            let runs = match runs {
                Ok(runs) => runs,
                Err(why) => {
                    let why = format!("not measured: {why}");
                    rows.push([protocol, &why, "–", "–", "–"].map(str::to_owned).into());
                    continue;
                }
            };
            let median = |figure: &dyn Fn(&Runs) -> f64| {
                Quartiles::of(runs.iter().map(figure)).map_or(0.0, |of| of.median)
            };
            for program in runs.first().into_iter().flat_map(|round| round.programs.keys()) {
                let often = median(&|round| self.a_request(round, program).0);
                let a_request = median(&|round| self.a_request(round, program).1);
                let a_run = median(&|round| {
                    let (often, nanoseconds) = self.a_request(round, program);
                    if often > 0.0 { nanoseconds / often } else { 0.0 }
                });
                let cells = [format!("{often:.3}"), format!("{a_run:.0}"), format!("{a_request:.0}")];
                rows.push([vec![protocol.to_owned(), program.clone()], cells.into()].concat());
            }
            let all = self.nanoseconds(runs).map_or_else(String::new, |all| {
                format!("{:.0} ({:.0} … {:.0})", all.median, all.lower, all.upper)
            });
            rows.push(vec![protocol.to_owned(), "all".to_owned(), String::new(), String::new(), all]);
        }
        Table { headings: &RUN_HEADINGS, numbers: 2..5, rows }
    }

    fn pair_table(&self) -> Table<'_> {
        Table { headings: &PAIR_HEADINGS, numbers: 1..6, rows: self.rows.iter().map(Row::cells).collect() }
    }
}
