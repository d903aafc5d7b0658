//! Tests real connections over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use probe_common::requests::{REASONS, Reason, Requests};

use crate::harness::{Client, OneCpu, Server, Watched, attached, get, post, privileges};
use probe::source::{Counters, Source};
use probe_common::endpoint::Listener;

#[test]
fn requests_over_keep_alive_are_counted_by_kind() {
    if !privileges("requests_over_keep_alive_are_counted_by_kind") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    for n in 0..500 {
        client.exchange(&get(&format!("user-{n}")));
        if n % 5 == 0 {
            client.exchange(&post(br#"{"key":"user-1","value":{}}"#));
        }
        if n % 10 == 0 {
            client.exchange(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        }
    }
    let counters = watched.counters(client.sent);
    let requests = counters.requests;
    assert_eq!((requests.get, requests.set, requests.control), (500, 100, 50));
    assert_eq!((requests.duplicate_segments, requests.unparsed), (0, [0; REASONS]));
    assert_eq!(counters.traffic.receive.payload_bytes, client.sent);
    assert_eq!(counters.traffic.transmit.payload_bytes, client.received);
}

#[test]
fn a_new_connection_for_each_request_is_counted() {
    if !privileges("a_new_connection_for_each_request_is_counted") {
        return;
    }
    let mut watched = Watched::v4();
    let mut sent = 0;
    for n in 0..300 {
        let mut client = Client::connect("127.0.0.1", watched.server.port);
        client.exchange(&get(&format!("user-{n}")));
        sent += client.sent;
    }
    let requests = watched.counters(sent).requests;
    assert_eq!((requests.get, requests.unparsed), (300, [0; REASONS]));
}

#[test]
fn many_connections_at_once_are_counted() {
    if !privileges("many_connections_at_once_are_counted") {
        return;
    }
    let mut watched = Watched::v4();
    let port = watched.server.port;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect("127.0.0.1", port);
                for n in 0..500 {
                    client.exchange(&get(&format!("user-{n}")));
                }
                client.sent
            })
        })
        .collect();
    let sent = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let requests = watched.counters(sent).requests;
    assert_eq!((requests.get, requests.unparsed), (8_000, [0; REASONS]));
}

#[test]
fn ipv6_is_counted() {
    if !privileges("ipv6_is_counted") {
        return;
    }
    let mut watched = Watched::at("::1", "::1");
    let mut client = Client::connect("::1", watched.server.port);
    (0..50).for_each(|_| client.exchange(&get("abc")));
    assert_eq!(watched.counters(client.sent).requests.get, 50);
}

#[test]
fn ipv4_on_an_ipv6_socket_is_counted_however_the_address_is_written() {
    if !privileges("ipv4_on_an_ipv6_socket_is_counted_however_the_address_is_written") {
        return;
    }
    for address in ["127.0.0.1", "::ffff:127.0.0.1"] {
        let mut watched = Watched::at("::", address);
        let mut client = Client::connect("127.0.0.1", watched.server.port);
        (0..50).for_each(|_| client.exchange(&get("abc")));
        assert_eq!(watched.counters(client.sent).requests.get, 50, "{address}");
    }
}

#[test]
fn another_address_with_the_same_port_is_another_server() {
    if !privileges("another_address_with_the_same_port_is_another_server") {
        return;
    }
    let mut watched = Watched::at("0.0.0.0", "127.0.0.1");
    let mut one = Client::connect("127.0.0.1", watched.server.port);
    let mut other = Client::connect("127.0.0.2", watched.server.port);
    one.exchange(&get("abc"));
    other.exchange(&get("abc"));
    assert_eq!(watched.counters(one.sent + other.sent).requests.get, 1);
}

#[test]
fn an_open_connection_goes_with_its_address_to_another_shard() {
    if !privileges("an_open_connection_goes_with_its_address_to_another_shard") {
        return;
    }
    let mut watched = Watched::v4();
    let endpoints = watched.endpoints();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let counts = |watched: &mut Watched, sent| {
        let of = |counters: Counters| {
            let bytes = [counters.traffic.receive.payload_bytes, counters.traffic.transmit.payload_bytes];
            (counters.requests.get, bytes)
        };
        (of(watched.counters(sent)), of(watched.source.read(1).unwrap()))
    };
    (0..5).for_each(|_| client.exchange(&get("abc")));
    let first = [client.sent, client.received];
    assert_eq!(counts(&mut watched, client.sent), ((5, first), (0, [0; 2])));

    watched
        .source
        .watch(&endpoints.keys().map(|endpoint| (*endpoint, Listener::anywhere(1))).collect())
        .unwrap();
    (0..7).for_each(|_| client.exchange(&get("abc")));
    let second = [client.sent - first[0], client.received - first[1]];
    assert_eq!(counts(&mut watched, client.sent), ((5, first), (7, second)));

    // Another shard has the same port, so packets of that port are still examined.
    let other = SocketAddr::from(([127, 0, 0, 2], watched.server.port)).into();
    watched.source.watch(&BTreeMap::from([(other, Listener::anywhere(0))])).unwrap();
    (0..3).for_each(|_| client.exchange(&get("abc")));
    assert_eq!(counts(&mut watched, client.sent), ((5, first), (7, second)));
}

#[test]
fn heads_split_at_every_byte_are_counted() {
    if !privileges("heads_split_at_every_byte_are_counted") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let requests = [get("user-1"), post(b"{\"key\":1}")].concat();
    for at in 1..requests.len() {
        client.send(&requests[..at]);
        watched.server.wait_for(client.sent);
        client.send(&requests[at..]);
        watched.server.wait_for(client.sent);
    }
    let rounds = requests.len() as u64 - 1;
    let counted = watched.counters(client.sent).requests;
    assert_eq!((counted.get, counted.set, counted.unparsed), (rounds, rounds, [0; REASONS]));
}

#[test]
fn a_head_byte_by_byte_is_counted_once() {
    if !privileges("a_head_byte_by_byte_is_counted_once") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    for byte in get("user-1") {
        assert_eq!(watched.counters(client.sent).requests.get, 0);
        client.send(&[byte]);
    }
    assert_eq!(watched.counters(client.sent).requests.get, 1);
}

#[test]
fn pipelines_of_any_depth_are_counted() {
    if !privileges("pipelines_of_any_depth_are_counted") {
        return;
    }
    let _one_cpu = OneCpu::pin();
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let mut expected = 0;
    for depth in 1..=64 {
        client.send(&get("celebrity-user-kardashian").repeat(depth));
        expected += depth as u64;
    }
    // A batch of segments of the maximum size.
    client.send(&get("abc").repeat(2_000));
    let counted = watched.counters(client.sent).requests;
    assert_eq!((counted.get, counted.unparsed), (expected + 2_000, [0; REASONS]));
}

#[test]
fn a_body_with_a_head_inside_or_at_a_segments_start_counts_once() {
    if !privileges("a_body_with_a_head_inside_or_at_a_segments_start_counts_once") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let head = get("inside");
    let request = post(&head.repeat(3));
    let body_at = request.len() - 3 * head.len();
    for at in [body_at, body_at + head.len(), body_at + 1, body_at - 1, request.len() - 1] {
        client.send(&request[..at]);
        watched.server.wait_for(client.sent);
        client.send(&request[at..]);
        watched.server.wait_for(client.sent);
    }
    client.send(&request);
    let counted = watched.counters(client.sent).requests;
    assert_eq!((counted.get, counted.set, counted.unparsed), (0, 6, [0; REASONS]));
}

/// Sends twenty large writes, each with a read behind it.
fn large_bodies() -> Requests {
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    for _ in 0..20 {
        client.send(&post(&vec![b'x'; 300_000]));
        client.send(&get("after"));
    }
    watched.counters(client.sent).requests
}

#[test]
fn large_bodies_are_skipped() {
    if !privileges("large_bodies_are_skipped") {
        return;
    }
    let on_any_cpu = large_bodies();
    let is_complete = (on_any_cpu.get, on_any_cpu.set) == (20, 20);
    assert!(is_complete || on_any_cpu.unparsed != [0; REASONS], "lost without a reason: {on_any_cpu:?}");
    let _one_cpu = OneCpu::pin();
    let in_order = large_bodies();
    assert_eq!((in_order.get, in_order.set, in_order.unparsed), (20, 20, [0; REASONS]));
}

#[test]
fn a_connection_older_than_the_probe_is_followed_from_its_next_request() {
    if !privileges("a_connection_older_than_the_probe_is_followed_from_its_next_request") {
        return;
    }
    let server = Server::start("127.0.0.1");
    let mut between = Client::connect("127.0.0.1", server.port);
    let mut inside = Client::connect("127.0.0.1", server.port);
    between.exchange(&get("before"));
    let request = post(&[b'x'; 1_000]);
    inside.exchange(&request[..500]);
    server.wait_for(between.sent + inside.sent);

    let mut watched = Watched::of(server, attached());
    watched.watch("127.0.0.1".parse().unwrap());
    between.exchange(&get("after"));
    inside.exchange(&request[500..]);
    inside.exchange(&get("after"));
    let counted = watched.counters(between.sent + inside.sent).requests;
    assert_eq!((counted.get, counted.set), (2, 0));
    assert_eq!(counted.unparsed[Reason::Joined as usize], 1);
    assert_eq!(counted.unparsed.iter().sum::<u64>(), 1);
}

#[test]
fn a_chunked_body_is_unparsed_and_the_next_request_counts() {
    if !privileges("a_chunked_body_is_unparsed_and_the_next_request_counts") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    client.exchange(
        b"POST /data HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    );
    client.exchange(&get("after"));
    let counted = watched.counters(client.sent).requests;
    assert_eq!((counted.get, counted.set, counted.unparsed[Reason::Chunked as usize]), (1, 1, 1));
}

#[test]
fn probes_do_not_displace_each_other_and_a_dropped_one_stops_counting() {
    if !privileges("probes_do_not_displace_each_other_and_a_dropped_one_stops_counting") {
        return;
    }
    let mut first = Watched::v4();
    let mut second = attached();
    second.watch(&first.endpoints()).unwrap();
    let mut client = Client::connect("127.0.0.1", first.server.port);
    client.exchange(&get("abc"));
    assert_eq!(first.counters(client.sent).requests.get, 1);
    assert_eq!(second.read(0).unwrap().requests.get, 1);
    drop(second);
    client.exchange(&get("abc"));
    assert_eq!(first.counters(client.sent).requests.get, 2);
}

#[test]
fn a_shard_that_is_no_longer_watched_is_no_longer_counted() {
    if !privileges("a_shard_that_is_no_longer_watched_is_no_longer_counted") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    client.exchange(&get("abc"));
    watched.watch("127.0.0.9".parse().unwrap());
    client.exchange(&get("abc"));
    assert_eq!(watched.counters(client.sent).requests.get, 1);
}

#[test]
fn requests_of_clients_that_leave_before_an_answer_are_counted_as_such() {
    if !privileges("requests_of_clients_that_leave_before_an_answer_are_counted_as_such") {
        return;
    }
    // This shard accepts no connections, so it reads nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut watched = Watched::of(Server::start("127.0.0.1"), attached());
    let (deaf, reading) = (listener.local_addr().unwrap(), watched.server.port);
    watched.watch_all(&[deaf, ([127, 0, 0, 1], reading).into()]);
    let mut unread = Client::connect("127.0.0.1", deaf.port());
    unread.send(&get("abc").repeat(3));
    unread.reset();
    let mut closed = Client::connect("127.0.0.1", deaf.port());
    closed.send(&get("abc"));
    drop(closed);
    let mut sent = 0;
    for leave in [Client::reset, drop] {
        let mut answered = Client::connect("127.0.0.1", reading);
        answered.exchange(&get("abc"));
        answered.exchange(&get("abc"));
        sent += answered.sent;
        leave(answered);
    }
    // On loopback the programs have processed a client's last packet before the call returns.
    let requests = watched.counters(sent).requests;
    assert_eq!((requests.get, requests.aborted), (8, 4));
}
