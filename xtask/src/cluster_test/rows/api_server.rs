//! Disturbs what the probe knows from the API server.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{listed, seconds};
use crate::cluster_test::lab::{LAB, Lab, PROBES, SHARDS};
use crate::cluster_test::wait::pass;
use crate::verdicts::Verdicts;

/// The probe must watch the right pods within this time after the end of a fault.
const RIGHT_WITHIN: Duration = Duration::from_secs(10);

/// This test gives up after that time.
const TIMEOUT: Duration = Duration::from_secs(90);

const FROZEN_FOR: Duration = Duration::from_secs(60);

/// The probe's rights in the lab's namespace.
const ROLE: &str = "probe";

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    frozen(lab, verdicts)?;
    restarted(lab, verdicts)?;
    without_role(lab, verdicts)
}

fn frozen(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let shards = lab.shards()?;
    let probes = lab.probes()?;
    lab.cluster.freeze_api_server(true)?;
    let passed = pass("the API server is frozen", FROZEN_FOR);
    // No shard may be lost meanwhile.
    let watched: Result<Vec<bool>> = probes
        .iter()
        .map(|probe| {
            let own = shards.iter().enumerate().filter(|(_, shard)| shard.node == probe.node);
            let status = lab.status(probe)?;
            Ok(own.into_iter().all(|(id, shard)| {
                status.shards[id].addresses.iter().any(|address| address.starts_with(&shard.address))
            }))
        })
        .collect();
    lab.cluster.freeze_api_server(false)?;
    passed?;
    let kept = watched?.into_iter().all(|kept| kept);
    lab.cluster.kubectl(&["-n", LAB, "delete", "pod", "shard-2"])?;
    report(
        lab,
        verdicts,
        "API server frozen for a minute, then a shard replaced",
        &format!("frozen: the last pods {}", if kept { "stay watched" } else { "are NOT watched" }),
        kept,
    )
}

fn restarted(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    lab.cluster.restart_api_server()?;
    lab.cluster.kubectl(&["-n", LAB, "delete", "pod", "shard-2"])?;
    report(lab, verdicts, "API server killed and started, then a shard replaced", "the watch is broken", true)
}

fn without_role(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let role = lab.cluster.kubectl(&["-n", LAB, "get", "role", ROLE, "-ojson"])?;
    lab.cluster.kubectl(&["-n", LAB, "delete", "role", ROLE])?;
    lab.cluster.kubectl(&["-n", LAB, "delete", "pod", "shard-2"])?;
    let passed = pass("the probe has no Role", Duration::from_secs(75));
    let words = said(lab);
    lab.cluster.apply("role", &without_identity(&role)?)?;
    passed?;
    let (known, words) = match words? {
        Some(line) => (true, line),
        None => (false, "no probe reports it".to_owned()),
    };
    report(lab, verdicts, "the Role taken away, a shard replaced, the Role returned", &words, known)
}

/// Reports whether the probes watch the right pods soon after Kubernetes has replaced the shard's pod.
fn report(lab: &Lab<'_>, verdicts: &mut Verdicts, name: &str, before: &str, held: bool) -> Result<()> {
    // Kubernetes itself needs time to recover: its own watches back off too.
    let has_pods =
        |lab: &Lab<'_>| Ok(lab.shards()?.iter().filter(|shard| !shard.address.is_empty()).count() == SHARDS);
    let replaced = lab.until("the new pod", TIMEOUT, has_pods)?;
    let (started, mut late) = (Instant::now(), Vec::new());
    let right = lab.until("the probes", TIMEOUT, |lab| {
        let problems = lab.not_watched()?;
        if !problems.is_empty() && started.elapsed() > RIGHT_WITHIN {
            late.clone_from(&problems);
        }
        Ok(problems.is_empty())
    })?;
    lab.ready()?;
    let mut problems = lab.disagreements()?;
    problems.extend(late);
    let figure = format!(
        "{before}; the new pod has an address {} after the fault, right pods {} later{}",
        seconds(replaced),
        seconds(right),
        listed(&problems)
    );
    verdicts.report(name, held && right <= RIGHT_WITHIN && problems.is_empty(), &figure);
    Ok(())
}

/// What a probe's log says about its missing right.
fn said(lab: &Lab<'_>) -> Result<Option<String>> {
    for probe in lab.probes()? {
        let log = lab.cluster.kubectl(&["-n", PROBES, "logs", &probe.name, "--since=80s"])?;
        let line = log.lines().rev().find(|line| line.contains("403") || line.contains("forbidden"));
        if let Some(line) = line {
            return Ok(Some(message(line)));
        }
    }
    Ok(None)
}

/// The message of a JSON log line, shortened.
fn message(line: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = json["error"].as_str().or(json["message"].as_str()).unwrap_or(line);
    format!("the log has {:?}", text.chars().take(160).collect::<String>())
}

/// An object without what the API server has added, so that it can be created again.
fn without_identity(json: &str) -> Result<String> {
    let mut object: serde_json::Value = serde_json::from_str(json)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "labels"));
    }
    Ok(object.to_string())
}
