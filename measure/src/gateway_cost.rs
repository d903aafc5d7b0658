//! Measures the cost of a part of the gateway, in alternating pairs.
//!
//! A lab with the part and a lab without it receive the same load. Every pair has its own labs, because two equal
//! processes may differ by some percent for their whole life (memory layout, connections per core). Short slices
//! alternate between the labs, because the machine's speed changes from second to second. An idle lab costs almost
//! nothing. The collector of spans shares the machine.

use anyhow::{Context, Result};
use lab::Setting;
use lab_tests::collector::Collector;
use std::path::PathBuf;

use crate::machine::load_average;
use crate::pair::Pair;
use crate::statistics::Quartiles;
use crate::table::{Table, percent};
use crate::testbed::{Testbed, TrafficPath};

/// Slices of each lab in a pair, in addition to one that warms up.
const SLICES: u64 = 4;

/// A part that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Tracing: 1 % and 100 % of the requests.
    Traces,
    /// The detector: hot keys, windows and verdicts, for every request.
    Detector,
}

impl Part {
    /// Returns the settings that switch the part off.
    fn without(self) -> Vec<Setting> {
        match self {
            Self::Traces => Vec::new(),
            Self::Detector => vec![("KEY_STATISTICS", "false".to_owned())],
        }
    }

    /// Returns the rows. The first row shows the difference between two equal labs.
    fn rows(self, collector: &str) -> Vec<Row> {
        let row = |name, settings, path| Row { name, settings, path, pairs: Vec::new(), spans: [0; 2] };
        let sampled = |share: &str| {
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned()),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
                ("OTEL_TRACES_SAMPLER_ARG", share.to_owned()),
            ]
        };
        let off = row("off", self.without(), TrafficPath::Gateway);
        match self {
            Self::Traces => vec![
                off,
                row("1 % sampled", sampled("0.01"), TrafficPath::Gateway),
                row("100 % sampled", sampled("1"), TrafficPath::Gateway),
            ],
            Self::Detector => vec![
                off,
                row("1,000 keys, Zipf 1.5, all counted", Vec::new(), TrafficPath::GatewayZipfian),
                row("20,000 uniform keys, all counted", Vec::new(), TrafficPath::Gateway),
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Traces => "tracing",
            Self::Detector => "detector",
        }
    }
}

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The part.
    pub part: Part,
    /// The folder of `gateway`, `shard` and `load`.
    pub programs: PathBuf,
    /// Pairs of runs for each row.
    pub pairs: u32,
    /// Requests of each lab in a pair.
    pub requests: u64,
}

/// Measures all rows and returns their table. It calls `progress` with a line for each pair.
///
/// # Errors
/// If a lab or the load generator cannot be started, or a request fails.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<String> {
    // The collector runs on this runtime while the pairs run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut rows = options.part.rows(&runtime.block_on(Collector::sink()));
    let start = |settings: &[Setting]| Testbed::start(&options.programs, settings, None);
    let before = load_average();
    let mut random = fastrand::Rng::with_seed(1);
    for round in 1..=options.pairs {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        random.shuffle(&mut order);
        for at in order {
            let row = &mut rows[at];
            let (watched_first, started_first) = (random.bool(), random.bool());
            let (plain, other) = if started_first {
                let other = start(&row.settings)?;
                (start(&options.part.without())?, other)
            } else {
                (start(&options.part.without())?, start(&row.settings)?)
            };
            let pair = pair(&plain, &other, options.requests, row.path, watched_first)?;
            progress(&format!(
                "pair {round} of {}, {}: {:+.1} %",
                options.pairs,
                row.name,
                -100.0 * pair.loss()
            ));
            row.pairs.push(pair);
            let spans = spans(&other)?;
            row.spans = [row.spans[0] + spans[0], row.spans[1] + spans[1]];
        }
    }
    let headings = [
        options.part.name(),
        "requests/s",
        "throughput loss: first quartile, median, third quartile",
        "CPU a request, more",
        "spans sent, lost",
    ];
    let rows = rows.iter().map(Row::cells).collect::<Result<_>>()?;
    Ok(format!(
        "{} pairs, {} requests of each lab in {SLICES} slices; load average {before} before, {} after.\n{}",
        options.pairs,
        options.requests,
        load_average(),
        Table { headings: &headings, numbers: 1..5, rows }.markdown()
    ))
}

/// A configuration of the lab, and its results.
struct Row {
    name: &'static str,
    settings: Vec<Setting>,
    path: TrafficPath,
    pairs: Vec<Pair>,
    /// Spans sent and lost in all pairs.
    spans: [u64; 2],
}

impl Row {
    fn cells(&self) -> Result<Vec<String>> {
        let quartiles =
            |figure: fn(&Pair) -> f64| Quartiles::of(self.pairs.iter().map(figure)).context("no pairs");
        let (loss, cpu) = (quartiles(Pair::loss)?, quartiles(Pair::more_cpu)?);
        let [sent, lost] = self.spans;
        Ok(vec![
            self.name.to_owned(),
            format!("{:.0}", quartiles(|pair| pair.with.per_second)?.median),
            [loss.lower, loss.median, loss.upper].map(percent).join(" "),
            percent(cpu.median),
            format!("{sent}, {lost}"),
        ])
    }
}

fn pair(
    plain: &Testbed,
    other: &Testbed,
    requests: u64,
    path: TrafficPath,
    watched_first: bool,
) -> Result<Pair> {
    let slice = requests / SLICES;
    // All slices of one turn use the same keys.
    let run = |is_with: bool, seed| {
        let testbed = if is_with { other } else { plain };
        testbed.saturate(path, slice, seed, || testbed.servers_cpu())
    };
    run(false, 0)?;
    run(true, 0)?;
    let order = (0..SLICES).flat_map(|_| [watched_first, !watched_first]);
    Pair::measure(order, |is_with, earlier| run(is_with, earlier + 1))
}

/// Returns the gateway's sent and lost spans.
fn spans(testbed: &Testbed) -> Result<[u64; 2]> {
    let text = testbed.client.text(&format!("http://{}/metrics", testbed.lab.gateway.address()?))?;
    let of = |outcome: &str| {
        let name = format!("service_spans_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or_default()
    };
    Ok([of("exported"), of("failed") + of("dropped")])
}
