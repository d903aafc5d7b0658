//! `cargo xtask manifests`: checks deploy/kubernetes.
//!
//! - The PrometheusRule is generated from deploy/prometheus/rules and compared with it.
//! - Objects of the Prometheus operator's kinds in base/ are checked against [`definitions`].
//! - The rendered overlays are checked against Kubernetes' schemas.
//!
//! Both schema checks reject unknown fields.

mod definitions;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::outcome::CheckOutcome;
use crate::python;
use lab::tree::Tree;
use lab::{command, programs, signals};

const RULES: [&str; 2] = ["recording.yml", "alerts.yml"];
const BASE: &str = "deploy/kubernetes/base";
const DEFINITIONS: &str = "deploy/kubernetes/definitions";
const RULE: &str = "deploy/kubernetes/base/prometheus-rule.yaml";
const OVERLAYS: [&str; 3] = ["kind", "kind-without-operator", "production"];

/// The Python package with the schemas. Its version is the Kubernetes version.
const VALIDATOR: (&str, &str) = ("kubernetes-validate", "1.34.1");
const KUBERNETES: &str = "1.34";

/// Kinds of this API group belong to the Prometheus operator, not to Kubernetes.
const OPERATOR: &str = "monitoring.coreos.com/";

/// Prints the YAML documents of files as one JSON list.
const TO_JSON: &str = "\
import json, sys, yaml
print(json.dumps([each for name in sys.argv[1:] for each in yaml.safe_load_all(open(name, 'rb')) if each]))";

/// The label selector of a Service for one shard.
const ONE_SHARD: &str = "statefulset.kubernetes.io/pod-name: shard-";

const HEAD: &str = "\
# Written by `cargo xtask manifests --write` from deploy/prometheus/rules: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: hot-partition-lab
  namespace: hot-partition
spec:
  groups:
";

/// Runs all checks that this machine can run. With `write`, writes the PrometheusRule first.
///
/// # Errors
/// When a file is out of date, or kustomize or a schema rejects something. The error lists the findings.
pub(crate) fn run(tree: &Tree, write: bool) -> Result<CheckOutcome> {
    one_source_of_rules(tree, write)?;
    every_dashboard(tree)?;
    as_many_names_as_shards(tree)?;
    let rendered = kustomize().map(|kustomize| render(tree, &kustomize)).transpose()?;
    let validator = match python::install(tree, VALIDATOR.0, VALIDATOR.1, VALIDATOR.0) {
        Ok(validator) => validator,
        Err(error) => {
            signals::check()?;
            return Ok(CheckOutcome::NotAll(format!("the checks against schemas: {error:#}")));
        }
    };
    operators_kinds(tree, &validator.with_file_name("python3"))?;
    let Some(rendered) = rendered else {
        return Ok(CheckOutcome::NotAll(
            "the overlays: neither kubectl nor kustomize is installed".to_owned(),
        ));
    };
    rendered.iter().try_for_each(|(overlay, text)| validate(tree, &validator, overlay, text))?;
    Ok(CheckOutcome::Holds)
}

/// Checks the files of base/ without rendering, so this check does not need kustomize.
fn operators_kinds(tree: &Tree, python: &Path) -> Result<()> {
    let (definitions, base) = (documents(tree, python, DEFINITIONS)?, documents(tree, python, BASE)?);
    let of_operator =
        |object: &&Value| object["apiVersion"].as_str().is_some_and(|version| version.starts_with(OPERATOR));
    let objects: Vec<&Value> = base.iter().filter(of_operator).collect();
    let problems = definitions::problems(&definitions, &objects);
    if !problems.is_empty() {
        bail!("{BASE} does not match {DEFINITIONS}: {}", problems.join("; "));
    }
    println!("base: {} objects of the Prometheus operator match its definitions", objects.len());
    Ok(())
}

/// The objects in the YAML files of a folder.
fn documents(tree: &Tree, python: &Path, folder: &str) -> Result<Vec<Value>> {
    let entries = fs::read_dir(tree.root.join(folder)).with_context(|| folder.to_owned())?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let json = command::capture(Command::new(python).args(["-c", TO_JSON]).args(&files))?;
    serde_json::from_str(&json).with_context(|| format!("the YAML of {folder}"))
}

fn read(tree: &Tree, path: &str) -> Result<String> {
    fs::read_to_string(tree.root.join(path)).with_context(|| format!("{path} cannot be read"))
}

fn one_source_of_rules(tree: &Tree, write: bool) -> Result<()> {
    let files: Result<Vec<String>> =
        RULES.iter().map(|name| read(tree, &format!("deploy/prometheus/rules/{name}"))).collect();
    let rule = prometheus_rule(&files?)?;
    if write {
        fs::write(tree.root.join(RULE), &rule).with_context(|| format!("{RULE} cannot be written"))?;
    }
    if read(tree, RULE)? != rule {
        bail!("{RULE} does not match deploy/prometheus/rules; run cargo xtask manifests --write");
    }
    Ok(())
}

/// A PrometheusRule with the groups of all `files`, indented by one more level.
fn prometheus_rule(files: &[String]) -> Result<String> {
    let mut rule = HEAD.to_owned();
    for file in files {
        let (_, groups) = file.split_once("groups:\n").context("a file of rules has no groups")?;
        for line in groups.lines() {
            if line.is_empty() {
                rule.push('\n');
            } else {
                writeln!(rule, "  {line}")?;
            }
        }
    }
    Ok(rule)
}

fn every_dashboard(tree: &Tree) -> Result<()> {
    let listed = read(tree, "grafana/kustomization.yaml")?;
    let folder = fs::read_dir(tree.root.join("grafana/dashboards")).context("grafana/dashboards")?;
    for entry in folder {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") && !listed.contains(&format!("dashboards/{name}]")) {
            bail!("grafana/kustomization.yaml does not name dashboards/{name}");
        }
    }
    Ok(())
}

fn as_many_names_as_shards(tree: &Tree) -> Result<()> {
    let names = read(tree, &format!("{BASE}/shards.env"))?.matches("http://").count();
    let services = read(tree, &format!("{BASE}/shard-services.yaml"))?.matches(ONE_SHARD).count();
    let shards = read(tree, &format!("{BASE}/shard.yaml"))?;
    let replicas = shards.lines().find_map(|line| line.strip_prefix("  replicas: ")).unwrap_or("no");
    if replicas != names.to_string() || services != names {
        bail!(
            "shards.env names {names} shards, {services} have a Service of their own, and the StatefulSet has {replicas} replicas"
        );
    }
    Ok(())
}

/// The command that renders an overlay, without the overlay's folder.
fn kustomize() -> Option<Vec<String>> {
    let found = |name: &str| programs::find(name).map(|path| path.to_string_lossy().into_owned());
    let alone = found("kustomize").map(|path| vec![path, "build".to_owned()]);
    alone.or_else(|| Some(vec![found("kubectl")?, "kustomize".to_owned()]))
}

fn render(tree: &Tree, kustomize: &[String]) -> Result<Vec<(&'static str, String)>> {
    let one = |overlay: &'static str| {
        let folder = tree.root.join("deploy/kubernetes/overlays").join(overlay);
        let text = command::capture(Command::new(&kustomize[0]).args(&kustomize[1..]).arg(folder));
        Ok((overlay, text.with_context(|| format!("the overlay {overlay}"))?))
    };
    OVERLAYS.into_iter().map(one).collect()
}

fn validate(tree: &Tree, validator: &Path, overlay: &str, text: &str) -> Result<()> {
    let operator = format!("apiVersion: {OPERATOR}");
    let own: Vec<&str> = text.split("\n---\n").filter(|object| !object.contains(&operator)).collect();
    let folder = tree.target.join("manifests");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{overlay}.yaml"));
    fs::write(&file, own.join("\n---\n"))?;
    let mut command = Command::new(validator);
    command.args(["--strict", "-k", KUBERNETES]).arg(&file).stdin(Stdio::null());
    let output = command.output().context("the validator cannot be started")?;
    // The validator writes its findings to standard output.
    let findings = String::from_utf8_lossy(&output.stdout);
    let errors: Vec<&str> = findings.lines().filter(|line| line.starts_with("ERROR")).collect();
    if !output.status.success() || !errors.is_empty() {
        bail!(
            "the overlay {overlay} does not match the schemas of Kubernetes {KUBERNETES}: {}",
            errors.join("; ")
        );
    }
    println!("{overlay}: {} objects match the schemas of Kubernetes {KUBERNETES}", own.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::prometheus_rule;

    #[test]
    fn groups_of_all_files_are_one_list() {
        let one =
            "# Why.\ngroups:\n  - name: a\n    rules:\n      - expr: |\n          x\n\n            and y\n";
        let rule = prometheus_rule(&[one.to_owned(), "groups:\n  - name: b\n".to_owned()]).unwrap();
        let groups = rule.split_once("spec:\n  groups:\n").unwrap().1;
        let expected = "    - name: a\n      rules:\n        - expr: |\n            x\n\n              and y\n    - name: b\n";
        assert_eq!(groups, expected);
        assert!(prometheus_rule(&["rules: []\n".to_owned()]).is_err());
    }
}
