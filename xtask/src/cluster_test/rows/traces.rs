//! Counts traces and spans in a Jaeger, for each setting of OpenTelemetry's variables.

mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::signals;
use protocol::body::GatewayGet;
use serde_json::{Value, json};

use super::listed;
use crate::cluster_test::lab::{GATEWAY_PORT, LAB, Lab};
use crate::cluster_test::pods::{Pod, pods};
use crate::verdicts::Verdicts;

const MANIFEST: &str = include_str!("../manifests/jaeger.yaml");
const NAMESPACE: &str = "monitoring";
const PORT: u16 = 16_686;
const GRPC: &str = "http://jaeger.monitoring:4317";
const HTTP: &str = "http://jaeger.monitoring:4318";

/// Reads of each case.
const READS: usize = 20;

/// All shards must answer within this time after they were replaced.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// Spans arrive within this time: one `OTEL_BSP_SCHEDULE_DELAY` (set to 500 ms) and the search.
const ARRIVE_WITHIN: Duration = Duration::from_secs(15);

/// A case: its name, the variables, and how many spans each read that reaches a shard has.
type Case<'a> = (&'static str, &'a [&'a str], usize);

/// An attribute that the last case adds, beside the one of the manifests.
const ATTRIBUTES: &str =
    "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=$(POD_NAME),deployment.environment.name=test";

/// All variables that a case may set and the manifests do not.
const VARIABLES: [&str; 8] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT-",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT-",
    "OTEL_EXPORTER_OTLP_PROTOCOL-",
    "OTEL_EXPORTER_OTLP_CERTIFICATE-",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE-",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL-",
    "OTEL_SDK_DISABLED-",
    "OTEL_TRACES_EXPORTER-",
];

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    lab.cluster.apply("jaeger", MANIFEST)?;
    lab.cluster.rolled_out(NAMESPACE, "deployment/jaeger")?;
    let jaeger =
        pods(&lab.cluster, NAMESPACE, "app=jaeger")?.into_iter().next().context("Jaeger has no pod")?;
    let endpoint = format!("OTEL_EXPORTER_OTLP_ENDPOINT={GRPC}");
    let of_http = format!("OTEL_EXPORTER_OTLP_ENDPOINT={HTTP}");
    let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={GRPC}");
    let path_of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={HTTP}/v1/traces");
    let cases: [Case<'_>; 6] = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &[&endpoint], 3),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            &[&of_http, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"],
            3,
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &[&of_traces], 3),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
            &[&path_of_traces, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"],
            3,
        ),
        ("OTEL_SDK_DISABLED=true", &[&endpoint, "OTEL_SDK_DISABLED=true"], 0),
        ("OTEL_TRACES_EXPORTER=none", &[&endpoint, "OTEL_TRACES_EXPORTER=none"], 0),
    ];
    for (number, case) in cases.iter().enumerate() {
        match one(lab, &jaeger, number, case) {
            Ok((holds, figure)) => verdicts.report(case.0, holds, &figure),
            Err(error) => {
                signals::check()?;
                verdicts.could_not(case.0, &error);
            }
        }
    }
    for (name, check) in
        [("a cache hit is one span", hits as fn(&Lab<'_>, &Pod) -> _), ("resource variables", resources)]
    {
        match check(lab, &jaeger) {
            Ok((holds, figure)) => verdicts.report(name, holds, &figure),
            Err(error) => {
                signals::check()?;
                verdicts.could_not(name, &error);
            }
        }
    }
    tls::run(lab, verdicts)?;
    set(lab, &[])?;
    lab.apply_again()
}

/// Sets the variables of gateways and shards, and no others.
fn set(lab: &Lab<'_>, variables: &[&str]) -> Result<()> {
    let given: Vec<&str> =
        variables.iter().filter_map(|set| set.split_once('=')).map(|(name, _)| name).collect();
    let mut arguments: Vec<&str> =
        VARIABLES.into_iter().filter(|name| !given.contains(&name.trim_end_matches('-'))).collect();
    arguments.extend(variables);
    arguments.push("OTEL_BSP_SCHEDULE_DELAY=500");
    let env = |workload: &str| {
        let command = [&["-n", LAB, "set", "env", workload][..], &arguments].concat();
        lab.cluster.kubectl(&command)
    };
    env("statefulset/shard")?;
    env("deployment/gateway")?;
    // Not one after another: nothing is counted here.
    let delete = ["-n", LAB, "delete", "pod", "-l", "app.kubernetes.io/component=shard", "--timeout=60s"];
    // kubectl may miss the end of a pod that is replaced under its name, and then waits in vain.
    let _ = lab.cluster.kubectl(&delete);
    lab.ready()?;
    // A gateway that stops still gets connections until each node knows it, and has the variables of before.
    let all = ["-n", LAB, "get", "pods", "-l", "app.kubernetes.io/component=gateway", "-oname"];
    lab.until("the old gateways' end", REACHED_WITHIN, |lab| {
        Ok(lab.cluster.kubectl(&all)?.lines().count() == lab.gateways()?.len())
    })
    .map(drop)
}

fn one(
    lab: &Lab<'_>,
    jaeger: &Pod,
    number: usize,
    (_, variables, spans): &Case<'_>,
) -> Result<(bool, String)> {
    set(lab, variables)?;
    reached(lab)?;
    let keys: Vec<String> = (0..READS).map(|read| format!("trace-{number}-{read}")).collect();
    let mut shards = BTreeMap::new();
    for key in &keys {
        let answer: GatewayGet = lab.ask(&format!("/data/{key}"))?;
        shards.insert(key.clone(), u64::from(answer.shard_id.0));
    }
    let mut found = BTreeMap::new();
    let complete = |found: &BTreeMap<String, Vec<Value>>| {
        keys.iter().all(|key| found.get(key).is_some_and(|trace| trace.len() >= *spans))
    };
    signals::poll(ARRIVE_WITHIN, Duration::from_millis(500), || {
        found = traces(lab, jaeger)?.into_iter().map(|(key, trace)| (key, trace.spans)).collect();
        // Without spans to wait for, all of the time must pass.
        Ok((*spans > 0 && complete(&found)).then_some(()))
    })?;
    let mut problems = Vec::new();
    for key in &keys {
        let trace = found.get(key).map_or(&[][..], Vec::as_slice);
        if let Err(problem) = check(trace, *spans, key, shards[key]) {
            problems.push(format!("{key}: {problem}"));
        }
    }
    let traces = keys.iter().filter(|key| found.contains_key(*key)).count();
    problems.truncate(3);
    Ok((problems.is_empty(), format!("{READS} reads, {traces} traces of {spans} spans{}", listed(&problems))))
}

/// Waits until the gateways have reached the shards' new pods.
fn reached(lab: &Lab<'_>) -> Result<()> {
    lab.until("the shards", REACHED_WITHIN, |lab| {
        Ok((0..READS).all(|read| lab.ask::<GatewayGet>(&format!("/data/warm-{read}")).is_ok()))
    })
    .map(drop)
}

/// Reads each key twice with the caches on.
fn hits(lab: &Lab<'_>, jaeger: &Pod) -> Result<(bool, String)> {
    set(lab, &[&format!("OTEL_EXPORTER_OTLP_ENDPOINT={GRPC}")])?;
    reached(lab)?;
    lab.tell("/admin/cache", &json!({ "enabled": true }))?;
    let mut read = BTreeMap::from([(true, 0), (false, 0)]);
    for key in (0..READS).flat_map(|key| [key, key]) {
        let answer: GatewayGet = lab.ask(&format!("/data/hit-{key}"))?;
        *read.entry(answer.cache_hit).or_default() += 1;
    }
    lab.tell("/admin/cache", &json!({ "enabled": false }))?;
    // Each read by whether it was a hit, and its number of spans.
    let mut found: BTreeMap<(bool, usize), usize> = BTreeMap::new();
    let expected = BTreeMap::from([((true, 1), read[&true]), ((false, 3), read[&false])]);
    signals::poll(ARRIVE_WITHIN, Duration::from_millis(500), || {
        found.clear();
        for (key, trace) in traces(lab, jaeger)? {
            let hit = trace.spans.iter().find_map(|span| tag(span, "cache_hit")?.as_bool());
            if let Some(hit) = hit.filter(|_| key.starts_with("hit-")) {
                *found.entry((hit, trace.spans.len())).or_default() += 1;
            }
        }
        Ok((found == expected).then_some(()))
    })?;
    let of = |hit, spans| found.get(&(hit, spans)).copied().unwrap_or_default();
    let figure = format!(
        "{} hits, {} traces of one span; {} misses, {} traces of three",
        read[&true],
        of(true, 1),
        read[&false],
        of(false, 3)
    );
    Ok((found == expected && read[&true] > 0, figure))
}

/// Reads through all gateways, with an attribute of the resource set by its variable.
fn resources(lab: &Lab<'_>, jaeger: &Pod) -> Result<(bool, String)> {
    set(lab, &[&format!("OTEL_EXPORTER_OTLP_ENDPOINT={GRPC}"), ATTRIBUTES])?;
    reached(lab)?;
    let gateways = lab.gateways()?;
    for gateway in &gateways {
        for read in 0..READS {
            lab.read::<GatewayGet>(
                gateway,
                GATEWAY_PORT,
                &format!("/data/resource-{}-{read}", gateway.name),
            )?;
        }
    }
    let mut names: Vec<String> = gateways.iter().chain(&lab.shards()?).map(|pod| pod.name.clone()).collect();
    names.sort();
    let (mut instances, mut problems) = (BTreeSet::new(), BTreeSet::new());
    signals::poll(ARRIVE_WITHIN, Duration::from_millis(500), || {
        (instances, problems) = (BTreeSet::new(), BTreeSet::new());
        for (_, trace) in traces(lab, jaeger)?.into_iter().filter(|(key, _)| key.starts_with("resource-")) {
            for process in trace.processes.as_object().into_iter().flat_map(serde_json::Map::values) {
                let text = |name| tag(process, name).and_then(Value::as_str).unwrap_or_default();
                instances.insert(text("service.instance.id").to_owned());
                if text("service.version").is_empty() || text("deployment.environment.name") != "test" {
                    problems.insert(format!("of {}: {}", process["serviceName"], process["tags"]));
                }
            }
        }
        Ok(instances.iter().eq(&names).then_some(()))
    })?;
    let figure = format!(
        "service.instance.id of {} pods, {} expected; service.version and the attribute of the variable in all{}",
        instances.len(),
        names.len(),
        listed(&problems.iter().take(2).cloned().collect::<Vec<_>>())
    );
    Ok((instances.iter().eq(&names) && problems.is_empty(), figure))
}

/// One trace.
struct Trace {
    spans: Vec<Value>,
    /// The resources, by the name that the spans have for them.
    processes: Value,
}

/// The traces, each with the attribute `key` of its spans.
fn traces(lab: &Lab<'_>, jaeger: &Pod) -> Result<Vec<(String, Trace)>> {
    let answer: Value = lab.read(jaeger, PORT, "/api/traces?service=api-gateway&limit=1000&lookback=10m")?;
    let mut found = Vec::new();
    for trace in answer["data"].as_array().context("Jaeger returned no list")? {
        let spans = trace["spans"].as_array().context("a trace without spans")?;
        if let Some(key) = spans.iter().find_map(|span| tag(span, "key")?.as_str().map(str::to_owned)) {
            found.push((key, Trace { spans: spans.clone(), processes: trace["processes"].clone() }));
        }
    }
    Ok(found)
}

fn tag<'a>(span: &'a Value, name: &str) -> Option<&'a Value> {
    span["tags"].as_array()?.iter().find(|tag| tag["key"] == name).map(|tag| &tag["value"])
}

fn check(trace: &[Value], spans: usize, key: &str, shard: u64) -> Result<()> {
    if trace.len() != spans {
        bail!("{} spans", trace.len());
    }
    for span in trace {
        if tag(span, "shard.id").and_then(Value::as_u64) != Some(shard) {
            bail!("shard.id is {:?}, and the shard {shard}", tag(span, "shard.id"));
        }
        if tag(span, "key").and_then(Value::as_str) != Some(key) {
            bail!("key is {:?}", tag(span, "key"));
        }
    }
    let hits = trace.iter().filter_map(|span| tag(span, "cache_hit")).count();
    if spans > 0 && hits != 1 { bail!("{hits} spans have cache_hit") } else { Ok(()) }
}
