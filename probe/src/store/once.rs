//! Implements `probe watch --once`: counts, prints the answer, ends.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use protocol::escape::{escaped, escaped_json};
use protocol::probe_api::{Comparison, Quantiles, StoreAnswer, StoreNode, StoreResult};
use service::process::{StartError, complain};

use super::answer::percent;
use super::app::runtime;
use super::settings::WatchConfig;
use super::window::AnswerWindow;
use crate::compare::rounds::{self, PERIOD, Rounds as _};

/// The exit code when there is no answer. 1 means hot, so an error cannot be 1.
const CANNOT_SAY: u8 = 3;

/// Keys in the text.
const KEYS: usize = 5;

/// Runs the command. Returns the exit code: 0 balanced, 1 hot, 3 no answer possible.
#[must_use]
pub fn run(config: &WatchConfig) -> ExitCode {
    match count(config) {
        Ok(answer) => {
            let text = if config.json { json(&answer) } else { text(&answer) };
            // The reader of the output may have closed it.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            match answer.result {
                StoreResult::Balanced => ExitCode::SUCCESS,
                StoreResult::Hot => ExitCode::FAILURE,
                StoreResult::CannotSay => ExitCode::from(CANNOT_SAY),
            }
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(CANNOT_SAY)
        }
    }
}

fn count(config: &WatchConfig) -> Result<StoreAnswer, StartError> {
    let runtime = runtime()?;
    let found = config.discover(&runtime).map_err(StartError::Other)?;
    let mut attached = config.attach(&found, AnswerWindow::default())?;
    let watch = &mut attached.watch;
    runtime.block_on(async {
        watch.first_look().await.map_err(StartError::Other)?;
        let end = Instant::now() + config.seconds;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(PERIOD)).await;
            watch.look().await;
            if left <= PERIOD {
                break;
            }
        }
        rounds::settle(watch).await;
        let answer = watch.newest().map(|answer| StoreAnswer::clone(&answer));
        answer.ok_or_else(|| StartError::Other("the kernel's counters cannot be read".to_owned()))
    })
}

fn json(answer: &StoreAnswer) -> String {
    escaped_json(&serde_json::json!(answer).to_string()) + "\n"
}

fn text(answer: &StoreAnswer) -> String {
    let word = match answer.result {
        StoreResult::Balanced => "balanced",
        StoreResult::Hot => "hot",
        StoreResult::CannotSay => "cannot say",
    };
    let mut lines = vec![format!("{word}: {}", escaped(&answer.sentence))];
    let seconds = answer.window_seconds;
    lines.push(format!(
        "{}, {} keyed commands to primaries in {seconds:.1} s, commands from {}",
        escaped(&answer.server),
        answer.commands,
        escaped(&answer.commands_from)
    ));
    lines.extend(answer.nodes.iter().map(node));
    for key in answer.keys.iter().take(KEYS) {
        let slot = key.slot.map(|slot| format!("  slot {slot}")).unwrap_or_default();
        let error = if key.error == 0 { String::new() } else { format!(" (+{})", key.error) };
        let name = escaped(&key.key);
        let share = percent(key.share);
        lines.push(format!(
            "key \"{name}\"  shard {}{slot}  {}{error} commands  {share}",
            key.shard_id, key.count
        ));
    }
    for one in &answer.mitigations {
        let (what, share) = (one.mitigation.words(), percent(one.hottest_share));
        lines.push(format!("{what}: hottest node {share} ({})", one.note));
    }
    lines.join("\n") + "\n"
}

fn node(node: &StoreNode) -> String {
    let of = node.primary.map(|primary| format!(" of {primary}")).unwrap_or_default();
    let slots =
        if node.slots.is_empty() { String::new() } else { format!("  slots {}", node.slots.join(",")) };
    format!(
        "shard {}  {}  {}{of}{slots}  {} commands  {}  {}{}",
        node.shard_id,
        escaped(&node.address),
        node.role,
        node.commands,
        percent(node.share),
        latency(&node.latency_ms),
        compared(&node.reconciliation.total, &node.reconciliation.bytes)
    )
}

/// Median and 99th percentile, if commands were timed.
fn latency(quantiles: &Quantiles) -> String {
    match (quantiles.p50, quantiles.p99) {
        (Some(p50), Some(p99)) => format!("p50 {p50:.2} ms, p99 {p99:.2} ms  "),
        _ => String::new(),
    }
}

/// Whether kernel and store agree, in words.
fn compared(total: &Comparison, bytes: &Comparison) -> String {
    let word = match total.agrees {
        Some(true) => "kernel and store agree",
        Some(false) => "kernel and store DIFFER",
        None => "not compared by name",
    };
    let cause = total.cause.as_ref().map(|cause| format!(" ({})", escaped(cause))).unwrap_or_default();
    let difference = total.difference.map(|by| format!(", {by:+} commands")).unwrap_or_default();
    let bytes = bytes.difference.map(|by| format!(", {by:+} bytes")).unwrap_or_default();
    format!("{word}{difference}{bytes}{cause}")
}
