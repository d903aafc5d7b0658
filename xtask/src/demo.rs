//! `cargo xtask demo`: runs four scenarios and compares all witnesses.

mod run;
#[cfg(test)]
mod samples;
mod sentence;
mod view;
mod witness;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use self::run::Stage;
use self::witness::ScenarioOutcome;
use crate::kernel::{Access, Lacking};
use crate::native_lab::{self, Parts};
use crate::probe_client::ProbeClient;
use crate::table::thousands;
use crate::terminal::{bold, faint, heading, mark};
use crate::up;
use lab::Lab;
use lab::http::Client;
use lab::ports::{Ports, SHARDS, url};
use lab::signals;
use lab::tree::Tree;

/// Seconds of load in each scenario.
const SECONDS: u32 = 15;
/// Seconds of load in each scenario with `--quick`.
const QUICK_SECONDS: u32 = 4;

/// A scenario of the load generator.
pub(crate) struct Scenario {
    /// The scenario's name in the load generator.
    pub(crate) name: &'static str,
    /// A description for new users.
    about: &'static str,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "uniform", about: "50 requests/s over 1,000 users, all equally popular" },
    Scenario {
        name: "zipfian",
        about: "50 requests/s over the same users, popularity by Zipf's law (exponent 1.5)",
    },
    Scenario { name: "celebrity", about: "100 requests/s for one celebrity, 30/s over 500 others, no cache" },
    Scenario { name: "with-caching", about: "the same load with the gateway's cache switched on" },
];

/// Command-line options.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) ports: Ports,
    pub(crate) with_kernel: bool,
    pub(crate) require_kernel: bool,
}

/// Runs the demo and returns whether all witnesses that ran agree.
///
/// # Errors
/// When something cannot be built, started or measured, or when the required kernel access is missing.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<bool> {
    let started = Instant::now();
    let seconds = if request.quick { QUICK_SECONDS } else { SECONDS };
    request.ports.check(request.with_kernel)?;
    println!("{}", bold("Hot Partition Lab"));
    println!(
        "Four shards, one gateway, four kinds of load of {seconds} s each. Independent witnesses count every request."
    );

    heading("Building");
    let access = up::prepare(tree, request.ports, Parts::Demo, request.with_kernel)?;
    if let Access::None(lacking) = &access {
        if request.require_kernel {
            bail!("--require-kernel is set, but the probe cannot run here:\n{}", lacking.lines().join("\n"));
        }
        println!("{}", lacking.banner());
    }

    heading("Starting the lab");
    let client = Client::default();
    let mut lab = native_lab::start(native_lab::measured(tree, request.ports, &access)?, &client)?;
    let with_probe = lab.probe.is_some();
    let ports = request.ports;
    println!(
        "  gateway on port {}, shards on {} … {}{}",
        ports.gateway(),
        ports.shard(0),
        ports.shard(SHARDS - 1),
        if with_probe { format!(", probe on {}", ports.probe()) } else { String::new() }
    );
    if with_probe {
        println!("  watch it live:  {}", bold(&format!("{}/", url(ports.probe()))));
    }
    println!("\n{}", faint(view::LEGEND));

    let probe = with_probe.then(|| ProbeClient::new(client.clone(), ports.probe()));
    let stage = Stage { tree, ports, client: &client, probe, seconds };
    let outcomes = scenarios(&stage, &mut lab);
    let killed = lab.stop();
    let outcomes = outcomes.context("the lab is stopped")?;

    let agrees = conclude(&outcomes, with_probe);
    if !killed.is_empty() {
        println!("{} had to be killed at the end: {}", mark(false), killed.join(", "));
    }
    if let Some(path) = &request.json {
        write_json(path, &outcomes, &access, seconds, agrees)?;
        println!("  All figures: {}", path.display());
    }
    println!("  {} s in all.", started.elapsed().as_secs());
    Ok(agrees && killed.is_empty())
}

/// Runs all scenarios. A scenario that cannot be measured is reported and becomes `None`.
fn scenarios(stage: &Stage, lab: &mut Lab) -> Result<Vec<Option<ScenarioOutcome>>> {
    let mut outcomes = Vec::new();
    for scenario in &SCENARIOS {
        heading(scenario.name);
        println!("{}", scenario.about);
        match stage.run(lab, scenario) {
            Ok(outcome) => {
                println!("{}", view::render(&outcome));
                outcomes.push(Some(outcome));
            }
            Err(error) => {
                signals::check()?;
                // If a part of the lab has stopped, no further scenario can run. Other errors may concern this
                // scenario only.
                lab.check()?;
                println!("  {} not measured: {error:#}", mark(false));
                outcomes.push(None);
            }
        }
    }
    Ok(outcomes)
}

fn conclude(outcomes: &[Option<ScenarioOutcome>], with_probe: bool) -> bool {
    heading("Result");
    let find = |name: &str| outcomes.iter().flatten().find(|outcome| outcome.scenario == name);
    if let (Some(without), Some(with)) = (find("celebrity"), find("with-caching"))
        && let Some(text) = sentence::hot_shard_hurts(without, with)
    {
        let mut lines = text.lines();
        println!("{}", lines.next().unwrap_or_default());
        lines.for_each(|line| println!("  {line}"));
    }
    let agrees = outcomes.iter().all(|outcome| outcome.as_ref().is_some_and(ScenarioOutcome::agrees));
    if agrees {
        let witnesses = if with_probe {
            "generator, application, kernel and theory"
        } else {
            "generator, application and theory"
        };
        let requests = outcomes.iter().flatten().map(ScenarioOutcome::reached_shards).sum();
        println!(
            "{} {witnesses} agree in all {} scenarios; {} requests reached a shard.",
            mark(true),
            outcomes.len(),
            thousands(requests)
        );
    } else {
        let names = |is_meant: fn(&Option<ScenarioOutcome>) -> bool| {
            let scenarios = SCENARIOS.iter().zip(outcomes).filter(|(_, outcome)| is_meant(outcome));
            scenarios.map(|(scenario, _)| scenario.name).collect::<Vec<_>>().join(", ")
        };
        let disagree = names(|outcome| outcome.as_ref().is_some_and(|outcome| !outcome.agrees()));
        if !disagree.is_empty() {
            println!("{} the witnesses disagree in: {disagree}", mark(false));
        }
        let unmeasured = names(Option::is_none);
        if !unmeasured.is_empty() {
            println!("{} not measured: {unmeasured}", mark(false));
        }
    }
    agrees
}

fn write_json(
    path: &Path,
    outcomes: &[Option<ScenarioOutcome>],
    access: &Access,
    seconds: u32,
    agrees: bool,
) -> Result<()> {
    let scenarios: Vec<serde_json::Value> = SCENARIOS
        .iter()
        .zip(outcomes)
        .map(|(scenario, outcome)| match outcome {
            Some(outcome) => json!({
                "scenario": scenario.name,
                "about": scenario.about,
                "agrees": {"counts": outcome.counts_agree(), "theory": outcome.theory_agrees(),
                           "compare": outcome.compare.as_ref().map(|_| outcome.compare_agrees())},
                "sentence": sentence::sentence(outcome),
                "shards": outcome.shards,
                "reached": outcome.reached,
                "compare": outcome.compare,
                "load": outcome.load,
            }),
            None => json!({"scenario": scenario.name, "about": scenario.about, "agrees": null}),
        })
        .collect();
    let kernel = match access {
        Access::Direct => json!({"asked": true, "rights": "own"}),
        Access::Sudo => json!({"asked": true, "rights": "sudo"}),
        Access::None(Lacking { why, remedy }) => json!({"asked": false, "why": why, "remedy": remedy}),
    };
    let all =
        json!({"agrees": agrees, "seconds_per_scenario": seconds, "kernel": kernel, "scenarios": scenarios});
    let text = serde_json::to_string_pretty(&all).context("cannot write the figures as JSON")?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::samples::{agreeing, caching_report, celebrity_report};
    use super::{conclude, write_json};
    use crate::kernel::Access;

    #[test]
    fn a_scenario_that_was_not_measured_is_no_agreement() {
        let one = || Some(agreeing("celebrity", celebrity_report()));
        assert!(conclude(&[one(), one(), one(), Some(agreeing("with-caching", caching_report()))], true));
        assert!(!conclude(&[one(), None, one(), one()], true));
    }

    #[test]
    fn the_json_file_has_every_figure() {
        let outcomes = [Some(agreeing("uniform", celebrity_report())), None];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("demo.json");
        write_json(&path, &outcomes, &Access::Direct, 4, false).expect("written");
        let text = std::fs::read(&path).expect("readable");
        let all: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(all["agrees"], false);
        assert_eq!(all["scenarios"][0]["shards"][0]["kernel"]["requests"], 1604);
        assert_eq!(all["scenarios"][0]["agrees"]["compare"], true);
        assert!(all["scenarios"][1]["agrees"].is_null());
    }
}
