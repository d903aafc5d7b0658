//! Tests that servers at one address in several network namespaces are told apart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use probe::kernel::namespace;
use probe::source::Source as _;
use probe_common::endpoint::{Endpoint, Listener};

use crate::harness::{Client, Server, TIMEOUT, Watched, attached, get, privileges};

/// Runs `job` in a new network namespace with its loopback interface up.
fn elsewhere<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            #[expect(unsafe_code, reason = "there is no safe wrapper among the dependencies")]
            // SAFETY: only this thread changes its namespace, and it ends with the job.
            let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
            set_loopback_up();
            job()
        });
        entered.join().unwrap()
    })
}

fn set_loopback_up() {
    use std::os::fd::AsRawFd as _;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // `struct ifreq` (netdevice(7)): the name, then the flags.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&i16::try_from(libc::IFF_UP).unwrap().to_ne_bytes());
    #[expect(unsafe_code, reason = "an interface is set up by ioctl")]
    // SAFETY: SIOCSIFFLAGS reads one `struct ifreq`, which has 40 bytes.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request.as_mut_ptr()) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
}

/// Answers `requests` requests over one connection, all in the namespace of this thread. Returns the connection's
/// client.
fn converse(addr: SocketAddr, requests: usize) -> SocketAddr {
    let listener = TcpListener::bind(addr).unwrap();
    let mut client = TcpStream::connect_timeout(&addr, TIMEOUT).unwrap();
    let (mut server, from) = listener.accept().unwrap();
    for _ in 0..requests {
        client.write_all(&get("elsewhere")).unwrap();
        assert!(server.read(&mut [0; 1024]).unwrap() > 0);
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(client.read(&mut [0; 1024]).unwrap() > 0);
    }
    from
}

#[test]
fn a_server_at_the_same_address_in_another_namespace_is_another_server() {
    if !privileges("a_server_at_the_same_address_in_another_namespace_is_another_server") {
        return;
    }
    let server = Server::start("127.0.0.1");
    let addr = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut watched = Watched::of(server, attached());
    let own = Listener { namespace: namespace::own().unwrap(), ..Listener::anywhere(0) };
    watched.source.watch(&[(addr.into(), own)].into()).unwrap();
    elsewhere(|| converse(addr, 20));
    let foreign = watched.decided();
    assert_eq!((foreign.requests.get, foreign.traffic.receive.payload_bytes), (0, 0));
    assert_eq!(watched.source.connections(0).unwrap().unwrap().opened, 0);
    let mut client = Client::connect("127.0.0.1", addr.port());
    (0..5).for_each(|_| client.exchange(&get("own")));
    let both = watched.counters(client.sent);
    assert_eq!((both.requests.get, both.traffic.receive.payload_bytes), (5, client.sent));
    assert_eq!(watched.source.connections(0).unwrap().unwrap().opened, 1);
}

#[test]
fn the_namespace_that_accepts_a_connection_is_recorded() {
    if !privileges("the_namespace_that_accepts_a_connection_is_recorded") {
        return;
    }
    let port = Server::start("127.0.0.1").port;
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let server = Endpoint::from(addr);
    let mut source = attached();
    let recorded = Listener { is_recorded: 1, ..Listener::anywhere(0) };
    source.watch(&[(server, recorded)].into()).unwrap();
    let (client, cookie) = elsewhere(|| (converse(addr, 1), namespace::own().unwrap()));
    assert_ne!(cookie, namespace::own().unwrap());
    assert_eq!(source.namespace(client.into(), server).unwrap(), Some(cookie));
    let here = TcpStream::connect_timeout(&addr, TIMEOUT).unwrap();
    assert!((&here).write_all(&get("here")).is_ok() && (&here).read(&mut [0; 1024]).unwrap() > 0);
    let found = source.namespace(here.local_addr().unwrap().into(), server).unwrap();
    assert_eq!(found, Some(namespace::own().unwrap()));
    // No connection of this client.
    let stranger = SocketAddr::from(([127, 0, 0, 2], client.port()));
    assert_eq!(source.namespace(stranger.into(), server).unwrap(), None);
    // Without an endpoint that needs it, no namespace is recorded.
    source.watch(&[(server, Listener::anywhere(0))].into()).unwrap();
    let (client, counted) = elsewhere(|| (converse(addr, 1), source.read(0).unwrap().requests.get));
    assert_eq!((source.namespace(client.into(), server).unwrap(), counted), (None, 3));
}

#[test]
fn an_open_connection_counts_while_its_namespace_is_watched() {
    if !privileges("an_open_connection_counts_while_its_namespace_is_watched") {
        return;
    }
    let server = Server::start("127.0.0.1");
    let addr = SocketAddr::from(([127, 0, 0, 1], server.port));
    let mut watched = Watched::of(server, attached());
    let own = namespace::own().unwrap();
    let listener = |namespace| Listener { namespace, ..Listener::anywhere(0) };
    watched.source.watch(&[(addr.into(), listener(own))].into()).unwrap();
    // Older kernels place only connections that were opened while their address was watched.
    let mut client = Client::connect("127.0.0.1", addr.port());
    for (namespace, counted) in [(own, 1), (u64::MAX, 0), (own, 1)] {
        watched.source.watch(&[(addr.into(), listener(namespace))].into()).unwrap();
        let before = watched.decided().traffic;
        let sent = client.sent;
        client.exchange(&get("own"));
        let received = watched.counters(client.sent).traffic.receive.payload_bytes;
        assert_eq!(received - before.receive.payload_bytes, counted * (client.sent - sent), "{namespace}");
    }
}
