//! Tests `probe watch` on a real server: counts by command and key, bytes, and what explains a difference.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{TIMEOUT, privileges};
use crate::process::{Running, command};
use crate::redis::Server;

/// A probe that watches a server of its own. `None` without privileges or a server.
pub(crate) fn watched(test: &str) -> Option<(Running, Server)> {
    if !privileges(test) {
        return None;
    }
    let server = Server::start(test, &[])?;
    Some((watch(server.address), server))
}

/// A probe that watches a server, with its baseline.
pub(crate) fn watch(server: SocketAddr) -> Running {
    let url = format!("redis://{server}");
    let probe = Running::follow(&mut command(&["watch", "--port", "0", &url]));
    // Commands before the baseline are in no comparison, and keys before the answer's window are in no answer.
    let deadline = Instant::now() + TIMEOUT;
    while settled(&probe, |_| true).0["window_seconds"].as_f64().is_none_or(|seconds| seconds <= 0.0) {
        assert!(Instant::now() < deadline, "the answer's window does not begin");
    }
    probe
}

/// A command as clients send it.
pub(crate) fn array(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Sends the same commands again and again, in pieces of these sizes, and reads all replies of a round before the next
/// one. Returns the payload bytes that TCP sent twice: on a busy machine an acknowledgement can be late.
pub(crate) fn converse(server: SocketAddr, round: &[u8], rounds: u64, pieces: &[usize]) -> u64 {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    let round = [round, b"PING\r\n"].concat();
    let mut sizes = pieces.iter().cycle();
    for _ in 0..rounds {
        let mut rest = &round[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            stream.write_all(piece).unwrap();
            rest = behind;
        }
        let mut replies = Vec::new();
        while !replies.ends_with(b"+PONG\r\n") {
            let mut buffer = [0; 65_536];
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the server closed the connection");
            replies.extend_from_slice(&buffer[..length]);
        }
    }
    retransmitted_bytes(&stream)
}

#[expect(unsafe_code, reason = "socket2 does not offer TCP_INFO")]
fn retransmitted_bytes(stream: &TcpStream) -> u64 {
    /// Offset of `tcpi_bytes_retrans` in words of `struct tcp_info` (`linux/tcp.h`).
    const BYTES_RETRANS: usize = 26;
    let mut info = [0_u64; BYTES_RETRANS + 1];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the socket, the buffer and its length outlive the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    info[BYTES_RETRANS]
}

/// The only node once its counts have settled, and `is_done` holds.
pub(crate) fn settled(probe: &Running, is_done: impl Fn(&Value) -> bool) -> (Value, Value) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = probe.json("/api/store");
        let node = answer["nodes"][0].clone();
        let (total, bytes) = (&node["reconciliation"]["total"], &node["reconciliation"]["bytes"]);
        if total["bound"] == 0
            && bytes["bound"] == 0
            && !total["agrees"].is_null()
            && is_done(&node["reconciliation"])
        {
            return (answer, node["reconciliation"].clone());
        }
        assert!(Instant::now() < deadline, "{node}");
    }
}

pub(crate) fn count(reconciliation: &Value, name: &str) -> Value {
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
    let twice = converse(server.address, &round, ROUNDS, &[1, 7, 4_000, 30_000, 2, 1_500, 65_536]);
    let (answer, reconciliation) = settled(&probe, |one| count(one, "mset") == ROUNDS);
    let total = &reconciliation["total"];
    assert_eq!((&total["difference"], &total["agrees"]), (&0.into(), &true.into()), "{reconciliation}");
    for one in reconciliation["commands"].as_array().unwrap() {
        assert_eq!(one["difference"], 0, "{one}");
    }
    // A discarded command is in no count of the store, and subtracted from the kernel's.
    assert_eq!(count(&reconciliation, "get"), 4 * ROUNDS);
    assert_eq!(reconciliation["exceptions"]["discarded"], ROUNDS);
    assert_eq!(reconciliation["exceptions"]["unknown"], ROUNDS);
    let bytes = &reconciliation["bytes"];
    assert_eq!((&bytes["difference"], &bytes["agrees"]), (&twice.into(), &(twice == 0).into()), "{bytes}");
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
    let twice = converse(server.address, &array(&[b"EVAL", script, b"1", b"scripted"]), 10, &[10_000]);
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
    assert_eq!(reconciliation["bytes"]["difference"], twice);
}

#[test]
fn every_key_of_a_command_that_spans_segments_counts() {
    let Some((probe, server)) = watched("every_key_of_a_command_that_spans_segments_counts") else { return };
    // Longer than the largest bundle of segments, so that the first two keys come before the command's end.
    let large = vec![b'v'; 200_000];
    const ROUNDS: u64 = 10;
    let round = array(&[b"MSET", b"first", &large, b"second", &large, b"third", b"small"]);
    converse(server.address, &round, ROUNDS, &[1 << 20]);
    let (answer, _) = settled(&probe, |one| count(one, "mset") == ROUNDS);
    let mut keys: Vec<_> =
        answer["keys"].as_array().unwrap().iter().map(|key| (&key["key"], &key["count"])).collect();
    keys.sort_by_key(|(key, _)| key.as_str());
    let expected = ["first", "second", "third"].map(|key| (Value::from(key), Value::from(ROUNDS)));
    assert_eq!(keys, expected.iter().map(|(key, count)| (key, count)).collect::<Vec<_>>(), "{answer}");
}
