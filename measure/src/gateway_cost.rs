//! What a part of the gateway costs: a lab without it beside a lab with it, the same load on both, in alternating pairs.
//!
//! Every pair has labs of its own, for two equal processes may differ by some percent as long as they live (where their
//! memory lies, which core has which connection), and asks them in turn in short slices, for the machine's speed changes
//! from second to second. The lab that is not asked costs next to nothing. The collector of spans shares the machine.

use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

use crate::cost::generator::{ALIKE, Draws, ZIPFIAN, saturate};
use crate::cost::pairs::{Pair, Shuffle, Speed, Spread};
use crate::cost::report::load_average;
use crate::cost::stand::{OWN, cpu_seconds};
use lab_tests::collector::Collector;
use lab_tests::lab;
use lab_tests::process::{Process, TestProcess as _};

/// Shards of each lab.
const SHARDS: usize = 2;
/// Turns of each lab in a pair, besides one to warm up.
pub const SLICES: u64 = 4;

/// A part that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Tracing: 1 % and 100 % of the requests.
    Traces,
    /// The detector: hot keys, windows and verdict, of every request.
    Detector,
}

/// Settings of all programs of a lab.
type Settings = Vec<(&'static str, String)>;

impl Part {
    /// The settings that leave it out.
    fn without(self) -> Settings {
        match self {
            Self::Traces => Vec::new(),
            Self::Detector => vec![("KEY_STATISTICS", "false".to_owned())],
        }
    }

    /// The rows: a name, the settings, and the keys. The first says how far two equal labs differ.
    fn rows(self, collector: &str) -> Vec<(&'static str, Settings, Draws)> {
        let sampled = |share: &str| {
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned()),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
                ("OTEL_TRACES_SAMPLER_ARG", share.to_owned()),
            ]
        };
        let off = ("off", self.without(), ALIKE);
        match self {
            Self::Traces => {
                vec![off, ("1 % sampled", sampled("0.01"), ALIKE), ("100 % sampled", sampled("1"), ALIKE)]
            }
            Self::Detector => vec![
                off,
                ("1,000 keys, Zipf 1.5, all counted", Vec::new(), ZIPFIAN),
                ("20,000 keys alike, all counted", Vec::new(), ALIKE),
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

/// What is measured, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which part.
    pub part: Part,
    /// Where `gateway`, `shard` and `load` are.
    pub programs: PathBuf,
    /// Pairs of runs for each row.
    pub pairs: u32,
    /// Requests of each lab in a pair, in so many [`SLICES`].
    pub requests: u64,
}

/// Measures all rows; gives the table, and says by `progress` how far it is.
///
/// # Errors
/// When a lab or the load generator cannot be had, or a request fails.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<String> {
    // The collector works while the pairs run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let endpoint = runtime.block_on(Collector::sink());
    let start = |settings: &Settings| Stand::start(&options.programs, &runtime, settings);
    let wanted = options.part.rows(&endpoint);
    let mut rows: Vec<_> = wanted
        .iter()
        .map(|(name, settings, draws)| Row {
            name,
            settings,
            draws: *draws,
            pairs: Vec::new(),
            spans: [0; 2],
        })
        .collect();
    let before = load_average();
    let mut shuffle = Shuffle::new(1);
    for round in 1..=options.pairs {
        shuffle.shuffle(&mut rows);
        for row in &mut rows {
            // Which of them is started first is left to chance too.
            let (first, starts_first) = (shuffle.coin(), shuffle.coin());
            let (plain, other) = if starts_first {
                let other = start(row.settings)?;
                (start(&options.part.without())?, other)
            } else {
                (start(&options.part.without())?, start(row.settings)?)
            };
            let pair = pair(&plain, &other, options.requests, row.draws, first)?;
            progress(&format!(
                "pair {round} of {}, {}: {:+.1} %",
                options.pairs,
                row.name,
                -100.0 * pair.loss()
            ));
            row.pairs.push(pair);
            let spans = other.spans()?;
            row.spans = [row.spans[0] + spans[0], row.spans[1] + spans[1]];
        }
    }
    rows.sort_by_key(|row| wanted.iter().position(|(name, ..)| *name == row.name));
    let mut text = format!(
        "{} pairs, {} requests of each lab in {SLICES} slices; load average {before} before, {} after.\n\
         | {} | requests/s | throughput lost: quarter, median, three quarters | CPU a request, more | spans sent, lost |\n\
         |---|---|---|---|---|\n",
        options.pairs,
        options.requests,
        load_average(),
        options.part.name()
    );
    for Row { name, pairs, spans: [sent, lost], .. } in &rows {
        let spread =
            |figure: fn(&Pair) -> f64| Spread::of(pairs.iter().map(figure).collect()).context("no pairs");
        let (loss, cpu) = (spread(Pair::loss)?, spread(Pair::more_cpu)?);
        let speed = spread(|pair| pair.with.per_second)?;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        writeln!(
            text,
            "| {name} | {:.0} | {} {} {} | {} | {sent}, {lost} |",
            speed.median,
            percent(loss.lower),
            percent(loss.median),
            percent(loss.upper),
            percent(cpu.median)
        )?;
    }
    Ok(text)
}

/// A way to run the lab, and what was found.
struct Row<'a> {
    name: &'a str,
    settings: &'a Settings,
    draws: Draws,
    pairs: Vec<Pair>,
    /// Spans sent and lost in all pairs.
    spans: [u64; 2],
}

fn pair(plain: &Stand, other: &Stand, requests: u64, draws: Draws, watched_first: bool) -> Result<Pair> {
    let slice = requests / SLICES;
    // Slices of one turn have the same keys, others have others.
    for stand in [plain, other] {
        stand.saturate(slice, draws, 0)?;
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for turn in 1..=SLICES {
        if watched_first {
            with.push(other.saturate(slice, draws, turn)?);
            without.push(plain.saturate(slice, draws, turn)?);
        } else {
            without.push(plain.saturate(slice, draws, turn)?);
            with.push(other.saturate(slice, draws, turn)?);
        }
    }
    Ok(Pair { without: Speed::whole(&without), with: Speed::whole(&with), watched_first, own_share: 0.0 })
}

/// A gateway, its shards without a capacity model, and the load generator.
struct Stand<'a> {
    runtime: &'a Runtime,
    load: PathBuf,
    gateway: SocketAddr,
    /// The gateway last; they end with it.
    processes: Vec<Process>,
}

impl<'a> Stand<'a> {
    fn start(programs: &Path, runtime: &'a Runtime, of_all: &Settings) -> Result<Self> {
        let start = |program: &str, settings: &[(&'static str, &str)]| {
            let path = programs.join(program);
            if !path.is_file() {
                bail!("{} is not there: `cargo xtask bench` builds it", path.display());
            }
            let own = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
            let settings: Vec<_> = own.chain(of_all.iter().cloned()).collect();
            let mut process = Process::start_program(&path, &[], &settings);
            let addr = runtime.block_on(process.ready());
            Ok((process, addr))
        };
        let (mut processes, mut urls) = (Vec::new(), Vec::new());
        for id in 0..SHARDS {
            let id = id.to_string();
            let fast =
                [("BASE_LATENCY_MS", "0"), ("LOAD_LATENCY_FACTOR_MS", "0"), ("SHARD_CONCURRENCY", "0")];
            let (process, addr) =
                start("shard", &[&fast[..], &[("SHARD_ID", id.as_str()), ("PORT", "0")]].concat())?;
            processes.push(process);
            urls.push(format!("http://{addr}"));
        }
        let (process, gateway) = start("gateway", &[("PORT", "0"), ("SHARD_URLS", &urls.join(","))])?;
        processes.push(process);
        Ok(Self { runtime, load: programs.join("load"), gateway, processes })
    }

    fn saturate(&self, requests: u64, draws: Draws, seed: u64) -> Result<Speed> {
        let cpu = || self.processes.iter().map(|process| cpu_seconds(process.pid(), OWN)).sum::<f64>();
        let before = cpu();
        let target = ["--gateway", &format!("http://{}", self.gateway)];
        let per_second = saturate(&self.load, target, requests, draws, seed)?;
        #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
        let cpu_microseconds = (cpu() - before) * 1e6 / requests as f64;
        Ok(Speed { per_second, cpu_microseconds })
    }

    /// Spans of the gateway that were sent, and that were lost.
    fn spans(&self) -> Result<[u64; 2]> {
        let url = format!("http://{}/metrics", self.gateway);
        let ask = async { lab::client().get(url).send().await?.text().await };
        let text = self.runtime.block_on(ask)?;
        let of = |outcome: &str| {
            let name = format!("service_spans_total{{outcome=\"{outcome}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok([of("exported"), of("failed") + of("dropped")])
    }
}
