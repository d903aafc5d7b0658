//! Tests that the kernel counts what TCP accepts, not what arrives.

#![expect(clippy::disallowed_methods, reason = "what must not happen in that time has no event to wait for")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use probe::source::Source as _;
use probe_common::endpoint::Listener;
use probe_common::requests::{REASONS, Reason, Requests};

use crate::harness::{Client, Server, Watched, attached, get, post, privileges};

const ACKNOWLEDGMENT: u8 = 0x10;
const PUSH: u8 = 0x08;

/// A forged segment of a connection over IPv4 loopback. It starts at the connection's next byte plus `ahead`.
struct Forged<'a> {
    payload: &'a [u8],
    flags: u8,
    ahead: u32,
    is_damaged: bool,
}

impl Forged<'_> {
    fn send(&self, stream: &TcpStream) {
        let (sequence, acknowledgment) = numbers(stream);
        let sequence = sequence.wrapping_add(self.ahead);
        let address = [127, 0, 0, 1];
        let mut tcp = Vec::new();
        tcp.extend(stream.local_addr().unwrap().port().to_be_bytes());
        tcp.extend(stream.peer_addr().unwrap().port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledgment.to_be_bytes());
        tcp.extend([0x50, self.flags, 2, 0, 0, 0, 0, 0]);
        tcp.extend(self.payload);
        let mut pseudo = [address, address].concat();
        pseudo.extend([0, 6]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(&tcp);
        let sum = checksum(&pseudo) ^ if self.is_damaged { 0x1234 } else { 0 };
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0];
        packet.extend((20 + tcp.len() as u16).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        packet.extend(address);
        packet.extend(address);
        packet.extend(tcp);
        send_raw(&packet);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte)));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[expect(unsafe_code, reason = "no dependency offers raw IP sockets")]
fn send_raw(packet: &[u8]) {
    // SAFETY: the arguments are three integers. The address is a live `sockaddr_in` of the given length, and the
    // packet outlives the call.
    let sent = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
        assert!(raw >= 0, "{}", std::io::Error::last_os_error());
        let raw = OwnedFd::from_raw_fd(raw);
        let mut to: libc::sockaddr_in = std::mem::zeroed();
        to.sin_family = libc::AF_INET as u16;
        to.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let length = size_of_val(&to) as libc::socklen_t;
        libc::sendto(raw.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, (&raw const to).cast(), length)
    };
    assert_eq!(usize::try_from(sent), Ok(packet.len()), "{}", std::io::Error::last_os_error());
}

/// The next sequence number to send, and the next to receive.
fn numbers(stream: &TcpStream) -> (u32, u32) {
    const TCP_REPAIR: i32 = 19;
    const TCP_REPAIR_QUEUE: i32 = 20;
    const TCP_QUEUE_SEQ: i32 = 21;
    set(stream, TCP_REPAIR, 1);
    set(stream, TCP_REPAIR_QUEUE, 2);
    let send = option(stream, TCP_QUEUE_SEQ);
    set(stream, TCP_REPAIR_QUEUE, 1);
    let receive = option(stream, TCP_QUEUE_SEQ);
    set(stream, TCP_REPAIR_QUEUE, 0);
    // Leaves repair mode without a window probe.
    set(stream, TCP_REPAIR, -1);
    (send, receive)
}

#[expect(unsafe_code, reason = "socket2 does not offer these options")]
fn set(stream: &TcpStream, name: i32, value: i32) {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket outlives the call, and so does the option's value, an int.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, name, (&raw const value).cast(), length)
    };
    assert_eq!(result, 0, "option {name}: {}", std::io::Error::last_os_error());
}

#[expect(unsafe_code, reason = "socket2 does not offer these options")]
fn option(stream: &TcpStream, name: i32) -> u32 {
    let mut value = 0_u32;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket, the value and its length outlive the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "option {name}: {}", std::io::Error::last_os_error());
    value
}

fn unparsed(requests: &Requests, reason: Reason) -> u64 {
    requests.unparsed[reason as usize]
}

#[test]
fn a_segment_that_tcp_drops_is_not_counted_and_blinds_nothing() {
    if !privileges("a_segment_that_tcp_drops_is_not_counted_and_blinds_nothing") {
        return;
    }
    let sound = get("sound-and-long-enough-to-be-checked-late-by-the-kernel");
    let other = String::from_utf8(sound.clone()).unwrap().replace("sound", "other").into_bytes();
    let header = String::from_utf8(sound.clone()).unwrap().replace("\r\nhost", "\r\x0bhost").into_bytes();
    let longer = other.repeat(3);
    let both = ACKNOWLEDGMENT | PUSH;
    let damaged = |payload, ahead| Forged { payload, flags: both, ahead, is_damaged: true };
    let cases = [
        ("another key", damaged(&other, 0)),
        ("a header's end", damaged(&header, 0)),
        ("its first bytes", damaged(&sound[..30], 0)),
        ("more bytes", damaged(&longer, 0)),
        ("no acknowledgment", Forged { payload: &other, flags: PUSH, ahead: 0, is_damaged: false }),
        ("far out of the window", Forged { payload: &other, flags: both, ahead: 1 << 30, is_damaged: false }),
        (
            "behind the window",
            Forged { payload: &other, flags: both, ahead: u32::MAX - (1 << 29), is_damaged: false },
        ),
    ];
    for (name, forged) in cases {
        let mut watched = Watched::v4();
        let stream = TcpStream::connect(("127.0.0.1", watched.server.port)).unwrap();
        let mut client = Client::over(stream.try_clone().unwrap());
        client.exchange(&sound);
        forged.send(&stream);
        for _ in 0..10 {
            client.exchange(&sound);
        }
        let requests = watched.counters(client.sent).requests;
        assert_eq!((requests.get, requests.set, requests.control), (11, 0, 0), "{name}: {requests:?}");
        let keys = watched.keys(client.sent).top(10);
        assert_eq!(keys.len(), 1, "{name}: {keys:?}");
        assert_eq!(keys[0].requests, 11, "{name}: {keys:?}");
    }
}

#[test]
fn a_damaged_segment_that_never_comes_again_is_never_counted() {
    if !privileges("a_damaged_segment_that_never_comes_again_is_never_counted") {
        return;
    }
    let mut watched = Watched::v4();
    let stream = TcpStream::connect(("127.0.0.1", watched.server.port)).unwrap();
    let mut client = Client::over(stream.try_clone().unwrap());
    client.exchange(&get("true"));
    let damaged = get("damaged-and-long-enough-to-be-checked-late-by-the-kernel");
    Forged { payload: &damaged, flags: ACKNOWLEDGMENT | PUSH, ahead: 0, is_damaged: true }.send(&stream);
    let before = watched.source.read(0).unwrap().requests;
    assert_eq!((before.get, before.undecided()), (1, 1));
    drop((client, stream));
    let requests = watched.decided().requests;
    assert_eq!((requests.get, requests.dropped), (1, 1), "{requests:?}");
    assert_eq!(watched.source.keys(0).unwrap().top(10).len(), 1);
}

#[test]
fn urgent_data_is_named_and_the_connection_recovers() {
    if !privileges("urgent_data_is_named_and_the_connection_recovers") {
        return;
    }
    let mut watched = Watched::v4();
    let stream = TcpStream::connect(("127.0.0.1", watched.server.port)).unwrap();
    let mut client = Client::over(stream.try_clone().unwrap());
    client.exchange(&get("before"));
    socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    for _ in 0..5 {
        client.exchange(&get("after"));
    }
    let requests = watched.counters(client.sent).requests;
    // The next request may still carry the urgent pointer.
    assert!((5..=6).contains(&requests.get) && unparsed(&requests, Reason::Urgent) >= 1, "{requests:?}");
    assert_eq!(requests.control, 0);
}

/// Moves the calling thread to one CPU.
#[expect(unsafe_code, reason = "no dependency offers the affinity of threads")]
fn move_to(cpu: usize) {
    // SAFETY: a CPU set is plain memory, and it outlives the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_sender_that_hops_cpus_does_not_lose_its_connection() {
    if !privileges("a_sender_that_hops_cpus_does_not_lose_its_connection") {
        return;
    }
    const REQUESTS: u64 = 20_000;
    let mut watched = Watched::v4();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let mut drain = client.reader();
    let drained = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(1..) = drain.read(&mut buffer) {}
    });
    for number in 0..REQUESTS / 10 {
        move_to(number as usize % cpus);
        client.send(&get(&format!("user-{}", number % 7)).repeat(10));
    }
    let pipelined = watched.counters(client.sent).requests;
    let skipped: u64 = pipelined.unparsed.iter().sum();
    println!("{} of {REQUESTS}, {skipped} segments not parsed: {:?}", pipelined.get, pipelined.unparsed);
    assert!(pipelined.get <= REQUESTS, "{pipelined:?}");
    assert!(pipelined.get == REQUESTS || skipped > 0, "{pipelined:?}");
    // Lost are at most the skipped segments and the requests sent until the connection was idle.
    assert!(pipelined.get > REQUESTS / 2, "{pipelined:?}");
    std::thread::sleep(Duration::from_millis(100));
    for number in 0..50 {
        move_to(number % cpus);
        client.send(&get("alone"));
        watched.server.wait_for(client.sent);
        std::thread::sleep(Duration::from_millis(2));
    }
    let requests = watched.counters(client.sent).requests;
    assert_eq!((requests.get - pipelined.get, requests.unparsed), (50, pipelined.unparsed));
    drop(client);
    drained.join().unwrap();
}

/// A server that passes its only connection to `serve`. It is watched as shard 0.
fn watched_server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (probe::source::KernelSource, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        serve(stream);
    });
    let mut source = attached();
    let endpoint = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
    source.watch(&std::collections::BTreeMap::from([(endpoint, Listener::anywhere(0))])).unwrap();
    (source, port)
}

fn wait_for(source: &mut probe::source::KernelSource, is_so: impl Fn(&Requests) -> bool) -> Requests {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let requests = source.read(0).unwrap().requests;
        if is_so(&requests) || std::time::Instant::now() > deadline {
            assert!(is_so(&requests), "{requests:?}");
            return requests;
        }
        std::thread::yield_now();
    }
}

#[test]
fn requests_behind_an_answer_that_closes_are_never_read() {
    if !privileges("requests_behind_an_answer_that_closes_are_never_read") {
        return;
    }
    let (mut source, port) = watched_server(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok").unwrap();
        // Requests that arrive now are not read either.
        std::thread::sleep(Duration::from_millis(200));
    });
    let mut client = Client::connect("127.0.0.1", port);
    client.send(&get("pipelined").repeat(5));
    std::thread::sleep(Duration::from_millis(120));
    client.send(&get("later"));
    let requests = wait_for(&mut source, |requests| unparsed(requests, Reason::Closed) > 0);
    assert_eq!((requests.get, requests.never_read, requests.data()), (5, 3, 2), "{requests:?}");
    assert_eq!(requests.unsettled(), 0, "{requests:?}");
}

#[test]
fn a_batch_whose_answers_were_all_sent_is_not_aborted() {
    if !privileges("a_batch_whose_answers_were_all_sent_is_not_aborted") {
        return;
    }
    // Answers of several lengths, split at arbitrary bytes.
    let answers: Vec<u8> = (0..30)
        .flat_map(|n| {
            let body = "HTTP/1.1 ".repeat(n % 4);
            format!("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        })
        .collect();
    for piece in [answers.len(), 700, 61, 13] {
        let all = answers.clone();
        let length = all.len();
        let (mut source, port) = watched_server(move |mut stream| {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            for piece in all.chunks(piece) {
                stream.write_all(piece).unwrap();
            }
            let _ = stream.read(&mut buffer);
        });
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&get("pipe").repeat(30)).unwrap();
        let mut received = vec![0; length];
        stream.read_exact(&mut received).unwrap();
        let before = wait_for(&mut source, |requests| requests.get == 30);
        assert_eq!(before.unsettled(), 0);
        drop(stream);
        std::thread::sleep(Duration::from_millis(50));
        let requests = source.read(0).unwrap().requests;
        assert_eq!(
            (requests.get, requests.unsettled(), requests.never_read),
            (30, 0, 0),
            "pieces of {piece}"
        );
    }
}

#[test]
fn a_half_closed_client_that_is_answered_settles_the_bound() {
    if !privileges("a_half_closed_client_that_is_answered_settles_the_bound") {
        return;
    }
    let (mut source, port) = watched_server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".repeat(2)).unwrap();
    });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&get("last").repeat(2)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    wait_for(&mut source, |requests| requests.unsettled() == 2);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let requests = wait_for(&mut source, |requests| requests.unsettled() == 0);
    assert_eq!((requests.get, requests.aborted, requests.never_read), (2, 2, 0));
}

#[test]
fn a_reset_by_the_shard_means_unread_bytes() {
    if !privileges("a_reset_by_the_shard_means_unread_bytes") {
        return;
    }
    let (mut source, port) = watched_server(|mut stream| {
        let mut one = vec![0; get("first").len()];
        stream.read_exact(&mut one).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        // The connection closes with a request unread.
    });
    let mut client = Client::connect("127.0.0.1", port);
    client.send(&get("first"));
    std::thread::sleep(Duration::from_millis(20));
    client.send(&get("unread"));
    let requests = wait_for(&mut source, |requests| requests.never_read > 0);
    assert_eq!((requests.data(), requests.never_read, requests.unsettled()), (1, 1, 0), "{requests:?}");
}

#[test]
fn latency_ends_with_the_answer_and_not_with_an_interim_one() {
    if !privileges("latency_ends_with_the_answer_and_not_with_an_interim_one") {
        return;
    }
    let (mut source, port) = watched_server(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let _ = stream.read(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let _ = stream.read(&mut buffer);
    });
    let body = br#"{"key":"user-1","value":{}}"#;
    let whole = post(body);
    let (head, body) = whole.split_at(whole.len() - body.len());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(head).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 100"));
    stream.write_all(body).unwrap();
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    let latency = source.latency(0).unwrap();
    assert_eq!(latency.count(), 1);
    assert!(latency.sum >= 100_000_000, "{} ns", latency.sum);
    assert_eq!(source.read(0).unwrap().requests.unparsed, [0; REASONS]);
}

#[test]
fn requests_over_headers_with_extensions_are_counted() {
    if !privileges("requests_over_headers_with_extensions_are_counted") {
        return;
    }
    let server = Server::start("::1");
    let mut watched = Watched::of(server, attached());
    watched.watch("::1".parse().unwrap());
    let stream = TcpStream::connect(("::1", watched.server.port)).unwrap();
    let mut client = Client::over(stream.try_clone().unwrap());
    client.exchange(&get("plain"));
    // A destination options header that contains only padding.
    let options: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
    const IPV6_DSTOPTS: i32 = 59;
    // SAFETY: the socket outlives the call, and so does the option's value of eight bytes.
    #[expect(unsafe_code, reason = "socket2 does not offer this option")]
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_IPV6, IPV6_DSTOPTS, options.as_ptr().cast(), 8)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    for _ in 0..10 {
        client.exchange(&get("extended"));
    }
    let counters = watched.counters(client.sent);
    assert_eq!((counters.requests.get, counters.requests.unparsed), (11, [0; REASONS]));
    assert_eq!(counters.traffic.receive.payload_bytes, client.sent);
}
