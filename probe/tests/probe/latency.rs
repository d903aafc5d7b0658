//! Tests the kernel's latencies against a server's and client's clocks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use probe::source::Source as _;
use probe_common::endpoint::Listener;
use probe_common::latency::{Latency, bucket};

use crate::harness::{Client, attached, get, privileges};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Requests per round. The number is odd, so the median is one of them.
const ROUND: usize = 41;

/// Maximum number of rounds until the server's wake-up delay is shorter than a bucket.
const ROUNDS: usize = 10;

/// A server of one connection. It sleeps for each request and sends the time from reading to answering.
#[expect(clippy::disallowed_methods, reason = "its sleep is what is measured; there is no runtime to block")]
fn sleeping(pause: Duration) -> (u16, Receiver<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer) {
            let start = Instant::now();
            std::thread::sleep(pause);
            let took = start.elapsed();
            if stream.write_all(ANSWER).is_err() || sender.send(took).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

fn median(mut durations: Vec<Duration>) -> u64 {
    durations.sort_unstable();
    u64::try_from(durations[durations.len() / 2].as_nanos()).unwrap()
}

fn since(now: &Latency, then: &Latency) -> Latency {
    let mut difference = *now;
    for (now, then) in difference.buckets.iter_mut().zip(then.buckets) {
        *now -= then;
    }
    difference.sum -= then.sum;
    difference
}

#[test]
fn the_median_is_within_a_bucket_of_the_servers_own() {
    if !privileges("the_median_is_within_a_bucket_of_the_servers_own") {
        return;
    }
    for milliseconds in [1, 5, 20] {
        let (port, took) = sleeping(Duration::from_millis(milliseconds));
        let mut source = attached();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        source.watch(&[(address.into(), Listener::anywhere(0))].into()).unwrap();
        let mut client = Client::connect("127.0.0.1", port);
        let mut before = Latency::default();
        let close = (0..ROUNDS).any(|_| {
            let mut asked = Vec::new();
            let mut answered = Vec::new();
            for n in 0..ROUND {
                let start = Instant::now();
                client.exchange(&get(&format!("user-{n}")));
                asked.push(start.elapsed());
                answered.push(took.recv().unwrap());
            }
            let now = source.latency(0).unwrap();
            let round = since(&now, &before);
            before = now;
            assert_eq!(round.count(), ROUND as u64);
            let kernel = round.bucket_of(ROUND as u64 / 2 + 1).unwrap();
            let (server, client) = (bucket(median(answered)) as usize, bucket(median(asked)) as usize);
            // On any machine the kernel's latency lies between the server's and the client's.
            assert!((server..=client).contains(&kernel), "{milliseconds} ms: {server} {kernel} {client}");
            kernel <= server + 1
        });
        assert!(close, "{milliseconds} ms");
    }
}

#[test]
fn control_requests_are_not_timed_and_of_a_pipeline_the_oldest_is() {
    if !privileges("control_requests_are_not_timed_and_of_a_pipeline_the_oldest_is") {
        return;
    }
    let (port, _took) = sleeping(Duration::ZERO);
    let mut source = attached();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    source.watch(&[(address.into(), Listener::anywhere(0))].into()).unwrap();
    let mut client = Client::connect("127.0.0.1", port);
    client.exchange(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(source.latency(0).unwrap(), Latency::default());
    client.exchange(&get("abc"));
    assert_eq!(source.latency(0).unwrap().count(), 1);
    client.exchange(&get("abc").repeat(3));
    let latency = source.latency(0).unwrap();
    assert_eq!(latency.count(), 2);
    assert!(latency.sum > 0);
}
