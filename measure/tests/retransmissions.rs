//! Retransmissions under packet loss: the kernel programs' count equals TCP's.
//!
//! A tenth of all packets is lost.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use lab_tests::{build, kernel};
use measure::accuracy::namespace::{Namespace, Pairs};
use measure::accuracy::probe::{Probe, Stage};
use measure::accuracy::relay::{self, NetworkFaults};
use measure::accuracy::tcp_info;
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 20;
const ANSWER: usize = 20_000;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server that keeps its sockets, so that the test can read their TCP counters.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Vec<Arc<TcpStream>>>>);

impl Keeper {
    fn start(namespace: &Namespace, port: u16) -> Self {
        let bind = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = namespace.run(|| TcpListener::bind(bind).unwrap()).unwrap();
        let keeper = Self::default();
        let kept = keeper.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stream = Arc::new(stream);
                kept.0.lock().push(Arc::clone(&stream));
                std::thread::spawn(move || {
                    let answer = vec![b'x'; ANSWER];
                    let mut request = [0; 512];
                    // Requests are short and are sent one at a time, so each arrives in one read.
                    while let Ok(1..) = (&*stream).read(&mut request) {
                        if (&*stream).write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        keeper
    }

    /// Returns the retransmitted segments of each socket, in the order of accepting. `None` while a segment is
    /// unacknowledged.
    fn sent_again(&self) -> Option<Vec<u64>> {
        let infos: Vec<_> = self.0.lock().iter().map(|stream| tcp_info::of(stream)).collect();
        infos
            .iter()
            .all(|info| info.unacknowledged == 0)
            .then(|| infos.iter().map(|info| info.segments_sent_again).collect())
    }
}

/// Sends `rounds` requests on every client in parallel.
fn exchange(clients: &mut [TcpStream], rounds: usize) {
    std::thread::scope(|scope| {
        for client in clients {
            scope.spawn(move || {
                let mut answer = vec![0; ANSWER];
                for _ in 0..rounds {
                    client.write_all(b"GET /data/a HTTP/1.1\r\nHost: shard\r\n\r\n").unwrap();
                    client.read_exact(&mut answer).unwrap();
                }
            });
        }
    });
}

/// The shard's retransmitted segments, by the probe's count.
fn sent_again(probe: &Probe<'_>) -> u64 {
    probe.counted().unwrap()[0].connections.unwrap().retransmitted_segments
}

#[test]
fn segments_sent_again_are_those_that_tcp_counts() {
    if !kernel::available("segments_sent_again_are_those_that_tcp_counts") {
        return;
    }
    const PORT: u16 = 9000;
    let _removed_at_the_end = Pairs;
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let ip = far.join_ours().unwrap();
    let faults = NetworkFaults { loss: 10, ..NetworkFaults::default() };
    let network = relay::join(&near, &far, &ip.to_string(), faults, 11).unwrap();
    let server = Keeper::start(&far, PORT);
    let addr = SocketAddr::from((ip, PORT));
    let connect = || {
        let client = near.run(|| TcpStream::connect(addr).unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        client
    };
    let stage = Stage::new(&build::binary("probe")).unwrap();
    let settled =
        || stage.until(TIMEOUT, || server.sent_again().ok_or("not acknowledged".to_owned())).unwrap();
    let mut older: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    exchange(&mut older, 1);
    let before: u64 = settled().iter().sum();
    let probe = stage.start_probe_at(format!("http://{addr}"));
    let mut newer: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    exchange(&mut newer, ROUNDS);
    // The kernel reports retransmissions of new connections to the probe at once.
    let counted = sent_again(&probe);
    let after: u64 = settled().iter().sum();
    assert!(after - before > 50, "hardly anything was sent again: {}", network.words());
    stage
        .until(TIMEOUT, || match sent_again(&probe) {
            now if now == after - before => Ok(()),
            now => Err(format!("{now} of {}, {counted} at first", after - before)),
        })
        .unwrap();
    // The probe reads retransmissions of preexisting connections at the next request or at the end.
    exchange(&mut older, ROUNDS);
    let truth = settled().iter().sum::<u64>() - before;
    drop((older, newer));
    let exact = stage.until(TIMEOUT, || match sent_again(&probe) {
        now if now == truth => Ok(()),
        now => Err(format!("{now} of {truth}")),
    });
    exact.unwrap();
    println!(
        "{truth} segments were sent again, {} by connections of the probe's time; {}",
        after - before,
        network.words()
    );
    probe.stop();
}
