//! `probe reconcile`: kernel and shards side by side, once with an exit code or again and again.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use protocol::probe_api::Compare;
use serde_json::Value;
use service::process::{StartError, complain};

use super::args::ReconcileArgs;
use super::client::Client;
use super::origin::{Origin, advice, refuse};
use super::table;

/// Pause between two questions while a verdict is not there yet.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the command; gives its exit code.
#[must_use]
pub fn run(args: &ReconcileArgs) -> ExitCode {
    let origin = match Origin::find(&args.origin) {
        Ok(origin) => origin,
        Err(error) => return refuse(&error),
    };
    let code = match look(args, &origin) {
        Ok(code) => code,
        Err(error) => refuse(&error),
    };
    origin.end();
    code
}

fn look(args: &ReconcileArgs, origin: &Origin) -> Result<ExitCode, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(origin.base.clone()).map_err(|error| StartError::Other(error.to_string()))?;
    let mut wait = Duration::from_secs(args.wait);
    loop {
        match runtime.block_on(verdicts(&client, wait)) {
            Ok((body, compare)) => {
                let text = if args.json { json(body, &compare) } else { table::table(&compare) };
                let written = std::io::stdout().lock().write_all(text.as_bytes());
                if args.once {
                    let agree = table::outcome(&compare).0;
                    return Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
                if written.is_err() {
                    // Whoever read it has left.
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(problem) if args.once => return Err(StartError::Other(advice(&problem, &args.origin))),
            Err(problem) => complain(&problem),
        }
        // Only the first table waits for a baseline: later ones show what there is.
        wait = Duration::ZERO;
        runtime.block_on(async { tokio::time::sleep(args.interval).await });
    }
}

/// A comparison in which every shard has a verdict, or what there is after `wait`: the last answer, or why there is none.
async fn verdicts(client: &Client, wait: Duration) -> Result<(Value, Compare), String> {
    let deadline = Instant::now() + wait;
    loop {
        let seen = client.compare().await;
        let whole =
            |seen: &(Value, Compare)| seen.1.shards.iter().all(|shard| shard.of_shard.agrees.is_some());
        if seen.as_ref().is_ok_and(whole) || Instant::now() >= deadline {
            return seen;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn json(mut body: Value, compare: &Compare) -> String {
    if let Some(object) = body.as_object_mut() {
        object.insert("result".to_owned(), table::result(compare).into());
    }
    format!("{body}\n")
}
