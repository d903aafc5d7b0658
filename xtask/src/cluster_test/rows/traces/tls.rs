//! Sends spans over TLS to a Jaeger whose certificate is from the cluster's own authority.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{NAMESPACE, one};
use crate::cluster_test::lab::{LAB, Lab};
use crate::cluster_test::pods::{Pod, pods};
use crate::verdicts::Verdicts;
use lab::signals;

const MANIFEST: &str = include_str!("../../manifests/jaeger-tls.yaml");
const NAME: &str = "jaeger-tls";

/// Where gateways and shards have the authority's certificate.
const FOLDER: &str = "/collector";

/// Numbers of the cases, for their keys.
const FIRST: usize = 100;

pub(super) fn run(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let jaeger = start(lab)?;
    let (host, authority) = (format!("{NAME}.{NAMESPACE}"), format!("{FOLDER}/ca.crt"));
    let grpc = format!("OTEL_EXPORTER_OTLP_ENDPOINT=https://{host}:4317");
    let http = format!("OTEL_EXPORTER_OTLP_ENDPOINT=https://{host}:4318");
    let trusted = format!("OTEL_EXPORTER_OTLP_CERTIFICATE={authority}");
    let for_traces = format!("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE={authority}");
    let protocol = "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
    let cases: [(&str, &[&str], usize); 3] = [
        ("https:// with OTEL_EXPORTER_OTLP_CERTIFICATE", &[&grpc, &trusted], 3),
        ("https:// with …_TRACES_CERTIFICATE, http/protobuf", &[&http, &for_traces, protocol], 3),
        ("https:// of an authority that is not trusted", &[&grpc], 0),
    ];
    for (number, case) in (FIRST..).zip(&cases) {
        match one(lab, &jaeger, number, case) {
            Ok((holds, figure)) => verdicts.report(case.0, holds, &figure),
            Err(error) => {
                signals::check()?;
                verdicts.could_not(case.0, &error);
            }
        }
    }
    Ok(())
}

/// Starts Jaeger, and gives the authority's certificate to gateways and shards.
fn start(lab: &Lab<'_>) -> Result<Pod> {
    let cluster = &lab.cluster;
    let [authority, certificate, key] = cluster.server_certificate(NAME, &format!("{NAME}.{NAMESPACE}"))?;
    let (certificate, key) = (format!("--cert={certificate}"), format!("--key={key}"));
    cluster.kubectl(&["-n", NAMESPACE, "create", "secret", "tls", NAME, &certificate, &key])?;
    cluster.apply(NAME, MANIFEST)?;
    cluster.rolled_out(NAMESPACE, &format!("deployment/{NAME}"))?;
    let from = format!("--from-file=ca.crt={authority}");
    cluster.kubectl(&["-n", LAB, "create", "configmap", "collector-ca", &from])?;
    for (workload, container) in [("deployment/gateway", "gateway"), ("statefulset/shard", "shard")] {
        let mount = json!({ "name": "collector-ca", "mountPath": FOLDER, "readOnly": true });
        let volume = json!({ "name": "collector-ca", "configMap": { "name": "collector-ca" } });
        let patch = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": container, "volumeMounts": [mount] }], "volumes": [volume],
        } } } });
        cluster.kubectl(&["-n", LAB, "patch", workload, "-p", &patch.to_string()])?;
    }
    let found = pods(cluster, NAMESPACE, &format!("app={NAME}"))?;
    found.into_iter().next().context("Jaeger has no pod")
}
