//! The results, for a terminal and as a page with plots.

use std::fmt::Write as _;

use super::Options;
use super::figures::{LatencyPair, Measured, Percentiles, Ratio, RowFigures, Slice};
use super::goals::{self, Verdict};
use super::row::Row;
use super::server::{CACHE_BYTES, open_file_cache};
use super::side::{Peers, Side, TrafficPath};
use crate::experiment::chart::{Chart, Mark};
use crate::experiment::report::File;
use crate::machine::{date, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, capital, percent, thousands};

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) options: Options,
    pub(super) figures: Vec<RowFigures>,
    pub(super) cpu_source: &'static str,
    pub(super) versions: Vec<String>,
    /// Load average of the machine over a minute, before and after.
    pub(super) load_average: [String; 2],
}

const SIDE_HEADINGS: [&str; 7] =
    ["row", "server", "requests/s", "CPU, µs a request", "memory, MiB", "hits", "answer, bytes: head + body"];
const RATIO_HEADINGS: [&str; 6] = [
    "path",
    "row",
    "gateway ⁄ peer",
    "requests/s (quartiles)",
    "CPU a request (quartiles)",
    "p99 (quartiles)",
];
const GOAL_HEADINGS: [&str; 4] = ["goal", "allowed", "gateway ⁄ peer (quartiles)", "met"];
const LATENCY_HEADINGS: [&str; 10] = [
    "path",
    "peer",
    "requests/s",
    "p50, ms",
    "of the peer",
    "p99, ms",
    "of the peer",
    "p99.9, ms",
    "of the peer",
    "sent late",
];

impl Report {
    /// Returns the ratios of all rows.
    pub fn ratios(&self) -> Vec<Ratio> {
        self.figures.iter().flat_map(RowFigures::ratios).collect()
    }

    /// Returns the report for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for path in TrafficPath::ALL {
            let _ = writeln!(text, "{}\n{}", path.name(), self.side_table(path).text());
        }
        let tables = [self.ratio_table(), self.latency_table(), self.goal_table()];
        text + &tables.map(|table| table.text()).join("\n")
    }

    /// Returns the files for `docs/benchmarks/`: the page first, then its plots.
    pub fn files(&self) -> Vec<File> {
        let base = match self.options.peers {
            Peers::Servers => format!("{}-gateway", date("+%F")),
            Peers::Release => format!("{}-gateway-profile", date("+%F")),
        };
        let mut files = Vec::new();
        let mut page = self.head();
        let _ = writeln!(
            page,
            "## Ratios\n\nFor requests/s more than 1 is better, for the others less than 1.\n\n{}",
            self.ratio_table().markdown()
        );
        for path in TrafficPath::ALL {
            let _ = writeln!(page, "## {}\n", capital(path.name()));
            for chart in [
                self.chart(path, "CPU time", "CPU µs a request", |slice| slice.cpu),
                self.chart(path, "Throughput", "requests/s", |slice| slice.per_second),
            ] {
                let name = format!("{base}-{}.svg", files.len() + 1);
                let _ = writeln!(page, "![{}]({name})\n", chart.title);
                files.push(File { name, content: chart.svg() });
            }
            let _ = writeln!(page, "{}", self.side_table(path).markdown());
        }
        if self.figures.iter().any(|figures| !figures.latencies.is_empty()) {
            let _ = writeln!(
                page,
                "## Latency\n\nOpen loop at 80 % of the slower server's throughput in the same round, in the base row. A \
                 latency begins when the request is due. Medians over the rounds. *Sent late* is the share of requests that \
                 the generator sent more than 1 ms late although a connection was free.\n\n{}",
                self.latency_table().markdown()
            );
        }
        page += &self.method();
        files.insert(0, File { name: format!("{base}.md"), content: page });
        files
    }

    fn head(&self) -> String {
        let Options { pairs, slice_seconds, seed, .. } = &self.options;
        let (title, goals, option) = match self.options.peers {
            Peers::Servers => {
                ("The gateway beside nginx, HAProxy and Varnish", self.goal_table().markdown(), "")
            }
            Peers::Release => {
                ("The gateway beside its build with profile release", String::new(), " --release")
            }
        };
        format!(
            "# {}: {title}\n\n\
             **Question.** How much CPU time does a request take, and how many requests a second does the server \
             answer?\n\n\
             **Answer.** {}\n\n{goals}\n\
             **Command.** `cargo xtask bench gateway{option} --pairs {pairs} --slice {slice_seconds} --seed {seed}{}`\n\n\
             {}; load average {} before, {} after; profile `{}`; {}.\n\n",
            date("+%F"),
            self.answer(),
            if self.options.rows.len() == Row::count() {
                String::new()
            } else {
                format!(" --rows {}", self.row_names())
            },
            describe(),
            self.load_average[0],
            self.load_average[1],
            self.options.profile(),
            self.versions.join("; ")
        )
    }

    fn verdicts(&self) -> Vec<Verdict> {
        goals::verdicts(&self.ratios())
    }

    fn answer(&self) -> String {
        if self.options.peers == Peers::Release {
            let of = |ratio: &Ratio| {
                format!("{:.2} ({} {})", ratio.cpu.median, ratio.path.name(), ratio.row.name())
            };
            let all: Vec<String> = self.ratios().iter().map(of).collect();
            return format!("Its CPU time a request, as a part of the other's: {}.", all.join(", "));
        }
        let verdicts = self.verdicts();
        let met = verdicts.iter().filter(|verdict| verdict.is_met).count();
        format!("The gateway meets {met} of {} goals.", verdicts.len())
    }

    fn goal_table(&self) -> Table<'_> {
        let cells = |verdict: Verdict| {
            let met = if verdict.is_met { "yes" } else { "no" };
            vec![verdict.what, verdict.allowed, interval(verdict.ratio), met.to_owned()]
        };
        let rows = self.verdicts().into_iter().map(cells).collect();
        Table { headings: &GOAL_HEADINGS, numbers: 1..3, rows }
    }

    fn method(&self) -> String {
        let configurations = ["nginx-proxied.conf", "nginx-cached.conf", "haproxy.cfg", "varnish.vcl"]
            .map(|name| format!("[{name}](../../measure/peers/{name})"))
            .join(", ");
        let of_servers = match self.options.peers {
            Peers::Servers => format!(
                "- Every shard has all keys, because each server places keys in its own way.\n\
                 - A worker of nginx keeps {} files open, by this machine's limit of open files. The tmpfs of its \
                 cache is a part of its memory.\n\n\
                 The configurations of the peers: {configurations}.\n",
                thousands(open_file_cache())
            ),
            Peers::Release => String::new(),
        };
        format!(
            "## Method\n\n\
             - The base row has one key, a value of 1,024 bytes and 64 connections. Each other row differs in one \
             thing.\n\
             - {} rounds. A round has a slice of {} s on each server, in random order. A ratio is that of one round.\n\
             - Every round starts new servers. The row with 1,000,000 keys keeps its servers, because their caches \
             take long to fill.\n\
             - The load generator of the slices is wrk with one thread. It runs on the same machine and bounds the \
             fastest slices.\n\
             - All servers use the same four shards, without their capacity model. All caches hold all keys: {} GiB \
             each, with a time to live of a day.\n\
             - The gateway has its default settings: key statistics, metrics and verdict are on.\n\
             - CPU time is that of all processes of the server, from {}. The shards and wrk are not in it.\n\
             - Memory is the sum of the proportional set sizes.\n\
             - Hits are the share of requests that no shard received, by the shards' own count.\n\
             - A run ends with an error if any answer is not 200.\n{of_servers}",
            self.options.pairs,
            self.options.slice_seconds,
            CACHE_BYTES >> 30,
            self.cpu_source
        )
    }

    fn row_names(&self) -> String {
        self.options.rows.iter().map(|row| row.name()).collect::<Vec<_>>().join(",")
    }

    fn of(&self, path: TrafficPath) -> impl Iterator<Item = &RowFigures> {
        self.figures.iter().filter(move |figures| figures.path == path)
    }

    fn side_table(&self, path: TrafficPath) -> Table<'_> {
        let rows = self.of(path).flat_map(|figures| figures.sides.iter().map(|side| side.cells(figures.row)));
        Table { headings: &SIDE_HEADINGS, numbers: 2..7, rows: rows.collect() }
    }

    fn ratio_table(&self) -> Table<'_> {
        let cells = |ratio: Ratio| {
            vec![
                ratio.path.name().to_owned(),
                ratio.row.name(),
                ratio.peer.name().to_owned(),
                interval(ratio.requests),
                interval(ratio.cpu),
                ratio.p99.map_or_else(|| "–".to_owned(), interval),
            ]
        };
        let rows = self.ratios().into_iter().map(cells).collect();
        Table { headings: &RATIO_HEADINGS, numbers: 3..6, rows }
    }

    fn latency_table(&self) -> Table<'_> {
        let mut rows = Vec::new();
        for figures in &self.figures {
            for side in figures.sides.iter().skip(1) {
                let pairs: Vec<&LatencyPair> =
                    figures.latencies.iter().filter(|pair| pair.peer == side.side).collect();
                let median = |of: &dyn Fn(&LatencyPair) -> f64| {
                    Quartiles::of(pairs.iter().map(|pair| of(pair))).map_or(0.0, |of| of.median)
                };
                if pairs.is_empty() {
                    continue;
                }
                let mut cells = vec![figures.path.name().to_owned(), side.side.name().to_owned()];
                cells.push(thousands(median(&|pair| pair.rate) as u64));
                let percentiles: [fn(&Percentiles) -> f64; 3] = [|of| of.p50, |of| of.p99, |of| of.p999];
                for percentile in percentiles {
                    cells.push(format!("{:.2}", median(&|pair| percentile(&pair.ours))));
                    cells.push(format!("{:.2}", median(&|pair| percentile(&pair.theirs))));
                }
                cells.push(percent(median(&|pair| pair.ours.late.max(pair.theirs.late))));
                rows.push(cells);
            }
        }
        Table { headings: &LATENCY_HEADINGS, numbers: 2..10, rows }
    }

    fn chart(&self, path: TrafficPath, title: &str, axis: &str, figure: fn(&Slice) -> f64) -> Chart {
        let sides = path.sides(self.options.peers);
        let marks = |figures: &RowFigures| {
            let mark = |(series, side): (usize, &Side)| {
                let measured = figures.sides.iter().find(|measured| measured.side == *side)?;
                let of = measured.quartiles(figure)?;
                Some(Mark { series, value: of.median, range: (of.lower, of.upper) })
            };
            let marks: Vec<Mark> = sides.iter().enumerate().filter_map(mark).collect();
            (figures.row.name(), marks)
        };
        Chart {
            title: format!("{title}, {}: median and quartiles", path.name()),
            axis: axis.to_owned(),
            series: sides.iter().map(|side| side.name()).collect(),
            rows: self.of(path).map(marks).collect(),
        }
    }
}

impl Measured {
    fn cells(&self, row: Row) -> Vec<String> {
        let median = |figure| self.quartiles(figure).map_or(0.0, |of| of.median);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
        let memory = median(|slice| slice.memory as f64);
        vec![
            row.name(),
            self.side.name().to_owned(),
            thousands(median(|slice| slice.per_second) as u64),
            format!("{:.1}", median(|slice| slice.cpu)),
            thousands((memory / f64::from(1 << 20)).round() as u64),
            percent(median(|slice| slice.hits)),
            format!("{} + {}", self.answer.head, thousands(self.answer.body as u64)),
        ]
    }
}

pub(super) fn interval(of: Quartiles) -> String {
    format!("{:.2} ({:.2} … {:.2})", of.median, of.lower, of.upper)
}
