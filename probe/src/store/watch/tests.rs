//! The loop on a real cluster, with the kernel's counts from a list.

use std::time::{Duration, Instant};

use probe_common::resp::MAX_COMMANDS;
use probe_common::traffic::Traffic;
use protocol::probe_api::CauseKind;
use service::metrics::Metrics;
use service::names::Names;
use store::urls::HostPort;

use super::*;
use crate::kernel::cgroup::Cgroup;
use crate::kernel::object::Switches;
use crate::metrics::ProbeMetrics;
use crate::signal::commands::CommandCounts;
use crate::source::{Counters, ReplaySource};

#[path = "../../../../store/tests/it/server.rs"]
mod server;

use self::server::{Server, cluster};

/// A loop that has discovered the store at `seed`. The kernel's counts stay 0.
async fn watch(seed: &Server) -> (StoreWatch, Metrics) {
    let url = HostPort { host: "127.0.0.1".to_owned(), port: seed.address.port() };
    let link = Link::new(vec![url.clone()], Names::default(), None);
    let found = discovery::discover(&mut [(url, link)]).await.unwrap();
    let fleet = Fleet::new(&found.topology);
    let metrics = Metrics::default();
    let registered = ProbeMetrics::register(&metrics, fleet.capacity()).unwrap();
    let mut source = ReplaySource::default();
    for shard in 0..fleet.capacity() {
        source.push(shard, Counters { traffic: Traffic::default(), ..Counters::default() });
        let none = vec![0; MAX_COMMANDS];
        source.commands.insert(
            shard,
            CommandCounts { by_number: none.clone(), discarded: none, ..CommandCounts::default() },
        );
    }
    let probe = Probe::of(
        None,
        Cgroup::at("/".into()),
        Vec::new(),
        Switches::default(),
        registered,
        Box::new(source),
    );
    let window = AnswerWindow::moving(Duration::from_secs(10));
    (StoreWatch::new(Arc::new(probe), fleet, &found, None, window).0, metrics)
}

fn primaries(answer: &StoreAnswer) -> Vec<(u32, String)> {
    let nodes = answer.nodes.iter().filter(|node| node.role == "primary");
    nodes.map(|node| (node.shard_id, node.address.clone())).collect()
}

#[tokio::test]
async fn nodes_of_a_cluster_keep_their_numbers_through_a_failover_and_a_migration() {
    let Some(nodes) = cluster("nodes_of_a_cluster_keep_their_numbers", 3) else { return };
    let (mut watch, metrics) = watch(&nodes[0]).await;
    let first = watch.first_look().await.unwrap();
    assert_eq!(primaries(&first).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2]);
    let replica = first.nodes.iter().find(|node| node.primary == Some(1)).unwrap().clone();
    assert_eq!(
        (replica.role.as_str(), first.nodes.len(), first.commands_from.as_str()),
        ("replica", 6, "COMMAND")
    );
    assert_eq!(first.nodes[0].slots, ["0-5460"]);
    assert_eq!(watch.probe.shards.all().len(), 6);
    assert_eq!(watch.targets.endpoints.len(), 6);

    let at = |address: &str| nodes.iter().find(|server| server.address.to_string() == address).unwrap();
    at(&replica.address).cli(&["cluster", "failover"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let after = loop {
        watch.look().await;
        let answer = watch.newest().unwrap();
        if answer.nodes[replica.shard_id as usize].role == "primary" && answer.nodes[1].role == "replica" {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    };
    assert_eq!(after.nodes[1].primary, Some(replica.shard_id));
    let mut judged = vec![0, replica.shard_id, 2];
    judged.sort_unstable();
    assert_eq!(primaries(&after).iter().map(|(id, _)| *id).collect::<Vec<_>>(), judged);

    // An empty slot moves from shard 0 to shard 2.
    for node in [&nodes[0], at(&first.nodes[2].address), at(&first.nodes[0].address), at(&replica.address)] {
        node.cli(&["cluster", "setslot", "7", "node", &first.nodes[2].node_id]);
    }
    loop {
        watch.look().await;
        let answer = watch.newest().unwrap();
        if answer.nodes[0].slots == ["0-6", "8-5460"] && answer.nodes[2].slots.contains(&"7-7".to_owned()) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
    let text = metrics.encode().unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("probe_store_node{")).count(), 6, "{text}");
}

#[tokio::test]
async fn a_store_whose_traffic_is_not_seen_has_no_verdict_and_a_reason() {
    let Some(server) = Server::start("a_store_whose_traffic_is_not_seen", &[]) else { return };
    let (mut watch, _metrics) = watch(&server).await;
    watch.first_look().await.unwrap();
    (0..20).for_each(|_| drop(server.cli(&["set", "a", "1"])));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = {
            rounds::settle(&mut watch).await;
            watch.newest().unwrap()
        };
        let node = &answer.nodes[0].reconciliation;
        if answer.sentence.contains("did not use a watched socket") && node.total.agrees.is_none() {
            assert_eq!(
                (answer.result, node.total.cause_kind),
                (StoreResult::CannotSay, Some(CauseKind::Unseen))
            );
            assert!(node.unseen_share.unwrap() > 0.5, "{node:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_store_that_goes_and_comes_back_is_named_and_has_a_new_baseline() {
    let Some(server) = Server::start("a_store_that_goes_and_comes_back", &[]) else { return };
    let (mut watch, _metrics) = watch(&server).await;
    watch.first_look().await.unwrap();
    let port = server.address.port();
    drop(server);
    watch.look().await;
    let gone = watch.newest().unwrap();
    let total = &gone.nodes[0].reconciliation.total;
    assert_eq!(total.cause_kind, Some(CauseKind::ShardUnreadable), "{total:?}");
    assert!(total.cause.as_ref().unwrap().contains(&port.to_string()), "{total:?}");
    let Some(again) = Server::try_start("again", port, &[]) else { return };
    assert!(again.is_some(), "another process has taken port {port}");
    watch.look().await;
    let back = watch.newest().unwrap();
    let baselines = &back.nodes[0].reconciliation.baselines;
    assert_eq!(baselines.get(&protocol::probe_api::NewBaseline::Restart), Some(&1), "{back:?}");
}
