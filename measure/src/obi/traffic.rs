//! The kinds of traffic, sent to one shard by a client that knows how many requests it has sent.

use anyhow::{Context as _, Result, anyhow};
use lab::signals;
use std::net::SocketAddr;
use std::time::Duration;

use crate::accuracy::client::Client;
use crate::gateway_bench::client::in_turn;

/// Keys that a shard holds.
pub(super) const KEYS: u32 = 200;

/// Connections at a time, where they are not what differs.
const CONNECTIONS: u32 = 8;

/// Between two parts of a request, so that the shard reads them one by one.
const PAUSE: Duration = Duration::from_millis(5);

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Reads on so many connections that stay open.
    KeepAlive(u32),
    /// A connection for each read, closed by the client.
    OwnConnection,
    /// So many reads in one segment, then so many answers.
    Pipelined(u32),
    /// Reads whose path is split between two segments.
    SplitReads,
    /// Reads with a head of 3,000 bytes.
    LongHeads,
    /// Reads that are answered with 404.
    AbsentKeys,
    /// Writes, each in one segment.
    Writes,
    /// Writes whose body follows in a segment of its own.
    SplitWrites,
    /// Writes with a chunked body.
    ChunkedWrites,
    /// Reads on connections that are older than the watchers.
    OldConnections,
}

impl Traffic {
    /// All kinds whose counts are compared. Old connections come first, because a shard closes a connection that is idle
    /// for 75 s.
    pub(super) const COUNTED: [Self; 13] = [
        Self::OldConnections,
        Self::KeepAlive(4),
        Self::KeepAlive(8),
        Self::KeepAlive(64),
        Self::OwnConnection,
        Self::Pipelined(4),
        Self::Pipelined(100),
        Self::SplitReads,
        Self::LongHeads,
        Self::AbsentKeys,
        Self::Writes,
        Self::SplitWrites,
        Self::ChunkedWrites,
    ];

    /// The kinds whose cost is measured.
    pub(super) const COSTED: [Self; 5] = [
        Self::KeepAlive(4),
        Self::KeepAlive(8),
        Self::KeepAlive(64),
        Self::OwnConnection,
        Self::Pipelined(4),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::KeepAlive(connections) => format!("{connections} connections"),
            Self::OwnConnection => "a connection for each request".to_owned(),
            Self::Pipelined(depth) => format!("pipelined, {depth} in a segment"),
            Self::SplitReads => "path split between two segments".to_owned(),
            Self::LongHeads => "heads of 3,000 bytes".to_owned(),
            Self::AbsentKeys => "answered with 404".to_owned(),
            Self::Writes => "writes".to_owned(),
            Self::SplitWrites => "writes, body in its own segment".to_owned(),
            Self::ChunkedWrites => "writes, chunked body".to_owned(),
            Self::OldConnections => "connections older than the watchers".to_owned(),
        }
    }

    /// Sends about `requests` requests and waits for all answers. Returns how many it has sent.
    ///
    /// # Errors
    /// When an answer does not arrive.
    pub(super) fn send(self, shard: SocketAddr, requests: u32, older: Vec<Client>) -> Result<u64> {
        let share = requests / CONNECTIONS;
        let each = |exchange: fn(&mut Client, u32) -> Result<()>| {
            on_connections(shard, CONNECTIONS, |client| {
                (0..share).try_for_each(|number| exchange(client, number))
            })?;
            Ok(u64::from(share * CONNECTIONS))
        };
        match self {
            Self::KeepAlive(connections) => {
                in_turn(shard, connections, requests, KEYS, |number| read(&key(number)))?;
                Ok(u64::from(requests))
            }
            Self::OwnConnection => {
                in_parallel(0..CONNECTIONS, |_| {
                    (0..share)
                        .try_for_each(|number| Client::connect(shard)?.exchange(&read(&key(number % KEYS))))
                })?;
                Ok(u64::from(share * CONNECTIONS))
            }
            Self::Pipelined(depth) => {
                let connections = if depth < 100 { CONNECTIONS } else { requests / depth };
                let rounds = requests / depth / connections;
                on_connections(shard, connections, |client| {
                    (0..rounds).try_for_each(|_| {
                        client.send(&(0..depth).flat_map(|number| read(&key(number))).collect::<Vec<_>>())?;
                        client.answers(u64::from(depth))
                    })
                })?;
                Ok(u64::from(rounds * depth * connections))
            }
            Self::SplitReads => {
                each(|client, number| apart(client, &read(&key(number % KEYS)), "GET /da".len()))
            }
            Self::LongHeads => each(|client, number| {
                let filler = "x".repeat(2_900);
                let key = key(number % KEYS);
                let head = format!("GET /data/{key} HTTP/1.1\r\nHost: shard\r\nCookie: a={filler}\r\n\r\n");
                client.exchange(head.as_bytes())
            }),
            Self::AbsentKeys => {
                each(|client, number| client.exchange(&read(&format!("absent{}", number % KEYS))))
            }
            Self::Writes => each(|client, number| client.exchange(&write(number))),
            Self::SplitWrites => each(|client, number| {
                let write = write(number);
                let head = write.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a head")? + 4;
                apart(client, &write, head)
            }),
            Self::ChunkedWrites => each(|client, number| {
                let body = body(number);
                let length = body.len();
                let head = "POST /data HTTP/1.1\r\nHost: shard\r\nContent-Type: application/json\r\n";
                let chunks = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n");
                client.exchange(format!("{head}{chunks}").as_bytes())
            }),
            Self::OldConnections => {
                let sent = u64::from(share) * older.len() as u64;
                in_parallel(older, |mut client| {
                    (0..share).try_for_each(|number| client.exchange(&read(&key(number % KEYS))))
                })?;
                Ok(sent)
            }
        }
    }
}

/// Opens connections and sends a request on each.
pub(super) fn older_connections(shard: SocketAddr) -> Result<Vec<Client>> {
    let connect = |number| {
        let mut client = Client::connect(shard)?;
        client.exchange(&read(&key(number)))?;
        Ok(client)
    };
    (0..CONNECTIONS).map(connect).collect()
}

/// The name of a key, by its number.
pub(super) fn key(number: u32) -> String {
    format!("k{number}")
}

/// A read.
pub(super) fn read(key: &str) -> Vec<u8> {
    crate::accuracy::client::get(key)
}

fn write(number: u32) -> Vec<u8> {
    let body = body(number);
    let length = body.len();
    let head = "POST /data HTTP/1.1\r\nHost: shard\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn body(number: u32) -> String {
    format!("{{\"key\":\"{}\",\"value\":{{\"data\":\"x\"}}}}", key(number % KEYS))
}

/// Sends a request in two segments and waits for its answer.
fn apart(client: &mut Client, request: &[u8], at: usize) -> Result<()> {
    let (first, second) = request.split_at(at);
    client.send(first)?;
    signals::pause(PAUSE);
    client.exchange(second)
}

/// Opens connections and uses them at the same time.
fn on_connections(
    shard: SocketAddr,
    connections: u32,
    send: impl Fn(&mut Client) -> Result<()> + Sync,
) -> Result<()> {
    in_parallel(0..connections, |_| send(&mut Client::connect(shard)?))
}

fn in_parallel<T: Send>(
    inputs: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = inputs.into_iter().map(|input| scope.spawn(move || work(input))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;
    signals::check()
}
