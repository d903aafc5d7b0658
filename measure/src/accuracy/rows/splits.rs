//! Heads in several segments, and long ones.

use anyhow::{Result, bail};
use std::net::{IpAddr, SocketAddr};

use crate::accuracy::case::{Case, Row, Sent, WorkloadResult};
use crate::accuracy::client::{Client, get, post};
use crate::accuracy::pinned_thread::PinnedThread;
use crate::accuracy::rule::Rule;
use crate::accuracy::server::{Server, ServerOptions};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("head split in two, at every byte", |size| {
            let rounds = size.of(1, 20);
            case(move |server| {
                let mut tally = Tally::default();
                let mut kept = Client::connect(server.addr)?;
                for _ in 0..rounds {
                    for request in requests() {
                        for at in 1..request.len() {
                            let (first, second) = request.split_at(at);
                            kept.send_apart(server, [first, second])?;
                            kept.answers(1)?;
                            tally.sent(&request, 2);
                            let mut own = Client::connect(server.addr)?;
                            own.send_apart(server, [first, second])?;
                            own.answers(1)?;
                            tally.sent(&request, 2);
                            tally.finish(&own);
                        }
                    }
                }
                tally.finish(&kept);
                tally.driven()
            })
        }),
        Row::new("head one byte at a time", |size| {
            let rounds = size.of(5, 200);
            case(move |server| {
                let mut tally = Tally::default();
                let mut connection = Client::connect(server.addr)?;
                for _ in 0..rounds {
                    for request in requests() {
                        connection.send_apart(server, request.chunks(1))?;
                        connection.answers(1)?;
                        tally.sent(&request, request.len() as u64);
                    }
                }
                tally.finish(&connection);
                tally.driven()
            })
        }),
        Row::new("heads of 6,000 bytes", |size| {
            let rounds = size.of(200, 2_000);
            Case::plain(move |server| {
                // Parts that do not fit into one segment arrive in order.
                let _in_order = PinnedThread::here()?;
                let mut connection = Client::connect(server.addr)?;
                let mut request = b"GET /data/a HTTP/1.1\r\nHost: shard\r\n".to_vec();
                for name in ["Cookie", "X-One", "Content-Lengthy"] {
                    request.extend(format!("{name}: {}\r\n", "v".repeat(1_980)).into_bytes());
                }
                request.extend(b"\r\n");
                for _ in 0..rounds {
                    connection.exchange(&request)?;
                }
                Ok(Sent { get: rounds, set: 0 }.into())
            })
        }),
    ]
}

/// Uses a server that acknowledges every segment at once, so that no part waits for the congestion
/// window and is merged with the next.
fn case(drive: impl FnOnce(&Server) -> Result<WorkloadResult> + 'static) -> Result<Case> {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let options = ServerOptions { acknowledges_at_once: true, ..ServerOptions::default() };
    let server = Server::start(None, SocketAddr::new(ip, 0), ip, options)?;
    Ok(Case::on(server, Rule::Exact, drive))
}

/// One request of each kind that is counted.
fn requests() -> [Vec<u8>; 2] {
    [get("split"), post(b"{}")]
}

/// Requests, and the segments they must have been in.
#[derive(Default)]
struct Tally {
    sent: Sent,
    meant: u64,
    seen: u64,
    repeated_bytes: u64,
}

impl Tally {
    fn sent(&mut self, request: &[u8], segments: u64) {
        if request.starts_with(b"GET") {
            self.sent.get += 1;
        } else {
            self.sent.set += 1;
        }
        self.meant += segments;
    }

    fn finish(&mut self, client: &Client) {
        let info = client.info();
        self.seen += info.data_segments_sent;
        self.repeated_bytes += info.repeated_bytes;
    }

    /// Proves that the segments were as intended.
    fn driven(self) -> Result<WorkloadResult> {
        if self.seen < self.meant {
            bail!("{} segments instead of {}: they were sent together", self.seen, self.meant);
        }
        let requests = self.sent.get + self.sent.set;
        let note = format!("{} segments for {requests} requests (tcpi_data_segs_out)", self.seen);
        Ok(WorkloadResult {
            sent: self.sent,
            repeated_bytes: self.repeated_bytes,
            note,
            ..WorkloadResult::default()
        })
    }
}
