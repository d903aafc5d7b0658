//! What the run gave: tables and a verdict for a terminal, Markdown for `docs/experiments/`, JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;

use super::generator::{ALIKE, CONNECTIONS, ZIPFIAN};
use super::packets::Packets;
use super::pairs::{K6_FEWER, Pair, STRAIGHT, Spread, processors};
use super::runs::Runs;
use super::stand::Way;
use super::watcher::Watcher;
use crate::accuracy::report::{date, machine, thousands};

/// The largest loss of throughput that is asked for.
const ASKED_FOR: f64 = 0.02;

/// All figures.
#[derive(Clone, Debug)]
pub struct Report {
    /// By program and packet.
    pub packets: Packets,
    /// By program and request, one for each way.
    pub runs: Vec<Runs>,
    /// By watcher.
    pub rows: Vec<Row>,
    /// Pairs asked for.
    pub pairs: u32,
    /// Requests with a watcher and as many without, in each pair.
    pub requests: u64,
    /// Slices of each lab, of those that are side by side.
    pub slices: u64,
    /// Of the order of runs.
    pub seed: u64,
    /// Which k6, if there was one.
    pub k6: Option<String>,
    /// Load of the machine before and after, over a minute.
    pub load_average: [String; 2],
}

/// One watcher.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub watcher: Watcher,
    /// Where the requests went.
    pub way: Way,
    /// Its pairs.
    pub pairs: Vec<Pair>,
    /// What it said it had counted in each run, which is of half of the requests.
    pub counted: Vec<String>,
    /// Why there are none.
    pub absent: Option<String>,
}

impl Row {
    /// Without pairs yet.
    #[must_use]
    pub const fn new(watcher: Watcher, way: Way) -> Self {
        Self { watcher, way, pairs: Vec::new(), counted: Vec::new(), absent: None }
    }

    /// Of the losses.
    #[must_use]
    pub fn loss(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(Pair::loss).collect())
    }

    /// Of the processor time that it took.
    #[must_use]
    pub fn more_cpu(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(Pair::more_cpu).collect())
    }

    /// Of the shares that the watcher's own process took.
    fn own_share(&self) -> Option<f64> {
        Some(Spread::of(self.pairs.iter().map(|pair| pair.own_share).collect())?.median)
    }

    /// Microseconds of processor time for a request, without the watcher.
    fn cpu_without(&self) -> Option<f64> {
        Some(Spread::of(self.pairs.iter().map(|pair| pair.without.cpu_microseconds).collect())?.median)
    }

    /// Requests a second without the watcher.
    fn per_second_without(&self) -> Option<f64> {
        Some(Spread::of(self.pairs.iter().map(|pair| pair.without.per_second).collect())?.median)
    }

    fn not_measured(&self) -> String {
        format!("not measured: {}", self.absent.as_deref().unwrap_or("no pair"))
    }

    fn cells(&self) -> [String; 7] {
        let name = self.watcher.name().to_owned();
        let (Some(loss), Some(cpu)) = (self.loss(), self.more_cpu()) else {
            let mut cells = [const { String::new() }; 7].map(|_| "–".to_owned());
            cells[0] = name;
            cells[6] = self.not_measured();
            return cells;
        };
        [
            name,
            percent(loss.median),
            format!("{} … {}", percent(loss.lower), percent(loss.upper)),
            format!("{} … {}", percent(loss.least), percent(loss.most)),
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
    "more processor time (quartiles)",
    "req/s without",
    "counted in its last run",
];
const RUN_HEADINGS: [&str; 4] = ["program", "runs a request", "ns a run", "ns a request"];
const PACKET_HEADINGS: [&str; 5] = ["program", "packet", "runs a call", "ns a run", "with statistics"];

impl Report {
    /// The probe's own lines, one or two for each way that requests take: whether it costs as little as is asked for.
    #[must_use]
    pub fn verdicts(&self) -> Vec<String> {
        let probes = [Watcher::Probe, Watcher::ProbeOnShards];
        let rows = Way::ALL.into_iter().flat_map(|way| probes.map(|probe| self.row(way, probe)));
        rows.flatten().map(|row| self.verdict(row)).collect()
    }

    fn row(&self, way: Way, watcher: Watcher) -> Option<&Row> {
        self.rows.iter().find(|row| row.watcher == watcher && row.way == way)
    }

    fn verdict(&self, row: &Row) -> String {
        let (way, probe) = (row.way, row.watcher);
        let what = format!("{}, {}", way.name(), probe.name());
        let Some(loss) = row.loss() else {
            return format!("{what}: {}", row.not_measured());
        };
        let verdict = if loss.median <= ASKED_FOR { "HOLDS" } else { "DOES NOT HOLD" };
        let mut text = format!(
            "{what}: median loss of throughput {} over {} pairs (quartiles {} … {}); asked for: at most {}: {verdict}",
            percent(loss.median),
            self.pairs,
            percent(loss.lower),
            percent(loss.upper),
            percent(ASKED_FOR),
        );
        if probe.is_side_by_side()
            && let Some(own) = row.own_share()
        {
            let _ = write!(text, "; the {} of its own process are in it", percent(own));
        }
        if way == Way::K6
            && let (Some(cpu), Some(rate)) = (row.cpu_without(), row.per_second_without())
        {
            let all = processors() * 1e6 / rate;
            let _ = write!(
                text,
                "; of the {all:.0} µs that the processors have for a request, gateway and shards take {cpu:.0}"
            );
        }
        let (watcher, equal) = if probe.is_side_by_side() {
            (Watcher::EqualLabs, "two equal labs")
        } else {
            (Watcher::Nothing, "two equal runs")
        };
        if let Some(nothing) = self.row(way, watcher).and_then(Row::loss) {
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

    /// What the programs take of a request's processor time, on the way of the probe's row.
    fn share(&self, row: &Row) -> Option<String> {
        let runs = self.runs.iter().find(|runs| runs.way == row.way)?;
        let (all, cpu) = (runs.nanoseconds_a_request(), row.cpu_without()?);
        let of_cpu = |nanoseconds: f64| percent(nanoseconds / (cpu * 1_000.0));
        let Some(statistics) = self.packets.statistics() else {
            return Some(format!(
                "the programs take {all:.0} ns a request, the kernel's statistics included: {} of its {cpu:.1} µs of \
                 processor time",
                of_cpu(all)
            ));
        };
        let own = all - statistics * runs.runs_a_request();
        Some(format!(
            "the programs take {own:.0} ns a request, without the kernel's statistics of {statistics:.0} ns a run: {} of its \
             {cpu:.1} µs of processor time",
            of_cpu(own)
        ))
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("Single packets (BPF_PROG_TEST_RUN), medians{}\n", self.statistics_remark());
        text += &plain(&PACKET_HEADINGS, &self.packet_rows());
        for runs in &self.runs {
            let way = runs.way.name();
            let _ = writeln!(text, "\nUnder load, {way}, with the kernel's statistics and what they cost");
            text += &plain(&RUN_HEADINGS, &run_rows(runs));
            let _ = writeln!(text, "{}", packets_sentence(runs));
        }
        for way in Way::ALL {
            let _ = writeln!(text, "\nThroughput, {}", way.name());
            text += &plain(&PAIR_HEADINGS, &self.pair_rows(way));
        }
        let _ = writeln!(text, "load of the machine {} … {}", self.load_average[0], self.load_average[1]);
        text + &self.verdicts().join("\n") + "\n"
    }

    /// For `docs/experiments/`.
    #[must_use]
    pub fn markdown(&self, command: &str) -> String {
        let mut text = format!("# {}: what the probe costs\n\n", date("+%F"));
        let _ = writeln!(
            text,
            "{}; load average {} before, {} after.\n\n`{command}`\n\n\
             **Question.** What does the probe take from a shard that runs as fast as it can, and from the lab as it is used; and\n\
             what would the nearest other tools take? At most 2 % of the throughput is asked for.\n\n**Answer.**\n\n- {}\n\n\
             ## Throughput straight on one shard\n",
            machine(),
            self.load_average[0],
            self.load_average[1],
            self.verdicts().join("\n- ")
        );
        let _ = writeln!(
            text,
            "`load saturate` straight on one shard with its capacity model off, {CONNECTIONS} connections, one request at a\n\
             time each, over {1} keys read alike. {2} pairs for each watcher: {0} requests with it and as many without, in two runs each (without,\n\
             with, with, without, or the other way round), half a second after its start, in an order that the seed {3} determines; each round has a pair of\n\
             every watcher. Loss = 1 − with ⁄ without, by pair; no pair is left out. Less than 0 is more throughput with than\n\
             without. Processor time is that of generator, gateway, shards and\n\
             watcher for a request: less of it is left to others, and other work on the machine disturbs it less.\n\n\
             The rows of the shards' cgroup, and of two equal labs, are of two labs side by side, new ones for every pair: {0} requests\n\
             to each ({STRAIGHT} times as many straight on one shard), in {4} slices each that alternate (by `load` within a second), so that a\n\
             machine that changes its speed does so for both; either lab is the watched one in half of them. The watcher's own process\n\
             works in both labs' slices: its share of the machine's processor time is added to the loss, and is not in the column of\n\
             processor time.\n\n\
             In these rows, as in the lab, the watcher is there before the gateway's connections to the shards; in the others, and in the nanoseconds by\n\
             request below, some or all of these are older. The last column is of half a pair, the slices that warm a lab up included. Each slice opens {CONNECTIONS} connections\n\
             to the gateway or to the shard. A probe's own share is read in steps of 10 ms; what the shards take to answer its readings is\n\
             in both labs' slices.\n",
            thousands(self.requests),
            thousands(u64::from(ALIKE.keys)),
            self.pairs,
            self.seed,
            self.slices
        );
        text += &table(&PAIR_HEADINGS, 1..6, &self.pair_rows(Way::Straight));
        text.push('\n');
        for row in self.rows.iter().filter(|row| row.way == Way::Straight) {
            let _ = writeln!(text, "- **{}**: {}", row.watcher.name(), row.watcher.what());
        }
        let _ = writeln!(
            text,
            "\nThe probe counts requests; `nftables` and `tcpdump` count packets, `bpftrace` received segments: none of them knows\n\
             a request, a key or a latency. Where `bpftrace` finds no tracefs mounted it gets one in a mount namespace of its\n\
             own. A server that does nothing but answer is the worst case: all that a request takes is the kernel's own way.\n\n\
             ## Throughput through the gateway\n\nThe same, from the generator to the gateway and from there to four shards, whose capacity \
             model is off too.\n"
        );
        text += &table(&PAIR_HEADINGS, 1..6, &self.pair_rows(Way::Gateway));
        let _ = writeln!(
            text,
            "\n## Throughput through the gateway, the lab's keys\n\nThe same with the keys of the scenario `zipfian`: {}, exponent \
             1.5. The set of a request's key in the\ntable of keys is in a cache then.\n",
            thousands(u64::from(ZIPFIAN.keys))
        );
        text += &table(&PAIR_HEADINGS, 1..6, &self.pair_rows(Way::Lab));
        let _ = writeln!(
            text,
            "\n## Throughput through the gateway by k6, the lab's keys\n\nThe same asked for by {}: as many users as there were \
             connections, each with one request\nat a time; the lab's own scripts ask at set rates, far below this. As many requests, in {K6_FEWER} times \
             fewer slices, longer\nones; the labs are warmed up by `load saturate`. Processor time is that of gateway and shards \
             alone: what k6 takes is less\nof the processors for them, and makes the share of what they take, and of what the probe takes, a smaller one.\n",
            self.k6.as_deref().unwrap_or("k6")
        );
        text += &table(&PAIR_HEADINGS, 1..6, &self.pair_rows(Way::K6));
        text.push_str("\n## Nanoseconds by request\n");
        for runs in &self.runs {
            let _ = writeln!(text, "\n{}, {} requests:\n", runs.way.name(), thousands(runs.requests));
            text += &table(&RUN_HEADINGS, 1..4, &run_rows(runs));
            let _ = writeln!(text, "\n{}.", packets_sentence(runs));
        }
        text.push_str(
            "\n`probe_program_runs_total` and `…_run_seconds_total` with `PROGRAM_STATS=on`. The programs see every packet of the\n\
             cgroup, here the root's: on loopback each one twice, on the shard's side and on its client's. The kernel's statistics measure their\n\
             own clock along with each run: in these tables nothing is taken off. Above, each run's share is: what the statistics\n\
             add to a packet of another port, in the table below.\n\n## Nanoseconds by packet\n\n",
        );
        text += &table(&PACKET_HEADINGS, 2..5, &self.packet_rows());
        let _ = writeln!(
            text,
            "\n`BPF_PROG_TEST_RUN`, programs not attached{}: medians over 9 calls of 200,000 runs, or over 2,000 calls of one\n\
             run. `(empty)` does nothing: so much of the other figures is the measurement's own. All runs of a call have one\n\
             socket, on which a request is new only once: hence one run a call for requests, with a new socket, its storage to\n\
             be made, a cold cache and the clock's own cost included.\n",
            self.statistics_remark()
        );
        if let Some(further) = self.packets.further_request("ingress") {
            let _ = writeln!(
                text,
                "Each of the further 20 requests takes `ingress` {further:.0} ns (difference of the two rows, by 20).\n"
            );
        }
        let _ = writeln!(
            text,
            "An answer's row is without the latency's reckoning, as no request came on its socket."
        );
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "watcher": row.watcher.name(),
                "way": row.way,
                "what": row.watcher.what(),
                "loss": row.loss(),
                "pairs": row.pairs,
                "counted": row.counted,
                "absent": row.absent,
            })
        });
        json!({
            "machine": machine(),
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

    fn pair_rows(&self, way: Way) -> Vec<Vec<String>> {
        self.rows.iter().filter(|row| row.way == way).map(|row| row.cells().to_vec()).collect()
    }

    fn packet_rows(&self) -> Vec<Vec<String>> {
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
        costs.collect()
    }

    fn statistics_remark(&self) -> &'static str {
        if self.packets.never_without_statistics {
            " (another process had the kernel's statistics on meanwhile: no column is without them)"
        } else {
            ""
        }
    }
}

fn run_rows(runs: &Runs) -> Vec<Vec<String>> {
    let programs = runs.programs.iter().map(|program| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let often = runs.per_request(program.runs as f64);
        let (a_run, a_request) = (program.per_run(), runs.per_request(program.nanoseconds));
        vec![program.program.clone(), format!("{often:.3}"), format!("{a_run:.0}"), format!("{a_request:.0}")]
    });
    let all = format!("{:.0}", runs.nanoseconds_a_request());
    programs.chain([vec!["all".into(), String::new(), String::new(), all]]).collect()
}

fn packets_sentence(runs: &Runs) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let a_request = |packets: u64| runs.per_request(packets as f64);
    format!(
        "A request is {:.2} packets to a shard and {:.2} from it",
        a_request(runs.packets_to_shard),
        a_request(runs.packets_from_shard)
    )
}

/// The machine's load over the last minute.
#[must_use]
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn percent(share: f64) -> String {
    // No "-0.0".
    let tenths = (share * 1_000.0).round() / 10.0 + 0.0;
    format!("{tenths:.1} %")
}

pub(crate) fn plain(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(headings.iter().map(|&text| text.to_owned()).collect())
        .chain(rows.to_vec())
        .collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..headings.len()).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

pub(crate) fn table(headings: &[&str], numbers: std::ops::Range<usize>, rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("| {} |\n|", headings.join(" | "));
    for at in 0..headings.len() {
        text += if numbers.contains(&at) { "--:|" } else { "---|" };
    }
    text.push('\n');
    text + &rows.iter().map(|row| line(row)).collect::<String>()
}
