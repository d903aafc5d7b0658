//! Results of the run, for a terminal, Markdown and JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;

use super::generator::{CONNECTIONS, UNIFORM, ZIPFIAN};
use super::packets::Packets;
use super::pairs::{K6_FEWER, Pair, STRAIGHT};
use super::runs::Runs;
use super::testbed::TrafficPath;
use super::watcher::Watcher;
use crate::machine::{self, date, processors};
use crate::statistics::Quartiles;
use crate::table::{Table, percent, thousands};

/// The goal: the largest accepted loss of throughput.
const GOAL: f64 = 0.02;

/// All results.
#[derive(Clone, Debug)]
pub struct CostReport {
    /// Cost by program and packet.
    pub packets: Packets,
    /// Cost by program and request, one element for each path.
    pub runs: Vec<Runs>,
    /// Throughput by watcher.
    pub rows: Vec<Row>,
    /// Requested number of pairs.
    pub(crate) pairs: u32,
    /// Requests with a watcher, and as many without, in each pair.
    pub(crate) requests: u64,
    /// Slices of each lab in a side-by-side measurement.
    pub(crate) slices: u64,
    /// Seed of the order of runs.
    pub(crate) seed: u64,
    /// Version of k6, if it was used.
    pub(crate) k6: Option<String>,
    /// Load average of the machine over a minute, before and after the run.
    pub(crate) load_average: [String; 2],
}

/// Results of one watcher.
#[derive(Clone, Debug)]
pub struct Row {
    /// The watcher.
    pub watcher: Watcher,
    /// The path of the requests.
    pub path: TrafficPath,
    /// The pairs of runs.
    pub pairs: Vec<Pair>,
    /// The watcher's own count in each run, which has half of the requests.
    pub counted: Vec<String>,
    /// The reason why there are no pairs.
    pub absent: Option<String>,
}

impl Row {
    /// Returns a row without pairs.
    pub(crate) const fn new(watcher: Watcher, path: TrafficPath) -> Self {
        Self { watcher, path, pairs: Vec::new(), counted: Vec::new(), absent: None }
    }

    fn quartiles(&self, figure: impl Fn(&Pair) -> f64) -> Option<Quartiles> {
        Quartiles::of(self.pairs.iter().map(figure))
    }

    fn loss(&self) -> Option<Quartiles> {
        self.quartiles(Pair::loss)
    }

    /// Returns the CPU time per request without the watcher, in microseconds.
    fn cpu_without(&self) -> Option<f64> {
        Some(self.quartiles(|pair| pair.without.cpu_microseconds)?.median)
    }

    /// Returns the requests per second without the watcher.
    fn per_second_without(&self) -> Option<f64> {
        Some(self.quartiles(|pair| pair.without.per_second)?.median)
    }

    fn not_measured(&self) -> String {
        format!("not measured: {}", self.absent.as_deref().unwrap_or("no pair"))
    }

    fn cells(&self) -> [String; 7] {
        let name = self.watcher.name().to_owned();
        let (Some(loss), Some(cpu)) = (self.loss(), self.quartiles(Pair::more_cpu)) else {
            let mut cells = [const { String::new() }; 7].map(|_| "–".to_owned());
            cells[0] = name;
            cells[6] = self.not_measured();
            return cells;
        };
        [
            name,
            percent(loss.median),
            format!("{} … {}", percent(loss.lower), percent(loss.upper)),
            format!("{} … {}", percent(loss.min), percent(loss.max)),
            format!("{} ({} … {})", percent(cpu.median), percent(cpu.lower), percent(cpu.upper)),
            self.per_second_without().map_or_else(|| "–".to_owned(), |rate| thousands(rate as u64)),
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
const RUN_HEADINGS: [&str; 4] = ["program", "runs a request", "ns a run", "ns a request"];
const PACKET_HEADINGS: [&str; 5] = ["program", "packet", "runs a call", "ns a run", "with statistics"];

impl CostReport {
    /// Returns the probe's verdicts, one or two lines for each path: whether the cost meets the goal.
    pub fn verdicts(&self) -> Vec<String> {
        let probes = [Watcher::Probe, Watcher::ProbeOnShards];
        let rows = TrafficPath::ALL.into_iter().flat_map(|path| probes.map(|probe| self.row(path, probe)));
        rows.flatten().map(|row| self.verdict(row)).collect()
    }

    fn row(&self, path: TrafficPath, watcher: Watcher) -> Option<&Row> {
        self.rows.iter().find(|row| row.watcher == watcher && row.path == path)
    }

    fn verdict(&self, row: &Row) -> String {
        let (path, probe) = (row.path, row.watcher);
        let what = format!("{}, {}", path.name(), probe.name());
        let Some(loss) = row.loss() else {
            return format!("{what}: {}", row.not_measured());
        };
        let verdict = if loss.median <= GOAL { "HOLDS" } else { "DOES NOT HOLD" };
        let mut text = format!(
            "{what}: median loss of throughput {} over {} pairs (quartiles {} … {}); goal: at most {}: {verdict}",
            percent(loss.median),
            self.pairs,
            percent(loss.lower),
            percent(loss.upper),
            percent(GOAL),
        );
        if probe.is_side_by_side()
            && let Some(own) = row.quartiles(|pair| pair.own_share)
        {
            let _ = write!(text, "; this includes {} for its own process", percent(own.median));
        }
        if path == TrafficPath::K6
            && let (Some(cpu), Some(rate)) = (row.cpu_without(), row.per_second_without())
        {
            let all = processors() * 1e6 / rate;
            let _ =
                write!(text, "; gateway and shards take {cpu:.0} of the {all:.0} µs of CPU time a request");
        }
        let (watcher, equal) = if probe.is_side_by_side() {
            (Watcher::EqualLabs, "two equal labs")
        } else {
            (Watcher::Nothing, "two equal runs")
        };
        if let Some(nothing) = self.row(path, watcher).and_then(Row::loss) {
            let _ = write!(
                text,
                "; {equal} differ by {} (quartiles {} … {})",
                percent(nothing.median),
                percent(nothing.lower),
                percent(nothing.upper)
            );
        }
        if probe == Watcher::Probe
            && let Some(share) = self.share(row)
        {
            let _ = write!(text, "; {share}");
        }
        text
    }

    /// Returns the programs' share of a request's CPU time, on the path of the probe's row.
    fn share(&self, row: &Row) -> Option<String> {
        let runs = self.runs.iter().find(|runs| runs.path == row.path)?;
        let (all, cpu) = (runs.nanoseconds_a_request(), row.cpu_without()?);
        let of_cpu = |nanoseconds: f64| percent(nanoseconds / (cpu * 1_000.0));
        let Some(statistics) = self.packets.statistics() else {
            return Some(format!(
                "the programs take {all:.0} ns a request with the kernel's statistics, {} of its {cpu:.1} µs of CPU time",
                of_cpu(all)
            ));
        };
        let own = all - statistics * runs.runs_a_request();
        Some(format!(
            "the programs take {own:.0} ns a request without the kernel's statistics of {statistics:.0} ns a run, {} of its \
             {cpu:.1} µs of CPU time",
            of_cpu(own)
        ))
    }

    /// Returns the report for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("Single packets (BPF_PROG_TEST_RUN), medians{}\n", self.statistics_remark());
        text += &self.packet_table().text();
        for runs in &self.runs {
            let path = runs.path.name();
            let _ = writeln!(text, "\nUnder load, {path}, including the overhead of the kernel's statistics");
            text += &run_table(runs).text();
            let _ = writeln!(text, "{}", packets_sentence(runs));
        }
        for path in TrafficPath::ALL {
            let _ = writeln!(text, "\nThroughput, {}", path.name());
            text += &self.pair_table(path).text();
        }
        let _ = writeln!(text, "load of the machine {} … {}", self.load_average[0], self.load_average[1]);
        text + &self.verdicts().join("\n") + "\n"
    }

    /// Returns the report for `docs/experiments/`.
    pub fn markdown(&self, command: &str) -> String {
        let mut text = format!("# {}: What the probe costs\n\n", date("+%F"));
        let _ = writeln!(
            text,
            "**Question.** How much throughput does the probe cost at full speed? At most {} is the goal. What do similar tools \
             cost?\n\n**Answer.**\n\n- {}\n\n**Command.** `{command}`\n\n{}; load average {} before, {} after.\n\n\
             ## Throughput directly on one shard\n",
            percent(GOAL),
            self.verdicts().join("\n- "),
            machine::describe(),
            self.load_average[0],
            self.load_average[1]
        );
        let _ = writeln!(
            text,
            "`load saturate` directly on one shard without its capacity model: {CONNECTIONS} connections, one request at a time each, \
             {1} uniform\nkeys. A server without any work of its own is the worst case.\n\n\
             - **Root cgroup and other tools.** A pair is {0} requests with the watcher and as many without, in two runs each. The seed {3}\n\
             \u{20} determines the order. There are {2} rounds, each with a pair of every watcher.\n\
             - **The shards' cgroup.** A pair is two labs next to each other, new for every pair: {0} requests to each ({STRAIGHT} times as many\n\
             \u{20} directly), in {4} alternating slices. Each lab is the watched one in half of them. The watcher's process works during both\n\
             \u{20} labs' slices, so its CPU share is added to the loss.\n\
             - **Loss** is 1 − with ⁄ without, by pair. No pair is left out. A negative loss is more throughput with the watcher.\n\
             - **CPU time** is that of generator, gateway, shards and watcher for a request. Other work on the machine disturbs it less.\n\
             - In the rows of two labs, the watcher is older than the gateway's connections, as in the lab. In the others it is newer.\n\
             - The last column is half a pair, including the slices of the warm-up.\n",
            thousands(self.requests),
            thousands(u64::from(UNIFORM.keys)),
            self.pairs,
            self.seed,
            self.slices
        );
        text += &self.pair_table(TrafficPath::Straight).markdown();
        text.push('\n');
        let watchers = self.rows.iter().filter(|row| row.path == TrafficPath::Straight);
        let rows =
            watchers.map(|row| vec![row.watcher.name().to_owned(), row.watcher.what().replace("||", "or")]);
        text +=
            &Table { headings: &["watcher", "what it is"], numbers: 0..0, rows: rows.collect() }.markdown();
        let _ = writeln!(
            text,
            "\nThe probe counts requests. `nftables` and `tcpdump` count packets, `bpftrace` received segments. None of them knows a request,\n\
             a key or a latency.\n\n\
             ## Throughput through the gateway\n\nFrom the generator to the gateway and from there to four shards, without capacity model.\n"
        );
        text += &self.pair_table(TrafficPath::Gateway).markdown();
        let _ = writeln!(
            text,
            "\n## Throughput through the gateway, the lab's keys\n\nThe same with the keys of the scenario `zipfian`: {}, exponent \
             1.5. Their sets in the table of keys stay in a CPU cache.\n",
            thousands(u64::from(ZIPFIAN.keys))
        );
        text += &self.pair_table(TrafficPath::Lab).markdown();
        let _ = writeln!(
            text,
            "\n## Throughput through the gateway by k6, the lab's keys\n\nThe same by {}: as many virtual users as there were connections, in \
             {K6_FEWER} times fewer, longer slices.\nCPU time is that of gateway and shards alone. k6 itself takes most of the CPU time, so gateway, shards \
             and probe have a smaller share of it.\n",
            self.k6.as_deref().unwrap_or("k6")
        );
        text += &self.pair_table(TrafficPath::K6).markdown();
        text.push_str("\n## Nanoseconds by request\n");
        for runs in &self.runs {
            let _ = writeln!(text, "\n{}, {} requests:\n", runs.path.name(), thousands(runs.requests));
            text += &run_table(runs).markdown();
            let _ = writeln!(text, "\n{}.", packets_sentence(runs));
        }
        text.push_str(
            "\nFrom `probe_program_runs_total` and `…_run_seconds_total` with `PROGRAM_STATS=on`, on the root cgroup. On loopback each packet\n\
             is seen twice, at the shard and at its client. The clock of the statistics is included here.\n\n## Nanoseconds by packet\n\n",
        );
        text += &self.packet_table().markdown();
        let _ = writeln!(
            text,
            "\n`BPF_PROG_TEST_RUN` on programs that are not attached{}: medians over 9 calls of 200,000 runs, or over 2,000 calls of one\n\
             run. `(empty)` does nothing and shows the overhead of the measurement. A request is new only once on a socket. So its rows\n\
             have one run a call, with a new socket, its storage to be created, and cold caches.\n",
            self.statistics_remark()
        );
        if let Some(further) = self.packets.further_request("ingress") {
            let _ = writeln!(
                text,
                "Each of the further 20 requests takes `ingress` {further:.0} ns (difference of the two rows, by 20).\n"
            );
        }
        let _ = writeln!(text, "An answer's row lacks the latency, because no request came on its socket.");
        text
    }

    /// Returns the report as JSON.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "watcher": row.watcher.name(),
                "way": row.path,
                "what": row.watcher.what(),
                "loss": row.loss(),
                "pairs": row.pairs,
                "counted": row.counted,
                "absent": row.absent,
            })
        });
        json!({
            "machine": machine::describe(),
            "load_average": self.load_average,
            "requests": self.requests,
            "slices": self.slices,
            "k6": self.k6,
            "seed": self.seed,
            "verdicts": self.verdicts(),
            "throughput": rows.collect::<Vec<_>>(),
            "under_load": self.runs,
            "packets": self.packets,
        })
    }

    fn pair_table(&self, path: TrafficPath) -> Table<'_> {
        let rows = self.rows.iter().filter(|row| row.path == path).map(|row| row.cells().to_vec()).collect();
        Table { headings: &PAIR_HEADINGS, numbers: 1..6, rows }
    }

    fn packet_table(&self) -> Table<'_> {
        let costs = self.packets.costs.iter().map(|cost| {
            let with =
                cost.with_statistics.map_or_else(|| "–".to_owned(), |with| format!("{:.0}", with.median));
            vec![
                cost.program.to_owned(),
                cost.packet.to_owned(),
                thousands(u64::from(cost.repetitions)),
                format!("{:.0}", cost.nanoseconds.median),
                with,
            ]
        });
        Table { headings: &PACKET_HEADINGS, numbers: 2..5, rows: costs.collect() }
    }

    fn statistics_remark(&self) -> &'static str {
        if self.packets.never_without_statistics {
            " (another process enabled the kernel's statistics, so every column includes them)"
        } else {
            ""
        }
    }
}

fn run_table(runs: &Runs) -> Table<'static> {
    let programs = runs.programs.iter().map(|program| {
        #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
        let often = runs.per_request(program.runs as f64);
        let (a_run, a_request) = (program.per_run(), runs.per_request(program.nanoseconds));
        vec![program.program.clone(), format!("{often:.3}"), format!("{a_run:.0}"), format!("{a_request:.0}")]
    });
    let all = format!("{:.0}", runs.nanoseconds_a_request());
    let rows = programs.chain([vec!["all".into(), String::new(), String::new(), all]]).collect();
    Table { headings: &RUN_HEADINGS, numbers: 1..4, rows }
}

fn packets_sentence(runs: &Runs) -> String {
    #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
    let a_request = |packets: u64| runs.per_request(packets as f64);
    format!(
        "A request is {:.2} packets to a shard and {:.2} from it",
        a_request(runs.packets_to_shard),
        a_request(runs.packets_from_shard)
    )
}
