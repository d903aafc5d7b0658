//! Connections whose segments are processed on several CPUs at once, and a storm that combines all faults.

use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult, together};
use crate::accuracy::client::{Client, get};
use crate::accuracy::namespace::Namespace;
use crate::accuracy::pinned_thread::PinnedThread;
use crate::accuracy::relay::{self, NetworkFaults};
use crate::accuracy::rows::bad_network::{HEADS_PER_SEGMENT, SHORTEST_HEAD};
use crate::accuracy::rule::{LARGEST_PACKET, Rule};
use crate::accuracy::server::{Server, ServerOptions};

/// Requests of one write of the storm.
const BATCH: u64 = 20;
/// Number of requests, one at a time, at the end of every connection. All of them must be counted.
const LAST: u64 = 50;

/// The rows of the usual run.
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("sender hops CPUs, pipelined", hopping),
        Row::new("two CPUs deliver at once, pipelined", parallel),
    ]
}

/// The rows of the full run.
pub(super) fn storm_rows() -> Vec<Row> {
    vec![Row::new("storm", storm)]
}

/// Requests that are not counted must be covered by unparsed segments, with at most this many heads in each.
const fn accounted(heads_per_segment: u64) -> Rule {
    Rule::Accounted {
        heads_per_segment,
        why: "segments that two CPUs process at once, or that are missing, are skipped and reported",
    }
}

/// On loopback, where a segment is processed on its sender's CPU, and answers and acknowledgements on another.
fn hopping(size: Size) -> Result<Case> {
    let requests = size.of(5_000, 20_000);
    Ok(Case::on(Server::on_loopback()?, accounted(LARGEST_PACKET / SHORTEST_HEAD), move |server| {
        flood(requests, || Client::connect(server.addr))
    }))
}

/// Through a network whose two CPUs deliver the segments of one connection at the same time.
fn parallel(size: Size) -> Result<Case> {
    let requests = size.of(5_000, 20_000);
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    let server = Server::in_namespace(&far, ServerOptions::default())?;
    let faults = NetworkFaults { parallel: true, ..NetworkFaults::default() };
    let network = relay::join(&near, &far, &server.addr.ip().to_string(), faults, 3)?;
    Ok(Case::on(server, accounted(HEADS_PER_SEGMENT), move |server| {
        let result = flood(requests, || Client::connect_in(&near, server.addr))?;
        let note = format!("{}. Server: TCPOFOQueue {}", network.words(), far.netstat("TCPOFOQueue")?);
        Ok(WorkloadResult { note, ..result })
    }))
}

/// Requests sent one by one from alternating CPUs without waiting for answers, then the last ones one at a time.
fn flood(requests: u64, connect: impl Fn() -> Result<Client>) -> Result<WorkloadResult> {
    /// Requests from one CPU.
    const STAY: u64 = 3;
    const CONNECTIONS: u64 = 4;
    let hops = Hops::new()?;
    for index in 0..CONNECTIONS {
        let mut client = connect()?;
        let mut reader = client.duplicate()?;
        std::thread::scope(|scope| -> Result<()> {
            let answers = scope.spawn(move || reader.answers(requests));
            for turn in 0..requests {
                let _here = hops.hop(turn / STAY)?;
                client.send(&get("hopping"))?;
            }
            answers.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
        })?;
        last_requests(&mut client, index)?;
    }
    let sent = Sent { get: CONNECTIONS * (requests + LAST), set: 0 };
    Ok(WorkloadResult { exact_keys: last_keys(CONNECTIONS), ..sent.into() })
}

/// Twenty pipelining connections through a bad network, with senders that change CPUs and resets within a batch.
fn storm(_: Size) -> Result<Case> {
    const CONNECTIONS: u64 = 20;
    /// One of this many writes resets the connection, if it may be reset.
    const RESET_EVERY: u32 = 200;
    const REQUESTS: u64 = 1_000_000;
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    let server = Server::in_namespace(&far, ServerOptions::default())?;
    let faults = NetworkFaults { loss: 10, duplication: 10, reordering: 10, parallel: true };
    let network = relay::join(&near, &far, &server.addr.ip().to_string(), faults, 39)?;
    Ok(Case::on(server, accounted(HEADS_PER_SEGMENT), move |server| {
        let (before, resets) = (server.counts(), AtomicU64::new(0));
        together(CONNECTIONS, |index| {
            let mut random = fastrand::Rng::with_seed(index);
            let hops = Hops::new()?;
            let mut client = Client::connect_in(&near, server.addr)?;
            let mut sent = 0;
            let batch = get("storm").repeat(BATCH as usize);
            while sent < REQUESTS / CONNECTIONS {
                let _here = hops.hop(sent)?;
                // Half of the connections are never reset.
                if index % 2 == 1 && random.u32(..RESET_EVERY) == 0 {
                    let cut = random.usize(1..batch.len());
                    client.send(&batch[..cut])?;
                    client.reset()?;
                    resets.fetch_add(1, Ordering::SeqCst);
                    client = Client::connect_in(&near, server.addr)?;
                    continue;
                }
                client.send(&batch)?;
                client.answers(BATCH)?;
                sent += BATCH;
            }
            last_requests(&mut client, index)?;
            Ok(Sent::default())
        })?;
        // Only the server knows which requests it read before a reset.
        let truth = server.counts().since(&before);
        let resets = resets.into_inner();
        if resets == 0 {
            bail!("no connection was reset");
        }
        let note = format!("{resets} resets. {}", network.words());
        let sent = Sent { get: truth.get, set: truth.set };
        Ok(WorkloadResult { exact_keys: last_keys(CONNECTIONS), note, ..sent.into() })
    }))
}

fn last_requests(client: &mut Client, index: u64) -> Result<()> {
    for _ in 0..LAST {
        client.exchange(&get(&format!("last-{index}")))?;
    }
    Ok(())
}

fn last_keys(connections: u64) -> Vec<(String, u64)> {
    (0..connections).map(|index| (format!("last-{index}"), LAST)).collect()
}

/// The CPUs that a sender uses in turn.
struct Hops(usize);

impl Hops {
    fn new() -> Result<Self> {
        let cpus = std::thread::available_parallelism().context("the number of CPUs is unknown")?.get();
        if cpus < 2 {
            bail!("the sender needs two CPUs");
        }
        Ok(Self(cpus))
    }

    fn hop(&self, turn: u64) -> Result<PinnedThread> {
        PinnedThread::on(turn as usize % self.0)
    }
}
