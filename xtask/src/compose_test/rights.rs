//! Checks the probe container's capabilities, and its error message without them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::stack::Stack;
use super::witnesses::Lab;
use crate::verdicts::Verdicts;
use lab::{command, signals};

const PROBE: &str = "lab39-probe";

/// The capabilities in the compose files, with their numbers from `linux/capability.h`.
const NUMBERS: [(&str, u32); 4] = [("NET_ADMIN", 12), ("SYS_ADMIN", 21), ("PERFMON", 38), ("BPF", 39)];

/// The capability sets in `/proc/PID/status` that a process can use or pass on.
const SETS: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];

/// Maximum time for the probe to report its missing rights.
const SAYS_WITHIN: Duration = Duration::from_secs(20);

/// Checks which capabilities the container gets, and that the running probe keeps none.
pub(crate) fn check(stack: &Stack<'_>, verdicts: &mut Verdicts) {
    match given(stack) {
        Ok((holds, figure)) => verdicts.report("the probe's capabilities as listed", holds, &figure),
        Err(error) => verdicts.could_not("the probe's capabilities as listed", &error),
    }
    match kept(stack) {
        Ok((holds, figure)) => verdicts.report("no capability is left after attaching", holds, &figure),
        Err(error) => verdicts.could_not("no capability is left after attaching", &error),
    }
}

/// Compares the compose file's list, the engine's list, and the bounding set, which limits every thread in it.
fn given(stack: &Stack<'_>) -> Result<(bool, String)> {
    let wanted: &[&str] =
        if stack.engine().is_old() { &["NET_ADMIN", "SYS_ADMIN"] } else { &["BPF", "NET_ADMIN", "PERFMON"] };
    let listed = stack.inspect(PROBE, "{{range .HostConfig.CapAdd}}{{.}} {{end}}")?;
    let mut listed: Vec<&str> =
        listed.split_whitespace().map(|name| name.trim_start_matches("CAP_")).collect();
    listed.sort_unstable();
    let dropped = stack.inspect(PROBE, "{{.HostConfig.CapDrop}}")?;
    let bounding = set(&status(stack)?, "CapBnd")?;
    let holds = listed == wanted && dropped == "[ALL]" && bounding == mask(wanted);
    let figure = format!("added {}, dropped {dropped}, bounding set {bounding:#x}", listed.join(" "));
    Ok((holds, figure))
}

fn kept(stack: &Stack<'_>) -> Result<(bool, String)> {
    let status = status(stack)?;
    let mut left = Vec::new();
    for name in SETS {
        let bits = set(&status, name)?;
        if bits != 0 {
            left.push(format!("{name} {bits:#x}"));
        }
    }
    let figure = if left.is_empty() { format!("{} are empty", SETS.join(", ")) } else { left.join(", ") };
    Ok((left.is_empty(), figure))
}

/// Runs the probe without capabilities: it must report what it lacks while the lab keeps running. Restores the probe
/// afterwards.
///
/// # Errors
/// When the probe does not start again.
pub(crate) fn without(stack: &mut Stack<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let check = "without capabilities it reports the reason, and the rest keeps running";
    stack.add("no-rights.yaml", &format!("services:\n  {PROBE}: {{ cap_add: !override [] }}\n"))?;
    let outcome = bare(stack);
    stack.take_back();
    match outcome {
        Ok((holds, figure)) => verdicts.report(check, holds, &figure),
        Err(error) => verdicts.could_not(check, &error),
    }
    command::capture(stack.compose().args(["up", "-d", "--no-deps", PROBE]))?;
    stack.wait_healthy().map(drop)
}

fn bare(stack: &Stack<'_>) -> Result<(bool, String)> {
    command::capture(stack.compose().args(["up", "-d", "--no-deps", PROBE]))?;
    let output = signals::poll(SAYS_WITHIN, Duration::from_millis(500), || {
        let log = command::capture(stack.compose().args(["logs", "--no-log-prefix", PROBE]))?;
        Ok(log.lines().find(|line| line.contains("CAP_")).map(|line| line.trim().to_owned()))
    })?;
    let reads = Lab::new(stack).reads();
    let line = output.as_deref().unwrap_or("no message about capabilities");
    let rest = if reads { "the gateway answers" } else { "the gateway does not answer" };
    Ok((output.is_some() && reads, format!("{line} — {rest}")))
}

/// `/proc/PID/status` of the container's first process.
fn status(stack: &Stack<'_>) -> Result<String> {
    let file = format!("/proc/{}/status", stack.inspect(PROBE, "{{.State.Pid}}")?);
    fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))
}

fn set(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let text = line.with_context(|| format!("the process has no {name}"))?;
    u64::from_str_radix(text.trim(), 16).with_context(|| format!("{name} is {text}"))
}

fn mask(names: &[&str]) -> u64 {
    NUMBERS.iter().filter(|(name, _)| names.contains(name)).map(|(_, number)| 1_u64 << number).sum()
}

#[cfg(test)]
mod tests {
    use super::{mask, set};

    #[test]
    fn sets_are_read_as_the_kernel_writes_them() {
        let status = "Name:\tprobe\nCapEff:\t0000000000000000\nCapBnd:\t000000c000001000\n";
        assert_eq!(set(status, "CapBnd").unwrap(), mask(&["BPF", "NET_ADMIN", "PERFMON"]));
        assert_eq!(set(status, "CapEff").unwrap(), 0);
        assert!(set(status, "CapAmb").is_err());
    }
}
