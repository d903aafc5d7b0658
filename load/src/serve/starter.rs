//! One run at a time, on a thread of its own: the pace of the load must not wait for who asks about it.

use clap::{Parser, ValueEnum};
use parking_lot::Mutex;
use protocol::ErrorKind;
use protocol::shard_urls::ShardUrl;
use serde::Serialize;
use service::problem::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::config::{Args, Command, RunArgs};
use crate::run;
use crate::scenario::Scenario;

/// How long a stopped run may take to let go.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Wish {
    pub(super) scenario: String,
    /// Seconds.
    pub(super) duration: f64,
    pub(super) rate_factor: f64,
}

/// The body of every answer.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    running: Option<RunningBody>,
    last: Option<Last>,
    scenarios: Vec<Offered>,
}

#[derive(Debug, Serialize)]
struct RunningBody {
    #[serde(flatten)]
    wish: Wish,
    /// Unix seconds.
    started_at: f64,
    elapsed_seconds: f64,
}

/// How the last run ended.
#[derive(Clone, Debug, Serialize)]
struct Last {
    scenario: String,
    outcome: Outcome,
    detail: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Done,
    Failed,
    Stopped,
}

#[derive(Debug, Serialize)]
struct Offered {
    name: String,
    about: String,
}

/// Starts and stops.
pub(crate) struct Starter {
    gateway: ShardUrl,
    stopping: CancellationToken,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    last: Option<Last>,
}

struct Running {
    wish: Wish,
    started_at: f64,
    started: Instant,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Starter {
    /// Nothing runs. What is started ends with `stopping` at the latest.
    pub(super) fn new(gateway: ShardUrl, stopping: CancellationToken) -> Self {
        Self { gateway, stopping, state: Arc::default() }
    }

    /// Starts a run.
    ///
    /// # Errors
    /// 409 while one runs, 400 when there is no such scenario or a figure is out of bounds.
    pub(super) fn start(&self, wish: Wish) -> Result<(), Problem> {
        let plan = self.plan(&wish)?;
        let mut state = self.state.lock();
        if let Some(running) = &state.running {
            let detail = format!("{} runs; DELETE stops it", running.wish.scenario);
            return Err(Problem::new(ErrorKind::AlreadyRunning, detail));
        }
        let running = Running {
            wish,
            started_at: service::clock::unix_seconds(),
            started: Instant::now(),
            stop: self.stopping.child_token(),
            ended: CancellationToken::new(),
        };
        let (stop, ended) = (running.stop.clone(), running.ended.clone());
        let scenario = running.wish.scenario.clone();
        let books = Arc::clone(&self.state);
        let thread = std::thread::Builder::new().name("scenario".into()).spawn(move || {
            let (outcome, detail) = load(&plan, &stop);
            tracing::info!(scenario, ?outcome, detail, "the scenario has ended");
            let mut state = books.lock();
            state.running = None;
            state.last = Some(Last { scenario, outcome, detail });
            ended.cancel();
        });
        thread.map_err(|err| Problem::new(ErrorKind::Internal, format!("no thread can be had: {err}")))?;
        tracing::info!(scenario = running.wish.scenario, "started");
        state.running = Some(running);
        Ok(())
    }

    /// Stops what runs, and waits for its end.
    pub(super) async fn stop(&self) {
        let ended = {
            let state = self.state.lock();
            let Some(running) = &state.running else { return };
            running.stop.cancel();
            running.ended.clone()
        };
        // One that does not let go is told of as running.
        let _ = tokio::time::timeout(STOP_WITHIN, ended.cancelled()).await;
    }

    /// What runs, what ran, and what can be started.
    pub(super) fn overview(&self) -> Overview {
        let state = self.state.lock();
        let running = state.running.as_ref().map(|running| RunningBody {
            wish: running.wish.clone(),
            started_at: running.started_at,
            elapsed_seconds: running.started.elapsed().as_secs_f64(),
        });
        let scenarios = Scenario::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let scenarios = scenarios.map(|value| Offered {
            name: value.get_name().to_owned(),
            about: value.get_help().map(ToString::to_string).unwrap_or_default(),
        });
        Overview { running, last: state.last.clone(), scenarios: scenarios.collect() }
    }

    /// The same as the command line would have it, and refused in the same words.
    fn plan(&self, wish: &Wish) -> Result<RunArgs, Problem> {
        let figures = [self.gateway.to_string(), wish.duration.to_string(), wish.rate_factor.to_string()];
        let [gateway, duration, factor] = figures.each_ref().map(String::as_str);
        let line = ["load", "run", "--gateway", gateway, "--duration", duration, "--rate-factor", factor];
        let parsed = Args::try_parse_from(line.into_iter().chain(["--", &wish.scenario]));
        match parsed.map(|args| args.command) {
            Ok(Command::Run(plan)) => Ok(plan),
            Ok(_) => Err(Problem::new(ErrorKind::BadBody, "that is no scenario")),
            Err(err) => Err(Problem::new(ErrorKind::BadBody, service::args::one_line(&err))),
        }
    }
}

/// Runs to the end, or until told to stop.
fn load(plan: &RunArgs, stop: &CancellationToken) -> (Outcome, String) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return (Outcome::Failed, format!("no runtime can be had: {err}")),
    };
    match runtime.block_on(stop.run_until_cancelled(run::run(plan))) {
        None => (Outcome::Stopped, "when asked to".to_owned()),
        Some(Err(err)) => (Outcome::Failed, err.to_string()),
        Some(Ok(report)) => match report.failed_thresholds() {
            Some(failed) => (Outcome::Failed, failed),
            None => (Outcome::Done, format!("{} requests, {} errors", report.sent, report.errors)),
        },
    }
}
