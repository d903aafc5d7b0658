//! The results of the growth measurement, for a terminal and as a page with plots.

use std::fmt::Write as _;

use super::Options;
use super::figures::Slice;
use super::growth_point::{ACTIVE, Axis, KEYS, Point};
use super::growth_probe::{ProbePoint, ProbeSample};
use super::report::interval;
use super::side::Side;
use crate::experiment::chart::{Chart, Mark};
use crate::experiment::report::File;
use crate::machine::{date, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, thousands};

const HEADINGS: [&str; 7] = [
    "server",
    "what grows",
    "size",
    "CPU, µs a request (quartiles)",
    "of the smallest (quartiles)",
    "requests/s",
    "memory, MiB",
];

const PROBE_HEADINGS: [&str; 5] = [
    "shards",
    "requests/s",
    "CPU, µs a second (quartiles)",
    "memory of the process, MiB (quartiles)",
    "memory of its kernel maps, MiB",
];

/// A figure of a probe's sample.
type Figure = fn(&ProbeSample) -> f64;

impl ProbePoint {
    fn quartiles(&self, figure: Figure) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().map(figure))
    }
}

/// The goal: the largest ratio to the smallest size.
const GOAL: f64 = 1.11;

/// The results.
#[derive(Clone, Debug)]
pub struct GrowthReport {
    pub(super) options: Options,
    pub(super) points: Vec<Point>,
    pub(super) probes: Vec<ProbePoint>,
    pub(super) versions: Vec<String>,
    /// Load average of the machine over a minute, before and after.
    pub(super) load_average: [String; 2],
}

impl GrowthReport {
    fn of(&self, axis: Axis) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.axis == axis)
    }

    /// Returns the ratio of a point's CPU time to that of the server's smallest size.
    fn ratio(&self, point: &Point) -> Option<Quartiles> {
        let smallest = self.of(point.axis).find(|small| small.side == point.side)?;
        let rounds = point.slices.iter().zip(&smallest.slices);
        Quartiles::of(rounds.map(|(slice, small)| slice.cpu / small.cpu))
    }

    fn answer(&self) -> String {
        let points = self.points.iter().filter(|point| point.side == Side::Gateway);
        let ratios: Vec<Quartiles> = points.filter_map(|point| self.ratio(point)).collect();
        let within = ratios.iter().filter(|ratio| ratio.median <= GOAL).count();
        format!(
            "{within} of {} sizes cost the gateway at most {GOAL} times the CPU time of the smallest",
            ratios.len()
        )
    }

    fn table(&self) -> Table<'_> {
        let rows = self.points.iter().filter_map(|point| {
            let quartiles = |of: fn(&Slice) -> f64| Quartiles::of(point.slices.iter().map(of));
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
            let memory = quartiles(|slice| slice.memory as f64)?.median / f64::from(1 << 20);
            Some(vec![
                point.side.name().to_owned(),
                point.axis.name().to_owned(),
                thousands(u64::from(point.size)),
                interval(quartiles(|slice| slice.cpu)?),
                interval(self.ratio(point)?),
                thousands(quartiles(|slice| slice.per_second)?.median as u64),
                thousands(memory.round() as u64),
            ])
        });
        Table { headings: &HEADINGS, numbers: 2..7, rows: rows.collect() }
    }

    fn chart(&self, axis: Axis) -> Chart {
        let mut sides: Vec<Side> = self.of(axis).map(|point| point.side).collect();
        sides.dedup();
        let sizes = self.of(axis).filter(|point| point.side == Side::Gateway).map(|point| point.size);
        let rows = sizes.map(|size| {
            let marks = sides.iter().enumerate().filter_map(|(series, side)| {
                let point = self.of(axis).find(|point| point.side == *side && point.size == size)?;
                let of = Quartiles::of(point.slices.iter().map(|slice| slice.cpu))?;
                Some(Mark { series, value: of.median, range: (of.lower, of.upper) })
            });
            (format!("{} {}", thousands(u64::from(size)), axis.name()), marks.collect())
        });
        Chart {
            title: format!("CPU time by number of {}: median and quartiles", axis.name()),
            axis: "CPU µs a request".to_owned(),
            rows: rows.collect(),
            series: sides.iter().map(|side| side.name()).collect(),
        }
    }

    fn probe_table(&self) -> Table<'_> {
        let rows = self.probes.iter().filter_map(|point| {
            let [per_second, cpu, memory, maps] = [
                point.quartiles(|sample| sample.per_second)?,
                point.quartiles(|sample| sample.cpu)?,
                point.quartiles(|sample| sample.memory)?,
                point.quartiles(|sample| sample.maps)?,
            ];
            Some(vec![
                point.shards.to_string(),
                thousands(per_second.median as u64),
                format!("{:.0} ({:.0} … {:.0})", cpu.median, cpu.lower, cpu.upper),
                interval(memory),
                format!("{:.1}", maps.median),
            ])
        });
        Table { headings: &PROBE_HEADINGS, numbers: 1..5, rows: rows.collect() }
    }

    /// A chart of the probe with a series for each figure.
    fn probe_chart(&self, title: &str, axis: &str, figures: &[(&'static str, Figure)]) -> Chart {
        let row = |point: &ProbePoint| {
            let marks = figures.iter().enumerate().filter_map(|(series, (_, figure))| {
                let of = point.quartiles(*figure)?;
                Some(Mark { series, value: of.median, range: (of.lower, of.upper) })
            });
            (format!("{} shards", point.shards), marks.collect())
        };
        Chart {
            title: format!("{title} of a probe by number of shards: median and quartiles"),
            axis: axis.to_owned(),
            series: figures.iter().map(|(name, _)| *name).collect(),
            rows: self.probes.iter().map(row).collect(),
        }
    }

    /// Returns the report for a terminal.
    pub fn text(&self) -> String {
        format!("{}\n{}\n\n{}\n", self.table().text(), self.answer(), self.probe_table().text())
    }

    /// Returns the files for `docs/benchmarks/`: the page first, then its plots.
    pub fn files(&self) -> Vec<File> {
        let base = format!("{}-gateway-growth", date("+%F"));
        let Options { pairs, slice_seconds, seed, .. } = &self.options;
        let mut page = format!(
            "# {}: The gateway's growth\n\n\
             **Question.** Does a request cost more with more shards, keys or connections?\n\n\
             **Answer.** {}.\n\n{}\n\
             **Command.** `cargo xtask bench gateway --growth --pairs {pairs} --slice {slice_seconds} --seed {seed}`\n\n\
             {}; load average {} before, {} after; profile `{}`; {}.\n\n",
            date("+%F"),
            self.answer(),
            self.table().markdown(),
            describe(),
            self.load_average[0],
            self.load_average[1],
            self.options.profile(),
            self.versions.join("; ")
        );
        let mut files = Vec::new();
        let _ = writeln!(page, "## The probe beside it\n\n{}", self.probe_table().markdown());
        let probe = [
            self.probe_chart("CPU time", "CPU µs a second", &[("probe", |sample| sample.cpu)]),
            self.probe_chart(
                "Memory",
                "MiB",
                &[("process", |sample| sample.memory), ("kernel maps", |sample| sample.maps)],
            ),
        ];
        for chart in Axis::ALL.map(|axis| self.chart(axis)).into_iter().chain(probe) {
            let name = format!("{base}-{}.svg", files.len() + 1);
            let _ = writeln!(page, "![{}]({name})\n", chart.title);
            files.push(File { name, content: chart.svg() });
        }
        let _ = writeln!(
            page,
            "## Method\n\n\
             - One thing grows. The others stay at four shards, {} uniform keys and {ACTIVE} connections.\n\
             - wrk loads {ACTIVE} connections. All others are idle. Each has had one request before.\n\
             - The first read of a key creates its value of about 100 bytes. All keys are read once before a slice.\n\
             - {pairs} rounds. A round has a slice of {slice_seconds} s for each size, in random order. Each slice \
             has new processes. A ratio is that of one round.\n\
             - CPU time is that of the server alone. The shards and wrk are not in it. More shards are more \
             processes on this machine: nginx and HAProxy show that part of the cost.\n\
             - The probe is measured after the other sizes of a round, with the same load through the gateway. It watches all \
             shards. Its CPU time is \
             that of its process, without its kernel programs. In each slice it has counted every request that the \
             shards received.",
            thousands(u64::from(KEYS))
        );
        files.insert(0, File { name: format!("{base}.md"), content: page });
        files
    }
}
