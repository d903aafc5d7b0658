//! Tests shards that are pods, with a simulated Kubernetes API.
//!
//! The probe's binary watches the pods over TLS, and the kernel counts at their addresses.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::harness::{TIMEOUT, privileges};
use crate::process::{Running, command, error_line};
use crate::shard::Shard;

fn pod_at(ip: &str, port: u16) -> Value {
    json!({
        "metadata": {"name": "shard-0", "namespace": "lab", "labels": {"apps.kubernetes.io/pod-index": "0"}},
        "spec": {"nodeName": "node-7", "containers": [{"name": "shard", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
    })
}

/// A probe that looks for the pods of these shards.
pub(crate) fn probe(api: &ApiServer, shards: &str) -> std::process::Command {
    let mut command = command(&["run", "--port", "0", "--shard-urls", shards]);
    command
        .env("KUBERNETES_SELECTOR", "app.kubernetes.io/component=shard")
        .env("KUBERNETES_NAMESPACE", "lab")
        .env("NODE_NAME", "node-7")
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", api.port.to_string())
        .env("KUBERNETES_ACCOUNT", &api.account);
    command
}

/// The feature `pods` in `/status`.
fn feature(probe: &Running) -> Value {
    let status = probe.json("/status");
    let features = status["features"].as_array().unwrap();
    features.iter().find(|feature| feature["feature"] == "pods").unwrap().clone()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn addresses(probe: &Running) -> Value {
    probe.json("/status")["shards"][0]["addresses"].clone()
}

fn read(ip: &str, port: u16, times: usize) {
    for n in 0..times {
        ureq::get(format!("http://{ip}:{port}/data/key-{n}"))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
    }
}

fn counted(probe: &Running) -> u64 {
    probe.json("/api/shards")["shards"][0]["requests"]["get"].as_u64().unwrap()
}

#[test]
fn a_pod_is_counted_where_it_is_also_after_it_has_moved() {
    if !privileges("a_pod_is_counted_where_it_is_also_after_it_has_moved") {
        return;
    }
    // One process that any loopback address reaches. It represents a pod that moves and keeps its count.
    let shard = Shard::start_at("0.0.0.0:0".parse().unwrap(), 0);
    let port = shard.addr.port();
    let api = ApiServer::start("moves");
    api.apply(pod_at("127.0.0.41", port));
    // Another process is at the URL. The probe reads the statistics at the pod's address.
    let stranger = Shard::start(0);
    let probe = Running::follow(&mut probe(&api, &stranger.url()));
    assert_eq!(addresses(&probe), json!([format!("127.0.0.41:{port}")]));
    assert_eq!(
        api.asked().first().unwrap().as_str(),
        "GET /api/v1/namespaces/lab/pods?&fieldSelector=spec.nodeName%3Dnode-7\
         &labelSelector=app.kubernetes.io%2Fcomponent%3Dshard&resourceVersion=0&resourceVersionMatch=NotOlderThan HTTP/1.1"
    );
    probe.settled();
    read("127.0.0.41", port, 7);
    let agreed = probe.settled();
    assert_eq!((&agreed["kernel"], &agreed["app"]), (&7.into(), &7.into()), "{agreed}");

    // The token is renewed, then the pod moves.
    std::fs::write(api.account.join("token"), "second\n").unwrap();
    api.break_watches();
    api.apply(pod_at("127.0.0.42", port));
    wait_until("the new address", || addresses(&probe) == json!([format!("127.0.0.42:{port}")]));
    let before = counted(&probe);
    probe.settled();
    read("127.0.0.42", port, 11);
    let agreed = probe.settled();
    assert_eq!((counted(&probe) - before, &agreed["agrees"]), (11, &true.into()), "{agreed}");
    assert_eq!((&agreed["kernel"], &agreed["app"]), (&11.into(), &11.into()), "{agreed}");
    // The old address is no longer watched.
    read("127.0.0.41", port, 3);
    assert_eq!(counted(&probe) - before, 11);
    assert_eq!(shard.received.load(Ordering::SeqCst), 21);

    // The API fails. The known addresses stay, and the problem is logged once.
    assert_eq!(feature(&probe)["enabled"], true);
    api.refuse(Some(500));
    api.break_watches();
    let asked = api.asked().len();
    wait_until("two more questions", || api.asked().len() >= asked + 2);
    assert_eq!(addresses(&probe), json!([format!("127.0.0.42:{port}")]));
    let pods = feature(&probe);
    assert_eq!((&pods["enabled"], &pods["reason"]), (&false.into(), &"unreachable".into()), "{pods}");
    assert!(pods["remedy"].as_str().unwrap().contains("it returned 500"), "{pods}");
    // Without a pod there is nothing to count here.
    api.delete("shard-0");
    api.refuse(None);
    wait_until("no address", || addresses(&probe) == json!([]));
    let compare = probe.json("/api/compare")["shards"][0].clone();
    assert_eq!(
        (&compare["agrees"], &compare["cause_kind"]),
        (&Value::Null, &"unwatched".into()),
        "{compare}"
    );
    assert!(compare["cause"].as_str().unwrap().contains("it has no running pod on node node-7"), "{compare}");
    wait_until("the watch", || feature(&probe)["enabled"] == true);
    let (code, log) = probe.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("it returned 500").count(), 1, "{log}");
    // A watch that began with the old token may have been refused before.
    let (_, since) = log.split_once("it returned 500").unwrap();
    assert_eq!(since.matches("the pods are watched again").count(), 1, "{log}");
    // Another node's probe may watch the shard, so its absence here is no warning.
    let absent = log.lines().filter(|line| line.contains("it has no running pod")).collect::<Vec<_>>();
    assert!(absent.len() == 1 && absent[0].contains(" INFO "), "{absent:?}");
}

#[test]
fn an_api_that_refuses_is_named_and_the_probe_runs() {
    if !privileges("an_api_that_refuses_is_named_and_the_probe_runs") {
        return;
    }
    let shard = Shard::start(0);
    let api = ApiServer::start("refuses");
    api.refuse(Some(403));
    let first = Running::follow(&mut probe(&api, &shard.url()));
    let status = first.json("/status")["shards"][0].clone();
    assert!(
        status["problem"].as_str().unwrap().contains("403 Forbidden: allow the service account to list pods"),
        "{status}"
    );
    assert_eq!(feature(&first)["reason"], "refused");
    api.apply(pod_at("127.0.0.1", shard.addr.port()));
    api.refuse(None);
    wait_until("the pod", || addresses(&first) == json!([shard.addr.to_string()]));
    // The probe sends no request to a server with a certificate of another authority.
    let stranger = ApiServer::start("stranger");
    stranger.apply(pod_at("127.0.0.1", shard.addr.port()));
    let mut command = probe(&stranger, &shard.url());
    let second = Running::follow(command.env("KUBERNETES_ACCOUNT", &api.account));
    let status = second.json("/status")["shards"][0].clone();
    assert!(status["problem"].as_str().unwrap().contains("certificate"), "{status}");
    assert!(stranger.asked().is_empty());
    assert_eq!((second.stop().0, first.stop().0), (Some(0), Some(0)));
}

#[test]
fn an_aggregator_finds_the_probes_by_label() {
    if !privileges("an_aggregator_finds_the_probes_by_label") {
        return;
    }
    let shard = Shard::start(0);
    let node = Running::follow(&mut command(&["run", "--port", "0", "--shard-urls", &shard.url()]));
    let port = node.base.rsplit_once(':').unwrap().1.parse().unwrap();
    let api = ApiServer::start("aggregator");
    let pod = |name: &str, node: &str, ip: &str| {
        let mut pod = pod_at(ip, port);
        (pod["metadata"]["name"], pod["spec"]["nodeName"]) = (name.into(), node.into());
        pod
    };
    api.apply(pod("probe-a", "node-7", "127.0.0.1"));
    let mut aggregate = command(&["aggregate", "--port", "0", "--shard-urls", &shard.url()]);
    aggregate
        .env("PROBE_SELECTOR", "app.kubernetes.io/component=probe")
        .env("PROBE_NAMESPACE", "lab-probe")
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", api.port.to_string())
        .env("KUBERNETES_ACCOUNT", &api.account);
    let aggregator = Running::follow(&mut aggregate);
    let nodes = || {
        let status = aggregator.json("/status");
        let nodes = status["nodes"].as_array().unwrap().clone();
        let shown = |node: &Value| (node["node"].clone(), node["url"].clone(), node["problem"].is_null());
        nodes.iter().map(shown).collect::<Vec<_>>()
    };
    let url = |ip: &str| Value::from(format!("http://{ip}:{port}"));
    assert_eq!(nodes(), [("node-7".into(), url("127.0.0.1"), true)]);
    assert_eq!(
        api.asked().first().unwrap().as_str(),
        "GET /api/v1/namespaces/lab-probe/pods?&labelSelector=app.kubernetes.io%2Fcomponent%3Dprobe\
         &resourceVersion=0&resourceVersionMatch=NotOlderThan HTTP/1.1"
    );
    // A probe that does not answer has its node's name from the API.
    api.apply(pod("probe-b", "node-8", "127.0.0.77"));
    let both = [("node-7".into(), url("127.0.0.1"), true), ("node-8".into(), url("127.0.0.77"), false)];
    wait_until("the other node", || nodes() == both);
    api.delete("probe-b");
    wait_until("one node", || nodes().len() == 1);
    let features = aggregator.json("/status")["features"].clone();
    assert_eq!(features, json!([{"feature": "probe_pods", "enabled": true, "reason": "ok", "remedy": null}]));
    // One way to find them is enough.
    let output = aggregate.env("PROBE_URL", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error_line(&output).contains("PROBE_URL"), "{output:?}");
    assert_eq!((aggregator.stop().0, node.stop().0), (Some(0), Some(0)));
}

#[test]
fn what_is_missing_outside_a_cluster_is_one_line() {
    let api = ApiServer::start("outside");
    let refused = |name: &str, value: &str, says: &str| {
        let output = probe(&api, "http://127.0.0.1:9").env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let line = error_line(&output);
        assert!(line.contains(says), "{line}");
    };
    refused("KUBERNETES_SERVICE_HOST", "", "KUBERNETES_SERVICE_HOST");
    refused("KUBERNETES_ACCOUNT", "/nowhere", "KUBERNETES_ACCOUNT=\"/nowhere\" cannot be used");
    std::fs::write(api.account.join("ca.crt"), "nothing").unwrap();
    refused("RTT", "off", "it holds no certificate");
}
