//! INFO, COMMAND and cluster replies as servers sent them.

use store::commands::{self, Class, KeyPositions};
use store::info::{Calls, Info, Role};
use store::reply::{Decoder, Reply};
use store::topology::{SlotRange, Topology};
use store::urls::HostPort;

fn reply(bytes: &[u8]) -> Reply {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    decoder.next_reply().unwrap().unwrap()
}

/// Encodes nested words as bulk strings: `[a [b c]]`. A word that is a number is an integer.
fn listed(text: &str) -> Reply {
    let mut stack = vec![Vec::new()];
    for word in text.replace('[', " [ ").replace(']', " ] ").split_whitespace() {
        match word {
            "[" => stack.push(Vec::new()),
            "]" => {
                let inner = stack.pop().unwrap();
                stack.last_mut().unwrap().push(Reply::List(inner));
            }
            "\"\"" => stack.last_mut().unwrap().push(Reply::Text(Vec::new())),
            word => stack
                .last_mut()
                .unwrap()
                .push(word.parse().map_or_else(|_| Reply::Text(word.as_bytes().to_vec()), Reply::Integer)),
        }
    }
    stack.pop().unwrap().pop().unwrap()
}

fn asked() -> HostPort {
    HostPort { host: "10.0.0.9".to_owned(), port: 7000 }
}

const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nrun_id:0f7a\r\n\r\n# Clients\r\n\
    connected_clients:3\r\nblocked_clients:1\r\n\r\n# Stats\r\ntotal_net_input_bytes:1250\r\n\
    total_net_repl_input_bytes:250\r\n\r\n# Replication\r\nrole:slave\r\nconnected_slaves:0\r\n\r\n# Commandstats\r\n\
    cmdstat_get:calls=7,usec=21,usec_per_call=3.00,rejected_calls=2,failed_calls=0\r\n\
    cmdstat_client|tracking:calls=1,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=1\r\n\
    cmdstat_client|id:calls=4,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n\
    cmdstat_eval:calls=5,usec=3,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n\r\n\
    # Errorstats\r\nerrorstat_ERR:count=6\r\n\r\n# Cluster\r\ncluster_enabled:1\r\n";

#[test]
fn info_is_read() {
    let info = Info::parse(INFO).unwrap();
    assert_eq!(
        (info.server.as_str(), info.version.as_str(), info.run_id.as_str()),
        ("redis", "7.0.15", "0f7a")
    );
    assert_eq!((info.role, info.is_cluster, info.clients, info.blocked_clients), (Role::Replica, true, 3, 1));
    assert_eq!((info.client_bytes(), info.errors, info.script_runs()), (1_000, 6, 5));
    assert_eq!(info.calls["get"], Calls { calls: 7, rejected: 2, failed: 0 });
    assert_eq!(info.calls["client"], Calls { calls: 5, rejected: 0, failed: 1 });
    let valkey = INFO
        .replace("redis_version:7.0.15", "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0");
    let valkey = Info::parse(&valkey).unwrap();
    assert_eq!((valkey.server.as_str(), valkey.version.as_str()), ("valkey", "8.1.0"));
    assert_eq!(Info::parse(&INFO.replace("run_id", "walk_id")), None);
    assert_eq!(Info::parse(&INFO.replace("total_net_input_bytes", "x")), None);
}

#[test]
fn a_fall_of_any_count_is_a_reset() {
    let before = Info::parse(INFO).unwrap();
    let mut now = before.clone();
    assert!(!now.fell_since(&before));
    now.calls.remove("eval");
    assert!(now.fell_since(&before));
}

#[test]
fn a_command_of_redis_6_has_six_fields() {
    let found =
        commands::parse(&listed("[[mget -2 [readonly fast] 1 -1 1] [eval -3 [noscript movablekeys] 0 0 0]]"));
    let [mget, eval] = found.unwrap().try_into().unwrap();
    assert_eq!((mget.name.as_str(), mget.class), ("mget", Class::Read));
    assert_eq!(mget.keys, KeyPositions { first: 1, last: -1, step: 1, count_at: 0, has_others: false });
    assert_eq!((eval.class, eval.keys.first, eval.keys.has_others), (Class::Other, 0, true));
    assert_eq!(commands::parse(&Reply::Null), None);
    assert_eq!(commands::parse(&listed("[]")), None);
    // An entry that is not understood does not lose the others.
    assert_eq!(commands::parse(&listed("[[7] [get 2 [readonly] 1 1 1]]")).unwrap().len(), 1);
}

#[test]
fn counted_keys_and_those_of_subcommands_are_found() {
    let eval = "[eval -3 [noscript movablekeys] 0 0 0 [] [] [[flags [RW] begin_search [type index spec [index 2]] \
        find_keys [type keynum spec [keynumidx 0 firstkey 1 keystep 1]]]] []]";
    let object = "[object -2 [] 0 0 0 [] [] [] [[object|encoding 3 [readonly] 2 2 1 [] [] [] []] [object|help 2 [] 0 0 0 [] [] [] []]]]";
    let [eval, object] = commands::parse(&listed(&format!("[{eval} {object}]"))).unwrap().try_into().unwrap();
    assert_eq!(eval.keys, KeyPositions { first: 3, last: 0, step: 1, count_at: 2, has_others: false });
    assert_eq!((eval.class, object.class), (Class::Write, Class::Read));
    assert_eq!(object.keys, KeyPositions { first: 2, last: 2, step: 1, count_at: 0, has_others: false });
}

#[test]
fn shards_are_in_order_of_slots_and_replicas_behind() {
    let node = |id: &str, port: u16, role: &str, health: &str| {
        format!(
            "[id {id} port {port} ip 127.0.0.1 endpoint 127.0.0.1 role {role} replication-offset 14 health {health}]"
        )
    };
    let (a, b, c, d) = (
        node("a", 7001, "master", "fail"),
        node("b", 7002, "master", "online"),
        node("c", 7003, "master", "online"),
        "[id d port 7004 ip \"\" endpoint \"\" role replica replication-offset 14 health online]",
    );
    // `b` has taken over from `a`, whose failure is known.
    let reply =
        listed(&format!("[[slots [8192 16383] nodes [{a} {b}]] [slots [0 100 200 8191] nodes [{c} {d}]]]"));
    let topology = Topology::of_shards(&reply, &asked()).unwrap();
    let ids: Vec<&str> = topology.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["c", "b", "d", "a"]);
    assert_eq!(
        topology.nodes[0].slots,
        [SlotRange { first: 0, last: 100 }, SlotRange { first: 200, last: 8_191 }]
    );
    assert_eq!(topology.nodes[2].addresses, [HostPort { host: "10.0.0.9".to_owned(), port: 7_004 }]);
    assert_eq!(topology.nodes[3].primary.as_deref(), Some("b"));
    assert_eq!(topology.owner(150), None);
    assert_eq!(topology.owner(200).unwrap().id, "c");
    assert_eq!(Topology::of_shards(&Reply::Null, &asked()), None);
}

#[test]
fn slots_of_redis_6_give_the_same() {
    let reply = listed(
        "[[0 100 [127.0.0.1 7003 c] [127.0.0.1 7004 d]] [8192 16383 [127.0.0.1 7002 b]] [200 8191 [127.0.0.1 7003 c] [127.0.0.1 7004 d]]]",
    );
    let topology = Topology::of_slots(&reply, &asked()).unwrap();
    let nodes: Vec<_> =
        topology.nodes.iter().map(|node| (node.id.as_str(), node.role, node.slots.len())).collect();
    assert_eq!(nodes, [("c", Role::Primary, 2), ("b", Role::Primary, 1), ("d", Role::Replica, 2)]);
    assert_eq!(Topology::of_slots(&listed("[[0 99999 [a 1 b]]]"), &asked()), None);
}

#[test]
fn a_map_is_the_same_in_both_protocols() {
    let two = reply(b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n");
    assert_eq!(two, reply(b"%1\r\n+role\r\n+master\r\n"));
    assert_eq!(two.field("ROLE").unwrap().text(), Some("master"));
}
