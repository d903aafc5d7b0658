//! `cargo xtask compose-test`: tests compose.yaml on a container engine.

mod counts;
mod engine;
mod images;
mod network;
mod plugin;
mod restart;
mod rights;
mod stack;
mod witnesses;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::{runbook, terminal};
use lab::ports::Ports;
use lab::tree::Tree;

use crate::verdicts::Verdicts;
use engine::Engine;
pub(crate) use engine::NoEngine;
use lab::command;
use stack::Stack;
use witnesses::{Lab, listed};
use work::Work;

/// Name prefix of the lab's own images.
const OURS: &str = "hot-partition-lab/";

/// All services must be healthy within this time after `up` returns (contract).
const HEALTHY_WITHIN: Duration = Duration::from_secs(20);

/// Requests in one counting run (contract).
const REQUESTS: u64 = 500_000;

/// Shortens the loads of the runbook from two minutes to 6 s.
const SHORT: &str = "services:\n  lab39-k6: { environment: { DURATION: \"6\" } }\n";

/// Command-line options.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Requests of each of the two counting runs
    #[arg(long, value_name = "COUNT", default_value_t = REQUESTS, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Keep the images of an engine that this test starts in DIR for the next run (several GB)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Request {
    /// The options that `cargo xtask ci --full` uses.
    pub(crate) fn of_ci() -> Self {
        Self { requests: REQUESTS, keep: None }
    }
}

/// Starts the lab in containers, checks it, and removes it. Returns whether every check passed.
///
/// # Errors
/// When there is no engine and none can be started, or a signal arrives.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<bool> {
    Ports::new(Ports::DEFAULT_BASE).check(true)?;
    let work = Work::new()?;
    let images = match &request.keep {
        Some(folder) => std::env::current_dir()?.join(folder),
        None => work.join("images"),
    };
    terminal::heading("Engine");
    let engine = Engine::find(tree, &work, &images)?;
    println!("  Docker Engine {}", engine.version);
    let mut verdicts = Verdicts::default();
    let checked = checked(tree, &engine, &work, request, &mut verdicts);
    engine.stop();
    terminal::heading("Result");
    println!("{}", verdicts.table());
    checked?;
    Ok(verdicts.hold())
}

fn checked(
    tree: &Tree,
    engine: &Engine,
    work: &Work,
    request: &Request,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let mut stack = Stack::new(tree, engine, work);
    println!("  docker compose {}", stack.shown());
    prepare(tree, &mut stack, work, verdicts)?;
    let checked = on_stack(tree, &mut stack, work, request, verdicts);
    let down = stack.down();
    if let Err(error) = checked {
        lab::signals::check()?;
        verdicts.could_not("the rest", &error);
    }
    match down {
        Ok(()) => verdicts.report("docker compose down -v", true, "the project leaves nothing behind"),
        Err(error) => verdicts.could_not("docker compose down -v", &error),
    }
    Ok(())
}

/// Provides third-party images and leaves out what this machine or its engine cannot do.
fn prepare(tree: &Tree, stack: &mut Stack<'_>, work: &Work, verdicts: &mut Verdicts) -> Result<()> {
    let provided = images::provide(tree, stack.engine(), work, &stack.foreign_images()?)?;
    for (image, what) in &provided.substitutes {
        verdicts.left_out(image, &format!("the image cannot be pulled; using {what}"));
    }
    for service in stack.leave_out(&provided.missing)? {
        verdicts.left_out(&service, "its image can be neither pulled nor built here; left out");
    }
    if !images::can_raise_memlock(stack.engine()) {
        stack.add("memlock.yaml", "services:\n  lab39-probe: { ulimits: !reset {} }\n")?;
        verdicts
            .left_out("the probe's memlock limit", "the engine may not raise it on this machine; left out");
    }
    stack.add("short.yaml", SHORT)
}

fn on_stack(
    tree: &Tree,
    stack: &mut Stack<'_>,
    work: &Work,
    request: &Request,
    verdicts: &mut Verdicts,
) -> Result<()> {
    terminal::heading("docker compose build, then up --build -d");
    println!("  built in {:.0} s (less with cached layers)", stack.build()?.as_secs_f64());
    let up = stack.up()?;
    let healthy = stack.wait_healthy()?;
    let figure =
        format!("{:.1} s after up returned, which took {:.0} s", healthy.as_secs_f64(), up.as_secs_f64());
    verdicts.report("all healthy within 20 s", healthy <= HEALTHY_WITHIN, &figure);
    images::build_load(tree, stack.engine())?;
    for name in ["gateway", "shard", "probe", "load"] {
        println!("    image {OURS}{name}: {:.1} MB", images::megabytes(stack.engine(), name)?);
    }
    let silent = Lab::new(stack).silent();
    verdicts.report(
        "published ports answer",
        silent.is_empty(),
        &format!("gateway and four shards{}", listed(&silent)),
    );

    terminal::heading("The probe's rights");
    rights::check(stack, verdicts);
    rights::without(stack, verdicts)?;

    terminal::heading("A restart under load");
    restart::check(&Lab::new(stack), work, verdicts);

    terminal::heading("The runbook");
    let counts = runbook::on_compose(tree, stack.environment())?;
    let skipped = if counts.skipped.is_empty() {
        String::new()
    } else {
        format!("; skipped: {}", counts.skipped.join(", "))
    };
    let figure = format!("{} of {} blocks{skipped}", counts.held, counts.held + counts.failed);
    verdicts.report("the runbook, k6's four scripts in it", counts.failed == 0, &figure);

    terminal::heading("Kernel and application, request by request");
    stack.add("fast.yaml", &fast())?;
    command::capture(stack.compose().args(["up", "-d"]))?;
    stack.wait_healthy()?;
    counts::check(&Lab::new(stack), request.requests, verdicts);
    Ok(())
}

/// Override that removes the shards' service time. With the lab profile, half a million requests would take an hour.
fn fast() -> String {
    let mut text = "services:\n".to_owned();
    for id in 0..lab::ports::SHARDS {
        text.push_str(&format!(
            "  lab39-shard-{id}:\n    cpus: !reset null\n    environment: {{ BASE_LATENCY_MS: \"0\", LOAD_LATENCY_FACTOR_MS: \
             \"0\", SHARD_CONCURRENCY: \"64\" }}\n"
        ));
    }
    text
}
