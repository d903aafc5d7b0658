//! Tests the kernel's connection counters against connections made.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use probe::kernel::object::Switches;
use probe::source::{KernelSource, Source as _};
use probe_common::connections::Connections;
use probe_common::endpoint::Listener;
use probe_common::latency::upper_bound;

use crate::harness::{Client, Server, TIMEOUT, attached, attached_with, get, privileges};

/// Reads until the counters have these values. Retransmissions are ignored, because TCP retransmits when the machine
/// stalls for 200 ms.
fn wait_for(source: &mut KernelSource, expected: Connections) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let counted = Connections { retransmitted: 0, ..source.connections(0).unwrap().unwrap() };
        if counted == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{counted:?}, not {expected:?}");
        std::thread::yield_now();
    }
}

/// A listener. The test owns both ends of its connections.
struct Hub {
    listener: TcpListener,
    /// The address that clients and the probe use.
    addr: SocketAddr,
}

impl Hub {
    fn new() -> Self {
        Self::at("127.0.0.1", "127.0.0.1")
    }

    /// Listens at `bind` and is reached at `address`.
    fn at(bind: &str, address: &str) -> Self {
        let listener = TcpListener::bind((bind, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, addr: SocketAddr::new(address.parse().unwrap(), port) }
    }

    fn watch(&self, source: &mut KernelSource) {
        source.watch(&[(self.addr.into(), Listener::anywhere(0))].into()).unwrap();
    }

    /// Opens a connection: the client's end, the shard's end.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.addr).unwrap();
        (client, self.listener.accept().unwrap().0)
    }
}

/// Sends payload from one end to the other and reads it there.
fn say(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}

/// Waits until all sent data is acknowledged on both sides, including FINs.
fn settle(connections: &[(TcpStream, TcpStream)]) {
    let deadline = Instant::now() + TIMEOUT;
    for stream in connections.iter().flat_map(|(client, shard)| [client, shard]) {
        while tcp_info(stream)[UNACKNOWLEDGED] > 0 {
            assert!(Instant::now() < deadline, "never acknowledged");
            std::thread::yield_now();
        }
    }
}

/// Closes the clients' ends, then the shard's ends once the clients' FINs are acknowledged. Otherwise the shard's FIN
/// could overtake that acknowledgement on another CPU. The client would then acknowledge again, to a socket that no
/// longer exists, and TCP would answer with a reset.
fn leave(connections: Vec<(TcpStream, TcpStream)>) {
    connections.iter().for_each(|(client, _)| client.shutdown(Shutdown::Write).unwrap());
    settle(&connections);
    for (mut client, mut shard) in connections {
        assert_eq!(shard.read(&mut [0]).unwrap(), 0);
        drop(shard);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn connections_are_counted_from_their_handshake_to_their_end() {
    if !privileges("connections_are_counted_from_their_handshake_to_their_end") {
        return;
    }
    for (bind, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
        let hub = Hub::at(bind, address);
        let older = hub.connect();
        let mut source = attached();
        hub.watch(&mut source);
        let mut connections: Vec<_> = (0..10).map(|_| hub.connect()).collect();
        for (client, shard) in &mut connections {
            say(client, shard);
            say(shard, client);
        }
        wait_for(&mut source, Connections { opened: 10, ..Connections::default() });
        settle(&connections);
        connections.drain(..3).for_each(|(client, mut shard)| {
            reset(client);
            shard.read_exact(&mut [0]).unwrap_err();
        });
        leave(connections.drain(..4).collect());
        leave(vec![older]);
        let ended = Connections { aborted_connections: 3, resets_received: 3, ..Connections::default() };
        let left = Connections { opened: 10, closed: 7, preexisting_seen: 1, preexisting_closed: 1, ..ended };
        wait_for(&mut source, left);
        assert_eq!((left.open(), left.preexisting_open()), (connections.len() as u64, 0));
        leave(connections);
        wait_for(&mut source, Connections { closed: 10, ..left });
    }
}

#[test]
fn older_connections_are_counted_apart_however_they_end() {
    if !privileges("older_connections_are_counted_apart_however_they_end") {
        return;
    }
    let hub = Hub::new();
    let [mut closes, mut resets, idle, silent, unread, mut leaves] = [(); 6].map(|()| hub.connect());
    let mut source = attached();
    hub.watch(&mut source);
    let mut seen = 0;
    let mut older = |source: &mut KernelSource, more_seen: u64, closed: u64, others: Connections| {
        seen += more_seen;
        wait_for(source, Connections { preexisting_seen: seen, preexisting_closed: closed, ..others });
    };
    let none = Connections::default();
    // Older connections are counted as open from their first payload on, in either direction.
    for _ in 0..3 {
        say(&mut closes.0, &mut closes.1);
        say(&mut closes.1, &mut closes.0);
        say(&mut resets.0, &mut resets.1);
        say(&mut leaves.0, &mut leaves.1);
    }
    older(&mut source, 3, 0, none);
    // The shard's end closes first, with and without earlier payload.
    drop(closes.1);
    older(&mut source, 0, 1, none);
    drop(idle.1);
    older(&mut source, 1, 2, none);
    // The client's end closes first. The connection stays open until the shard's end closes too.
    drop(leaves.0);
    leaves.1.read_exact(&mut [0]).unwrap_err();
    older(&mut source, 0, 2, none);
    drop(leaves.1);
    older(&mut source, 0, 3, none);
    // The client resets the connection.
    reset(resets.0);
    resets.1.read_exact(&mut [0]).unwrap_err();
    drop(resets.1);
    let received = Connections { resets_received: 1, ..none };
    older(&mut source, 0, 4, received);
    // The shard resets the connection, because it has not read all data.
    (&unread.0).write_all(b"x").unwrap();
    unread.1.peek(&mut [0]).unwrap();
    drop(unread.1);
    let both = Connections { resets_sent: 1, ..received };
    older(&mut source, 1, 5, both);
    // New connections are counted separately. The older connection without payload stays unknown.
    let new = hub.connect();
    older(&mut source, 0, 5, Connections { opened: 1, ..both });
    drop((new, closes.0, idle.0, unread.0));
    older(&mut source, 0, 5, Connections { opened: 1, closed: 1, ..both });
    drop(silent);
    older(&mut source, 1, 6, Connections { opened: 1, closed: 1, ..both });
}

#[test]
fn a_shard_that_moves_keeps_the_ends_of_its_connections() {
    if !privileges("a_shard_that_moves_keeps_the_ends_of_its_connections") {
        return;
    }
    let (old, new) = (Hub::new(), Hub::new());
    let mut source = attached();
    old.watch(&mut source);
    let connection = old.connect();
    new.watch(&mut source);
    drop(connection);
    wait_for(&mut source, Connections { opened: 1, closed: 1, ..Connections::default() });
}

#[test]
fn resets_of_the_shard_are_counted_by_direction() {
    if !privileges("resets_of_the_shard_are_counted_by_direction") {
        return;
    }
    let hub = Hub::new();
    let mut source = attached();
    hub.watch(&mut source);
    for _ in 0..3 {
        let (client, server) = hub.connect();
        reset(server);
        drop(client);
    }
    for _ in 0..2 {
        let (client, server) = hub.connect();
        reset(client);
        drop(server);
    }
    let expected = Connections {
        opened: 5,
        closed: 5,
        aborted_connections: 5,
        resets_received: 2,
        resets_sent: 3,
        ..Connections::default()
    };
    wait_for(&mut source, expected);
    // Nothing listens, so a socket of the kernel itself sends the reset.
    let addr = hub.addr;
    drop(hub);
    TcpStream::connect(addr).unwrap_err();
    wait_for(&mut source, Connections { resets_sent: 4, ..expected });
}

/// TCP's own figures of a connection, as words of `struct tcp_info`.
fn tcp_info(stream: &TcpStream) -> [u32; TCP_INFO_WORDS] {
    let mut info = [0_u32; TCP_INFO_WORDS];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap();
    let place = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes of integers there.
    #[expect(unsafe_code, reason = "the standard library does not give TCP_INFO")]
    let outcome = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
    };
    assert_eq!((outcome, length as usize), (0, size_of_val(&info)));
    info
}

const TCP_INFO_WORDS: usize = 26;

/// Index of `tcpi_unacked`: segments that the peer has not acknowledged.
const UNACKNOWLEDGED: usize = 6;

/// Index of `tcpi_total_retrans`: retransmitted segments.
const SENT_AGAIN: usize = 25;

#[test]
fn a_handshakes_segments_sent_again_are_counted_as_tcp_counts_them() {
    if !privileges("a_handshakes_segments_sent_again_are_counted_as_tcp_counts_them") {
        return;
    }
    let hub = Hub::new();
    let mut source = attached();
    hub.watch(&mut source);
    // The shard ignores the last packet of the handshake, as if it had been lost, and retransmits its SYN-ACK after a
    // second.
    let seconds: libc::c_int = 1;
    let (value, length) =
        ((&raw const seconds).cast(), libc::socklen_t::try_from(size_of_val(&seconds)).unwrap());
    // SAFETY: the kernel reads one int.
    #[expect(unsafe_code, reason = "the standard library does not set TCP_DEFER_ACCEPT")]
    let outcome = unsafe {
        libc::setsockopt(hub.listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, length)
    };
    assert_eq!(outcome, 0);
    let (_client, server) = hub.connect();
    let total = u64::from(tcp_info(&server)[SENT_AGAIN]);
    assert!(total > 0);
    assert_eq!(source.connections(0).unwrap().unwrap().retransmitted, total);
}

#[test]
fn round_trips_are_measured_where_they_are_wanted() {
    if !privileges("round_trips_are_measured_where_they_are_wanted") {
        return;
    }
    const ANSWERS: u64 = 200;
    let server = Server::start("127.0.0.1");
    let addr = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut wants = attached();
    let mut wants_not = attached_with(Switches::default());
    for source in [&mut wants, &mut wants_not] {
        source.watch(&[(addr.into(), Listener::anywhere(0))].into()).unwrap();
    }
    let start = Instant::now();
    let mut client = Client::connect("127.0.0.1", server.port);
    for _ in 0..ANSWERS {
        client.exchange(&get("abc"));
    }
    drop(client);
    let took = u64::try_from(start.elapsed().as_nanos()).unwrap();
    let measured = wants.round_trips(0).unwrap();
    // One measurement per flight: an answer, acknowledged by the next request.
    assert!(measured.count() >= ANSWERS / 2 && measured.count() <= ANSWERS + 2, "{}", measured.count());
    assert!(measured.sum > 0 && measured.sum <= took, "{} of {took} ns", measured.sum);
    let slowest = measured.bucket_of(measured.count()).unwrap();
    assert!(slowest == 0 || upper_bound(slowest - 1).unwrap() <= took, "{slowest}");
    assert_eq!(wants_not.round_trips(0).unwrap().count(), 0);
}
