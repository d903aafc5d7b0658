//! `cargo xtask runbook`: runs every block of docs/runbook.md in order.
//!
//! By default, each line that begins with `docker compose` or `cargo xtask` is replaced by its native counterpart
//! ([`native`]). In `cargo xtask compose-test` the docker lines run unchanged ([`compose`]). bash runs all other lines.
//! A load in the background runs beside the one block after it. A comment after a block lists its expected output
//! ([`page`]).

mod compose;
mod native;
mod page;
mod prints;
mod script;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::kernel::Access;
use crate::native_lab::Parts;
use crate::outcome::CheckOutcome;
use crate::packages::Part;
use crate::terminal::{faint, mark};
use crate::{PortBase, needs, terminal, up};
use compose::Compose;
use lab::generator;
use lab::http::Client;
use lab::ports::Ports;
use lab::signals;
use lab::tree::Tree;
use native::Native;
use page::{Block, Need};
use protocol::escape::escaped;
use script::{Piece, Running};

/// Maximum time for a block beside a load to print the expected lines.
const BESIDE_WITHIN: Duration = Duration::from_secs(20);

/// Command-line options.
#[derive(Debug, Args)]
pub(crate) struct Request {
    #[command(flatten)]
    ports: PortBase,
    /// Seconds of each load instead of two minutes
    #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(3..=600))]
    seconds: u32,
    /// Show the output of every block
    #[arg(long)]
    show: bool,
    /// Skip the blocks that need the kernel
    #[arg(long)]
    no_kernel: bool,
    /// Fail if the kernel part cannot run
    #[arg(long, conflicts_with = "no_kernel")]
    require_kernel: bool,
}

impl Request {
    /// The options that `cargo xtask ci` uses.
    pub(crate) fn of_ci(ports: PortBase) -> Self {
        Self { ports, seconds: 6, show: false, no_kernel: false, require_kernel: true }
    }
}

/// Runs all blocks and returns whether each printed the expected lines.
///
/// # Errors
/// When the runbook cannot be read, the lab cannot be built or started, or a signal arrives.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<CheckOutcome> {
    let ports = request.ports.ports();
    if !ports.base().is_multiple_of(10) {
        bail!("--port-base must end with 0 here: the runbook writes `900$shard`");
    }
    let text = fs::read_to_string(tree.root.join("docs/runbook.md")).context("docs/runbook.md")?;
    let blocks = page::blocks(&text)?;
    needs::ensure(tree, &[Part::Build, Part::Tests, Part::Store])?;
    let access = up::prepare(tree, ports, Parts::All, !request.no_kernel)?;
    if let Access::None(lacking) = &access
        && !request.no_kernel
    {
        println!("{}", lacking.banner());
        if request.require_kernel {
            return Ok(CheckOutcome::Fails);
        }
    }
    let native = Native::new(tree, ports, &access, request.seconds)?;
    let book = Book {
        tree,
        ports,
        runner: Runner::Native(Box::new(native)),
        show: request.show,
        beside: None,
        counts: Counts::default(),
    };
    let counts = book.run(&blocks)?;
    Ok(CheckOutcome::but_for(counts.failed == 0, counts.skipped.len(), "blocks"))
}

/// Runs all blocks unchanged with Compose, on the default ports. `environment` selects the container engine and the
/// compose files.
///
/// # Errors
/// When the runbook cannot be read, or a signal arrives.
pub(crate) fn on_compose(tree: &Tree, environment: Vec<(&'static str, String)>) -> Result<Counts> {
    let text = fs::read_to_string(tree.root.join("docs/runbook.md")).context("docs/runbook.md")?;
    let blocks = page::blocks(&text)?;
    let runner = Runner::Compose(Compose::new(tree, environment));
    let ports = Ports::new(Ports::DEFAULT_BASE);
    Book { tree, ports, runner, show: false, beside: None, counts: Counts::default() }.run(&blocks)
}

/// Numbers of passed and failed blocks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) held: usize,
    pub(crate) failed: usize,
    /// Skipped blocks, with the reasons.
    pub(crate) skipped: Vec<String>,
}

/// Runs the lines for a lab.
enum Runner<'a> {
    Native(Box<Native<'a>>),
    Compose(Compose<'a>),
}

impl Runner<'_> {
    fn generator(&self) -> &'static str {
        match self {
            Self::Native(native) => native.generator(),
            Self::Compose(_) => "k6 in a container",
        }
    }

    fn has_probe(&self) -> bool {
        match self {
            Self::Native(native) => native.has_probe(),
            // compose.yaml starts it, so its absence is a failure.
            Self::Compose(_) => true,
        }
    }

    /// Why no Redis Cluster can be started. `None` if it can.
    fn lacks_store(&self) -> Option<&'static str> {
        match self {
            Self::Native(native) => native.lacks_store(),
            Self::Compose(_) => Some("compose.yaml has no Redis"),
        }
    }

    /// Additional environment variables for bash.
    fn environment(&self) -> &[(&'static str, String)] {
        match self {
            Self::Native(_) => &[],
            Self::Compose(compose) => compose.environment(),
        }
    }

    fn run(&mut self, line: &str) -> Result<script::Output> {
        match self {
            Self::Native(native) => native.run(line),
            Self::Compose(compose) => compose.run(line),
        }
    }

    fn start(&self, line: &str, name: &str) -> Result<Running> {
        match self {
            Self::Native(native) => native.start(line, name),
            Self::Compose(compose) => compose.start(line, name),
        }
    }

    fn down(&mut self) {
        // Compose containers are stopped by the caller that started them.
        if let Self::Native(native) = self {
            native.down();
        }
    }
}

struct Book<'a> {
    tree: &'a Tree,
    ports: Ports,
    runner: Runner<'a>,
    show: bool,
    /// The block in the background.
    beside: Option<(&'a Block, Running)>,
    counts: Counts,
}

impl<'a> Book<'a> {
    fn run(mut self, blocks: &'a [Block]) -> Result<Counts> {
        println!("\n{}\n", terminal::bold(&format!("docs/runbook.md, loads by {}", self.runner.generator())));
        let started = Instant::now();
        for block in blocks {
            let beside = self.beside.take();
            self.block(block, beside.is_some())?;
            if let Some((loud, running)) = beside {
                let output = running.finish()?;
                self.judge(loud, Instant::now(), &output);
            }
        }
        if let Some((loud, running)) = self.beside.take() {
            let output = running.finish()?;
            self.judge(loud, Instant::now(), &output);
        }
        self.runner.down();
        let Counts { held, failed, skipped } = &self.counts;
        let (seconds, run) = (started.elapsed().as_secs(), held + failed);
        println!("\n{} {held} of {run} blocks passed in {seconds} s.", mark(*failed == 0));
        if !skipped.is_empty() {
            println!("– {} skipped:", skipped.len());
        }
        for reason in skipped {
            println!("    {reason}");
        }
        Ok(self.counts)
    }

    fn block(&mut self, block: &'a Block, beside: bool) -> Result<()> {
        signals::check()?;
        if let Some(why) = self.lacks(block) {
            self.skip(&block.name, why);
            return Ok(());
        }
        let started = Instant::now();
        if block.background && ends_with_load(block) {
            let running = self.begin(block)?;
            self.beside = Some((block, running));
            return Ok(());
        }
        let mut output = self.pieces(block)?;
        // A load needs some time to start, so repeat the block until then.
        while beside && !self.holds(block, &output) && started.elapsed() < BESIDE_WITHIN {
            signals::pause(Duration::from_millis(500));
            signals::check()?;
            output = self.pieces(block)?;
        }
        self.judge(block, started, &output);
        Ok(())
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("– {name} skipped: {why}");
        self.counts.skipped.push(format!("{name}: {why}"));
    }

    fn lacks(&self, block: &Block) -> Option<&'static str> {
        let client = Client::default();
        block.needs.iter().find_map(|need| match need {
            Need::Probe if self.runner.has_probe() => None,
            Need::Probe => Some("no probe is running"),
            Need::Redis => self.runner.lacks_store(),
            Need::Jaeger => match &self.runner {
                Runner::Native(_) => Some("this lab sends no traces"),
                Runner::Compose(_) if client.is_ok("http://localhost:16686/api/services") => None,
                Runner::Compose(_) => Some("no Jaeger at http://localhost:16686"),
            },
            Need::Prometheus if client.is_ok("http://localhost:9090/-/ready") => None,
            Need::Prometheus => Some("no Prometheus at http://localhost:9090"),
        })
    }

    /// Runs all pieces of a block to completion.
    fn pieces(&mut self, block: &Block) -> Result<script::Output> {
        let mut whole = script::Output::default();
        for piece in script::pieces(&block.script) {
            let output = match piece {
                Piece::Bash(text) => {
                    script::bash(self.tree, &page::on_ports(&text, self.ports), self.runner.environment())?
                }
                Piece::Lab(line) => self.runner.run(&line)?,
            };
            whole.add(output);
            if !whole.success {
                break;
            }
        }
        Ok(whole)
    }

    /// Runs all pieces except the last, and starts the last in the background.
    fn begin(&mut self, block: &Block) -> Result<Running> {
        let pieces = script::pieces(&block.script);
        let Some((Piece::Lab(load), before)) = pieces.split_last() else {
            bail!("{}: a background block must end with its load", block.name);
        };
        for piece in before {
            let Piece::Bash(text) = piece else {
                bail!("{}: a background block may have only one line for the lab", block.name)
            };
            let output =
                script::bash(self.tree, &page::on_ports(text, self.ports), self.runner.environment())?;
            if !output.success {
                bail!("{}: {}", block.name, output.text);
            }
        }
        self.runner.start(load, &block.name)
    }

    fn holds(&self, block: &Block, output: &script::Output) -> bool {
        output.success && prints::first_missing(&self.expected(block), &output.text).is_none()
    }

    fn expected(&self, block: &Block) -> Vec<String> {
        block.prints.iter().map(|line| page::on_ports(line, self.ports)).collect()
    }

    fn judge(&mut self, block: &Block, started: Instant, output: &script::Output) {
        if block.background
            && output.code == Some(generator::REFUSED)
            && let Some(json) = output.text.find('{')
            && let Ok(refusal) = generator::refusal(&output.text[json..])
        {
            return self.skip(&block.name, &refusal.detail);
        }
        let expected = self.expected(block);
        let missing = prints::first_missing(&expected, &output.text);
        let holds = output.success && missing.is_none();
        let took = started.elapsed().as_secs_f64();
        let took = if block.background { String::new() } else { faint(&format!(" {took:.1} s")) };
        println!("{} {}{took}", mark(holds), block.name);
        if holds {
            self.counts.held += 1;
        } else {
            self.counts.failed += 1;
            match missing {
                Some(line) => println!("    this line is missing or out of order: {line}"),
                None => println!("    the block failed: {}", output.how),
            }
        }
        if self.show || !holds {
            for line in output.text.lines() {
                println!("    │ {}", escaped(line));
            }
        }
    }
}

/// Whether a block ends with a load. A lab in the background starts before the next block.
fn ends_with_load(block: &Block) -> bool {
    matches!(script::pieces(&block.script).last(), Some(Piece::Lab(line)) if script::is_load(line))
}
