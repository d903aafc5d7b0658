//! Connections in the kernel against those that were made.

use std::time::Instant;

use probe::source::Source as _;
use probe_common::connections::Connections;

use crate::harness::{Client, PATIENCE, Server, attached, get, privileges};

#[test]
fn connections_are_counted_from_their_handshake_to_their_end() {
    if !privileges("connections_are_counted_from_their_handshake_to_their_end") {
        return;
    }
    for (bind, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let server = Server::start(bind);
        let older = Client::connect(address, server.port);
        let mut source = attached();
        let watched = std::net::SocketAddr::new(address.parse().unwrap(), server.port);
        source.watch(&[(watched.into(), 0)].into()).unwrap();
        let mut wait_for = |expected: Connections| {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let counted = source.connections(0).unwrap().unwrap();
                if counted == expected {
                    return;
                }
                assert!(Instant::now() < deadline, "{bind}: {counted:?}, not {expected:?}");
                std::thread::yield_now();
            }
        };
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(address, server.port)).collect();
        clients.iter_mut().for_each(|client| client.ask(&get("abc")));
        wait_for(Connections { opened: 10, ..Connections::default() });
        clients.drain(..3).for_each(Client::reset);
        clients.drain(..4).for_each(drop);
        drop(older);
        let left = Connections { opened: 10, closed: 7, cut: 3, retransmitted: 0 };
        wait_for(left);
        assert_eq!(left.open(), clients.len() as u64);
        drop(clients);
        wait_for(Connections { opened: 10, closed: 10, cut: 3, retransmitted: 0 });
    }
}
