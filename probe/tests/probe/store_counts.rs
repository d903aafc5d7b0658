//! Tests `probe watch` on a real server: counts by command and key, bytes, and what explains a difference.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::harness::{TIMEOUT, privileges};
use crate::process::{Running, command};
use crate::redis::Server;

/// A probe that watches a server of its own. `None` without privileges or a server.
fn watched(test: &str) -> Option<(Running, Server)> {
    if !privileges(test) {
        return None;
    }
    let server = Server::start(test, &[])?;
    let url = format!("redis://{}", server.address);
    let probe = Running::follow(&mut command(&["watch", "--port", "0", &url]));
    // Commands before the baseline are in no comparison.
    settled(&probe, |_| true);
    Some((probe, server))
}

/// A command as clients send it.
fn array(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Sends bytes in pieces of these sizes, and reads all replies until the server has read everything.
fn converse(server: &Server, bytes: &[u8], pieces: &[usize]) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let replies = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
    let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        stream.write_all(piece).unwrap();
        rest = behind;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(replies.join().unwrap() > 0);
}

/// The only node once its counts have settled, and `is_done` holds.
fn settled(probe: &Running, is_done: impl Fn(&Value) -> bool) -> (Value, Value) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = probe.json("/api/store");
        let node = answer["nodes"][0].clone();
        let total = &node["reconciliation"]["total"];
        if total["bound"] == 0 && !total["agrees"].is_null() && is_done(&node["reconciliation"]) {
            return (answer, node["reconciliation"].clone());
        }
        assert!(Instant::now() < deadline, "{node}");
    }
}

fn count(reconciliation: &Value, name: &str) -> Value {
    let all = reconciliation["commands"].as_array().unwrap();
    all.iter().find(|one| one["command"] == name).map_or(Value::Null, |one| one["kernel"].clone())
}

#[test]
fn commands_bytes_and_keys_are_those_of_the_store_at_any_split() {
    let Some((probe, server)) = watched("commands_bytes_and_keys_are_those_of_the_store_at_any_split") else {
        return;
    };
    let long = vec![b'k'; 64 * 1024];
    let round = [
        array(&[b"SET", b"hot", &vec![b'v'; 3_000]]),
        array(&[b"get", b"hot"]),
        array(&[b"MGET", b"hot", b"", b"\x00\xff"]),
        array(&[b"mset", b"a", b"1", b"b", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]),
        array(&[b"GET", &long]),
        b"get hot\r\n".to_vec(),
        array(&[b"NO-SUCH", b"hot"]),
        array(&[b"MULTI"]),
        array(&[b"GET", b"hot"]),
        array(&[b"DISCARD"]),
        array(&[b"GET"]),
    ]
    .concat();
    const ROUNDS: u64 = 40;
    converse(&server, &round.repeat(ROUNDS as usize), &[1, 7, 4_000, 30_000, 2, 1_500, 65_536]);
    let (answer, reconciliation) = settled(&probe, |one| count(one, "mset") == ROUNDS);
    let total = &reconciliation["total"];
    assert_eq!((&total["difference"], &total["agrees"]), (&ROUNDS.into(), &true.into()), "{reconciliation}");
    assert_eq!(total["cause_kind"], "discarded");
    for one in reconciliation["commands"].as_array().unwrap() {
        // A discarded command is in no count of the store.
        let discarded = if one["command"] == "get" { ROUNDS } else { 0 };
        assert_eq!(one["difference"], discarded, "{one}");
    }
    assert_eq!(count(&reconciliation, "get"), 5 * ROUNDS);
    assert_eq!(reconciliation["exceptions"]["discarded"], ROUNDS);
    assert_eq!(reconciliation["exceptions"]["unknown"], ROUNDS);
    let bytes = &reconciliation["bytes"];
    assert_eq!((&bytes["difference"], &bytes["agrees"]), (&0.into(), &true.into()), "{bytes}");
    let key = &answer["keys"][0];
    assert_eq!((&key["key"], &key["count"], &key["error"]), (&"hot".into(), &(5 * ROUNDS).into(), &0.into()));
    let unparsed = &probe.json("/api/shards")["shards"][0]["unparsed"];
    assert!(unparsed.as_object().unwrap().values().all(|number| number == 0), "{unparsed}");
}

#[test]
fn scripts_make_the_comparison_one_sided_and_bytes_stay_equal() {
    let Some((probe, server)) = watched("scripts_make_the_comparison_one_sided_and_bytes_stay_equal") else {
        return;
    };
    let script = b"redis.call('SET', KEYS[1], 1) redis.call('GET', KEYS[1]) return 1";
    let calls = array(&[b"EVAL", script, b"1", b"scripted"]).repeat(10);
    converse(&server, &calls, &[10_000]);
    let deadline = Instant::now() + TIMEOUT;
    let reconciliation = loop {
        let one = probe.json("/api/store")["nodes"][0]["reconciliation"].clone();
        if one["exceptions"]["scripted"] == 20 && count(&one, "eval") == 10 {
            break one;
        }
        assert!(Instant::now() < deadline, "{one}");
    };
    assert_eq!(reconciliation["total"]["agrees"], Value::Null, "{reconciliation}");
    assert_eq!(reconciliation["total"]["cause_kind"], "scripts");
    assert_eq!(reconciliation["bytes"]["difference"], 0);
}
