//! Lost, duplicated and reordered packets: client and server are in separate namespaces, with a relay between them.

use anyhow::{Result, bail};

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult, together};
use crate::accuracy::client::{Client, get, post};
use crate::accuracy::namespace::Namespace;
use crate::accuracy::relay::{self, NetworkFaults};
use crate::accuracy::rows::pipelined;
use crate::accuracy::rule::Rule;
use crate::accuracy::server::{Server, ServerOptions};

const DEPTH: u64 = 16;
const CLIENTS: u64 = 16;

/// The length of `GET /data/a HTTP/1.1` and twice CR LF.
pub(super) const SHORTEST_HEAD: u64 = 24;
/// Largest number of heads in a segment with Ethernet's MTU.
pub(super) const HEADS_PER_SEGMENT: u64 = 1_500 / SHORTEST_HEAD + 1;

pub(super) fn rows() -> Vec<Row> {
    let all_faults = [
        ("lost", NetworkFaults { loss: 10, ..NetworkFaults::default() }),
        ("duplicated", NetworkFaults { duplication: 10, ..NetworkFaults::default() }),
        ("reordered", NetworkFaults { reordering: 10, ..NetworkFaults::default() }),
        ("each", NetworkFaults { loss: 10, duplication: 10, reordering: 10, parallel: false }),
    ];
    let both = all_faults.into_iter().zip(1..).flat_map(|((word, faults), seed)| {
        let single = Row::new(&format!("10 % {word}, one at a time"), move |size| {
            prepare(faults, seed, size, Load::OneAtATime)
        });
        let pipelined = Row::new(&format!("10 % {word}, pipelined {DEPTH}"), move |size| {
            prepare(faults, seed, size, Load::Pipelined)
        });
        [single, pipelined]
    });
    both.collect()
}

#[derive(Clone, Copy)]
enum Load {
    OneAtATime,
    Pipelined,
}

fn prepare(faults: NetworkFaults, seed: u64, size: Size, load: Load) -> Result<Case> {
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    let server = Server::in_namespace(&far, ServerOptions::default())?;
    let network = relay::join(&near, &far, &server.addr.ip().to_string(), faults, seed)?;
    let rule = match load {
        Load::OneAtATime => Rule::ONE_AT_A_TIME,
        Load::Pipelined => Rule::NeverOver {
            heads_per_segment: HEADS_PER_SEGMENT,
            why: "heads after a missing segment are not guessed, because the programs see packets before TCP orders them",
        },
    };
    let rounds = match load {
        Load::OneAtATime => size.of(24, 250),
        Load::Pipelined => size.of(12, 100),
    };
    Ok(Case::on(server, rule, move |server| {
        let sent = together(CLIENTS, |_| {
            let mut client = Client::connect_in(&near, server.addr)?;
            match load {
                Load::OneAtATime => one_at_a_time(&mut client, rounds),
                Load::Pipelined => pipeline(&mut client, rounds),
            }
        })?;
        let out_of_order = far.netstat("TCPOFOQueue")?;
        let doubled = far.netstat("TCPDSACKOldSent")? + far.netstat("TCPDSACKOfoSent")?;
        if faults.reordering > 0 && out_of_order == 0 {
            bail!("nothing arrived out of order (TCPOFOQueue is 0)");
        }
        if faults.duplication > 0 && doubled == 0 {
            bail!("nothing arrived twice (TCPDSACKOldSent is 0)");
        }
        let note = format!(
            "{}. Server: TCPOFOQueue {out_of_order}, TCPDSACKOldSent + OfoSent {doubled}",
            network.words()
        );
        Ok(WorkloadResult { sent, note, ..WorkloadResult::default() })
    }))
}

/// Reads, and writes with bodies of three segments, so that segments can be reordered.
fn one_at_a_time(client: &mut Client, rounds: u64) -> Result<Sent> {
    let body = [get("a"), vec![b'x'; 4_000]].concat();
    for _ in 0..rounds {
        client.exchange(&get("calm"))?;
        client.exchange(&post(&body))?;
    }
    Ok(Sent { get: rounds, set: rounds })
}

fn pipeline(client: &mut Client, rounds: u64) -> Result<Sent> {
    // Longer than a segment, so that heads are split.
    let (bytes, once) = pipelined::mixed(DEPTH);
    let long = [bytes.clone(), post(&[b'x'; 1_000]), bytes].concat();
    for _ in 0..rounds {
        client.send(&long)?;
        client.answers(2 * DEPTH + 1)?;
    }
    Ok(Sent { get: 2 * once.get * rounds, set: (2 * once.set + 1) * rounds })
}
