//! Checks NetworkPolicies from a pod outside, and the autoscaler of the gateways.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{listed, seconds};
use crate::cluster_test::generator::{Load, load};
use crate::cluster_test::lab::{GATEWAY_PORT, LAB, Lab, PROBE_PORT, SHARD_PORT};
use crate::cluster_test::namespace::within;
use crate::cluster_test::pods::{Pod, pods};
use crate::table::thousands;
use crate::verdicts::Verdicts;

/// A refused packet is dropped, so a connection waits in vain.
const REFUSED_AFTER: Duration = Duration::from_secs(2);

/// Port of the policy agent's metrics, on the node.
const AGENT_PORT: u16 = 9080;

/// The agent's count of packets, by verdict.
const PACKETS: &str = "kube_network_policies_packet_count{";

/// Time for the autoscaler to add a gateway, and to remove it again.
const SCALED_WITHIN: Duration = Duration::from_secs(180);

/// The load under which a gateway is added, and the utilization of CPU that it must exceed, in percent.
const RATE: &str = "2000";
const UTILIZATION: u32 = 8;

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    connections(lab, verdicts)?;
    autoscaler(lab, verdicts)
}

fn connections(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let before = refused(lab)?;
    let (shards, gateways, probes) = (lab.shards()?, lab.gateways()?, lab.probes()?);
    let targets = [
        ("a gateway", &gateways, GATEWAY_PORT, true),
        ("a shard", &shards, SHARD_PORT, false),
        ("a probe", &probes, PROBE_PORT, false),
    ];
    for (name, pods, port, expected) in targets {
        let reached = pods.iter().map(|pod| reaches(lab, pod, port)).collect::<Result<Vec<bool>>>()?;
        let count = reached.iter().filter(|reached| **reached).count();
        let holds = reached.iter().all(|reached| *reached == expected);
        let figure = format!("{count} of {} connections from a pod of another namespace", pods.len());
        verdicts.report(
            &format!("{name} {}", if expected { "is reached" } else { "is not reached" }),
            holds,
            &figure,
        );
    }
    let after = refused(lab)?;
    let figure = format!("{} packets refused by the policy agents", after - before);
    verdicts.report("counted by the policy agents", after > before, &figure);
    let problems = lab.disagreements()?;
    let figure = format!("gateways reach shards, probes reach shards and the API{}", listed(&problems));
    verdicts.report("needed connections pass", problems.is_empty() && lab.not_watched()?.is_empty(), &figure);
    Ok(())
}

fn reaches(lab: &Lab<'_>, pod: &Pod, port: u16) -> Result<bool> {
    let address: SocketAddr = format!("{}:{port}", pod.address).parse()?;
    within(lab.outside(), || Ok(TcpStream::connect_timeout(&address, REFUSED_AFTER).is_ok()))
}

/// Packets that the agents of all nodes have refused.
fn refused(lab: &Lab<'_>) -> Result<u64> {
    let mut sum = 0;
    for agent in pods(&lab.cluster, "kube-system", "app=policies")? {
        let metrics = lab.text(&agent, AGENT_PORT, "/metrics")?;
        let refused =
            |line: &&str| line.starts_with(PACKETS) && line.to_lowercase().contains("verdict=\"drop\"");
        for line in metrics.lines().filter(refused) {
            let value = line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of packets")]
            let count = value.context("a metric without a value")? as u64;
            sum += count;
        }
    }
    Ok(sum)
}

fn autoscaler(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    // The manifest waits five minutes before it removes a gateway, and this machine cannot load one to 70 %.
    let changes = json!([
        { "op": "replace", "path": "/spec/behavior/scaleDown/stabilizationWindowSeconds", "value": 10 },
        { "op": "replace", "path": "/spec/metrics/0/resource/target/averageUtilization", "value": UTILIZATION },
    ]);
    let patch = ["-n", LAB, "patch", "hpa", "gateway", "--type=json", "-p", &changes.to_string()];
    lab.cluster.kubectl(&patch)?;
    lab.tell("/admin/cache", &json!({ "enabled": true }))?;
    let result = scaled(lab, verdicts);
    lab.tell("/admin/cache", &json!({ "enabled": false }))?;
    // The next row must not begin while the autoscaler still adds or removes gateways.
    lab.scale(2)?;
    lab.apply_again()?;
    result
}

fn scaled(lab: &Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    let before = lab.gateways()?.len();
    // The caches are filled first, as the shards are far slower than the load.
    load(lab, &["stream", "--rate", "100", "--duration", "10", "--keys", "200"])?;
    let most = ["--in-flight", "10000", "--keys", "200"];
    let load = Load::start(lab, &[&["stream", "--rate", RATE, "--duration", "90"], &most[..]].concat())?;
    let more = lab.until("another gateway", SCALED_WITHIN, |lab| {
        Ok(lab.gateways()?.iter().filter(|pod| pod.ready).count() > before)
    })?;
    let report = load.finish()?;
    let trickle = Load::start(lab, &["stream", "--rate", "50", "--duration", "120", "--keys", "200"])?;
    let fewer = lab.until("one gateway less", SCALED_WITHIN, |lab| Ok(lab.gateways()?.len() <= before))?;
    let trickle = trickle.finish()?;
    let (sent, failed) = (report.sent + trickle.sent, report.errors + trickle.errors);
    let figure = format!(
        "from {before} to {} gateways {} after the load's start, back to {before} {} after its end; {failed} of {} requests failed",
        before + 1,
        seconds(more),
        seconds(fewer),
        thousands(sent)
    );
    verdicts.report("the autoscaler adds a gateway and removes it", failed == 0, &figure);
    Ok(())
}
