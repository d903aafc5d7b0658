//! Runs one scenario at a time on its own thread.
//!
//! HTTP requests must not delay the load.

use clap::{Parser, ValueEnum};
use parking_lot::Mutex;
use protocol::ErrorKind;
use protocol::body::{
    OfferedScenario, RunningScenario, ScenarioEnd, ScenarioOutcome, ScenarioOverview, ScenarioRequest,
};
use protocol::shard_urls::ShardUrl;
use service::problem::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::config::{Args, Command, RunArgs};
use crate::scenario::Scenario;
use crate::{run, summary};

/// Timeout for the end of a stopped run.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts and stops runs.
pub(crate) struct Starter {
    gateway: ShardUrl,
    stopping: CancellationToken,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    last: Option<ScenarioEnd>,
}

struct Running {
    request: ScenarioRequest,
    started_at: f64,
    started: Instant,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Starter {
    /// Creates a starter without a run. A run ends when `stopping` is cancelled, at the latest.
    pub(super) fn new(gateway: ShardUrl, stopping: CancellationToken) -> Self {
        Self { gateway, stopping, state: Arc::default() }
    }

    /// Starts a run.
    ///
    /// # Errors
    /// Returns 409 while a run is active, and 400 for an unknown scenario or a number out of range.
    pub(super) fn start(&self, request: ScenarioRequest) -> Result<(), Problem> {
        let args = self.run_args(&request)?;
        let mut state = self.state.lock();
        if let Some(running) = &state.running {
            let detail = format!("{} is running; stop it with DELETE first", running.request.scenario);
            return Err(Problem::new(ErrorKind::AlreadyRunning, detail));
        }
        let running = Running {
            request,
            started_at: service::clock::unix_seconds(),
            started: Instant::now(),
            stop: self.stopping.child_token(),
            ended: CancellationToken::new(),
        };
        let (stop, ended) = (running.stop.clone(), running.ended.clone());
        let scenario = running.request.scenario.clone();
        let state_of_thread = Arc::clone(&self.state);
        let thread = std::thread::Builder::new().name("scenario".into()).spawn(move || {
            let (outcome, detail) = load(&args, &stop);
            tracing::info!(scenario, ?outcome, detail, "the scenario has ended");
            let mut state = state_of_thread.lock();
            state.running = None;
            state.last = Some(ScenarioEnd { scenario, outcome, detail });
            ended.cancel();
        });
        thread.map_err(|err| {
            Problem::new(ErrorKind::Internal, format!("the thread cannot be started: {err}"))
        })?;
        tracing::info!(scenario = running.request.scenario, "started");
        state.running = Some(running);
        Ok(())
    }

    /// Stops the run and waits for its end.
    pub(super) async fn stop(&self) {
        let ended = {
            let state = self.state.lock();
            let Some(running) = &state.running else { return };
            running.stop.cancel();
            running.ended.clone()
        };
        // After the timeout the run is still reported as running.
        let _ = tokio::time::timeout(STOP_TIMEOUT, ended.cancelled()).await;
    }

    /// Returns the body of every answer.
    pub(super) fn overview(&self) -> ScenarioOverview {
        let state = self.state.lock();
        let running = state.running.as_ref().map(|running| RunningScenario {
            request: running.request.clone(),
            started_at: running.started_at,
            elapsed_seconds: running.started.elapsed().as_secs_f64(),
        });
        let scenarios = Scenario::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let scenarios = scenarios.map(|value| OfferedScenario {
            name: value.get_name().to_owned(),
            about: value.get_help().map(ToString::to_string).unwrap_or_default(),
        });
        ScenarioOverview { running, last: state.last.clone(), scenarios: scenarios.collect() }
    }

    /// Converts the request to a command line, so that both have the same checks.
    fn run_args(&self, request: &ScenarioRequest) -> Result<RunArgs, Problem> {
        let figures =
            [self.gateway.to_string(), request.duration.to_string(), request.rate_factor.to_string()];
        let [gateway, duration, factor] = figures.each_ref().map(String::as_str);
        let line = ["load", "run", "--gateway", gateway, "--duration", duration, "--rate-factor", factor];
        let parsed = Args::try_parse_from(line.into_iter().chain(["--", &request.scenario]));
        match parsed.map(|args| args.command) {
            Ok(Command::Run(args)) => Ok(args),
            Ok(_) => Err(Problem::new(ErrorKind::BadBody, "unknown scenario")),
            Err(err) => Err(Problem::new(ErrorKind::BadBody, service::args::one_line(&err))),
        }
    }
}

/// Runs the scenario to its end, or until `stop` is cancelled.
fn load(args: &RunArgs, stop: &CancellationToken) -> (ScenarioOutcome, String) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return (ScenarioOutcome::Failed, format!("the runtime cannot be started: {err}")),
    };
    match runtime.block_on(stop.run_until_cancelled(run::run(args))) {
        None => (ScenarioOutcome::Stopped, "when asked to".to_owned()),
        Some(Err(err)) => (ScenarioOutcome::Failed, err.to_string()),
        Some(Ok(report)) => match summary::broken_thresholds(&report) {
            Some(broken) => (ScenarioOutcome::Failed, broken),
            None => (ScenarioOutcome::Done, format!("{} requests, {} errors", report.sent, report.errors)),
        },
    }
}
