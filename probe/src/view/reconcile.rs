//! Implements `probe reconcile`: kernel and shards side by side.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use protocol::escape::escaped_json;
use protocol::probe_api::Compare;
use service::process::{StartError, complain};

use super::args::ReconcileArgs;
use super::client::Client;
use super::origin::{self, Origin, advice};
use super::table;

/// Pause between two requests while a verdict is missing.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the command. Returns its exit code.
#[must_use]
pub fn run(args: &ReconcileArgs) -> ExitCode {
    origin::show(&args.origin, |origin| look(args, origin))
}

fn look(args: &ReconcileArgs, origin: &Origin) -> Result<ExitCode, StartError> {
    let (runtime, client) = origin.client()?;
    let mut wait = Duration::from_secs(args.wait);
    loop {
        match runtime.block_on(verdicts(&client, wait)) {
            Ok(compare) => {
                let text = if args.json { json(&compare) } else { table::table(&compare) };
                let written = std::io::stdout().lock().write_all(text.as_bytes());
                if args.once {
                    let agree = table::outcome(&compare).0;
                    return Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
                if written.is_err() {
                    // The reader of the output has closed it.
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(problem) if args.once => return Err(StartError::Other(advice(&problem, &args.origin))),
            Err(problem) => complain(&problem),
        }
        // Only the first table waits for a baseline. Later ones show the current state.
        wait = Duration::ZERO;
        runtime.block_on(async { tokio::time::sleep(args.interval).await });
    }
}

/// Repeats the comparison until every shard has a verdict, or for at most `wait`. Returns the last answer, or why
/// there is none.
async fn verdicts(client: &Client, wait: Duration) -> Result<Compare, String> {
    let deadline = Instant::now() + wait;
    loop {
        let seen = client.get("/api/compare").await;
        let whole = |seen: &Compare| seen.shards.iter().all(|shard| shard.of_shard.agrees.is_some());
        if seen.as_ref().is_ok_and(whole) || Instant::now() >= deadline {
            return seen;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn json(compare: &Compare) -> String {
    let mut body = serde_json::json!(compare);
    body["result"] = table::result(compare).into();
    escaped_json(&body.to_string()) + "\n"
}
