//! Tests requests in the last packet of their connection's handshake.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use probe::source::Source as _;
use probe_common::requests::{REASONS, Reason};
use socket2::{Domain, Socket, Type};

use crate::harness::{Client, Watched, get, post, privileges};

/// A client that sends its first bytes with the last packet of the handshake. Linux does so when `TCP_DEFER_ACCEPT` is
/// set on the connecting side.
fn lazy(address: &str, port: u16) -> Client {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    let seconds: libc::c_int = 1;
    // SAFETY: the socket outlives the call, and so does the option's value, an int.
    #[expect(unsafe_code, reason = "socket2 does not offer this option")]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    socket.connect(&address.into()).unwrap();
    Client::over(socket.into())
}

#[test]
fn a_request_with_the_handshakes_last_packet_is_counted() {
    if !privileges("a_request_with_the_handshakes_last_packet_is_counted") {
        return;
    }
    for (bind, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let mut watched = Watched::at(bind, address);
        let (mut sent, mut clients) = (0, Vec::new());
        for round in 0..50 {
            let mut client = lazy(address, watched.server.port);
            let request = get(&format!("user-{}", round % 5));
            if round % 2 == 0 {
                client.exchange(&request);
            } else {
                // Split the request, so that the connection must continue where the listener's packet ended.
                let (one, other) = request.split_at(1 + round);
                client.send(one);
                watched.server.wait_for(sent + client.sent);
                client.send(other);
            }
            client.exchange(&get("second"));
            sent += client.sent;
            clients.push(client);
        }
        let requests = watched.counters(sent).requests;
        assert_eq!((requests.get, requests.unparsed), (100, [0; REASONS]), "{address}");
        let keys = watched.keys(sent).top(usize::MAX);
        let counts: Vec<u64> = keys.iter().map(|key| key.requests).collect();
        assert_eq!(counts, [50, 10, 10, 10, 10, 10], "{keys:?}");
        // Not all requests are timed: the second half of a split request and the request after it may lack a timed
        // answer.
        assert!(watched.source.latency(0).unwrap().count() >= 50);
    }
}

#[test]
fn what_of_a_handshakes_packet_cannot_be_told_is_unparsed_and_never_wrong() {
    if !privileges("what_of_a_handshakes_packet_cannot_be_told_is_unparsed_and_never_wrong") {
        return;
    }
    let mut watched = Watched::v4();
    let port = watched.server.port;
    // Three packets: a head and a part of the next one; two heads; a head whose body starts like a request.
    let (one, other) = (get("one"), get("other"));
    let body = get("body");
    let packets = [
        [&one[..], &other[..14]].concat(),
        [&one[..], &other].concat(),
        post(&body)[..post(&body).len() - body.len()].to_vec(),
    ];
    let rests = [&other[14..], &[], &body];
    let (mut sent, mut clients) = (0, Vec::new());
    for (packet, rest) in packets.iter().zip(rests) {
        let mut client = lazy("127.0.0.1", port);
        client.send(packet);
        watched.server.wait_for(sent + client.sent);
        if !rest.is_empty() {
            client.send(rest);
        }
        watched.server.wait_for(sent + client.sent);
        sent += client.sent;
        clients.push(client);
    }
    let requests = watched.counters(sent).requests;
    assert_eq!((requests.get, requests.set, requests.control), (0, 1, 0));
    // Two packets, and the rest of the head after the first of them.
    assert_eq!(requests.unparsed[Reason::Handshake as usize], 3, "{:?}", requests.unparsed);
    assert_eq!(watched.keys(sent).top(1), []);
}
