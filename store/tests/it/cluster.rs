//! The topology of a real cluster, by both commands, through a failover.

use std::time::{Duration, Instant};

use store::client::Client;
use store::info::Role;
use store::request::Request;
use store::topology::{Node, Topology};
use store::urls::HostPort;

use crate::server::{Server, cluster};

async fn topology(server: &Server, request: Request) -> Topology {
    let asked = HostPort { host: "127.0.0.1".to_owned(), port: server.address.port() };
    let mut client = Client::connect(server.address, None).await.unwrap();
    let reply = client.call(request.clone()).await.unwrap();
    let parse = if request == Request::ClusterShards { Topology::of_shards } else { Topology::of_slots };
    parse(&reply, &asked).unwrap()
}

#[tokio::test]
async fn both_commands_give_the_same_nodes_and_a_failover_is_seen() {
    let Some(nodes) = cluster("both_commands_give_the_same_nodes", 3) else { return };
    let deadline = Instant::now() + Duration::from_secs(30);
    // CLUSTER SLOTS leaves out replicas that have received nothing yet.
    (0..30).for_each(|n| drop(nodes[0].cli(&["-c", "set", &format!("key-{n}"), "1"])));
    let ids = |topology: &Topology| -> Vec<(String, Role)> {
        topology.nodes.iter().map(|node| (node.id.clone(), node.role)).collect()
    };
    let of_shards = loop {
        let of_shards = topology(&nodes[0], Request::ClusterShards).await;
        let of_slots = topology(&nodes[0], Request::ClusterSlots).await;
        if ids(&of_shards) == ids(&of_slots) {
            break of_shards;
        }
        assert!(Instant::now() < deadline, "{of_shards:?} {of_slots:?}");
    };
    let roles: Vec<Role> = of_shards.nodes.iter().map(|node| node.role).collect();
    assert_eq!(roles, [[Role::Primary; 3], [Role::Replica; 3]].concat());
    let mine =
        Client::connect(nodes[0].address, None).await.unwrap().call(Request::ClusterMyId).await.unwrap();
    assert!(of_shards.nodes.iter().any(|node| Some(node.id.as_str()) == mine.text()));
    let first = of_shards.owner(0).unwrap().clone();
    let replica =
        of_shards.nodes.iter().find(|node| node.primary.as_ref() == Some(&first.id)).unwrap().clone();

    let at =
        |node: &Node| nodes.iter().find(|server| server.address.port() == node.addresses[0].port).unwrap();
    at(&replica).cli(&["cluster", "failover"]);
    loop {
        let now = topology(at(&of_shards.nodes[1]), Request::ClusterShards).await;
        if now.owner(0).unwrap().id == replica.id {
            assert_eq!(now.nodes[0].id, replica.id);
            // The old primary may stand there as one without slots until it has become a replica.
            let owners = now.nodes.iter().filter(|node| node.role == Role::Primary && !node.slots.is_empty());
            assert_eq!(owners.count(), 3);
            break;
        }
        assert!(Instant::now() < deadline, "{now:?}");
    }
}
