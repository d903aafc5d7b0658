//! 20 MB in both directions, with and without segment batches (GSO). Compares bytes and requests.

use anyhow::Result;

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, get, post_head};
use crate::accuracy::namespace::Namespace;
use crate::accuracy::rule::Rule;
use crate::accuracy::server::{Server, ServerOptions};

const LENGTH: usize = 20_000_000;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("20 MB, GSO on", |size| prepare(size, true)),
        Row::new("20 MB, GSO off", |size| prepare(size, false)),
    ]
}

fn prepare(size: Size, bundles: bool) -> Result<Case> {
    let namespace = Namespace::new()?;
    // With Ethernet's MTU there are segments to batch.
    namespace.ip(&["link", "set", "lo", "mtu", "1500"])?;
    if !bundles {
        namespace.ip(&["link", "set", "lo", "gso_max_segs", "1"])?;
    }
    let options = ServerOptions { answer_bytes: LENGTH, ..ServerOptions::default() };
    let server = Server::in_namespace(&namespace, options)?;
    let rounds = size.of(2, 10);
    let case = Case::on(server, Rule::ONE_AT_A_TIME, move |server| {
        let mut client = Client::connect_in(&namespace, server.addr)?;
        let head = post_head(LENGTH);
        let part = [get("inside"), vec![b'x'; 50_000]].concat();
        for _ in 0..rounds {
            client.exchange(&get("large"))?;
            client.send(&head)?;
            let mut left = LENGTH;
            while left > 0 {
                let length = left.min(part.len());
                client.send(&part[..length])?;
                left -= length;
            }
            client.answers(1)?;
        }
        let repeated_bytes = client.info().repeated_bytes;
        drop(client);
        // The server adds up its retransmitted bytes after the connection has ended.
        server.until(|counts| counts.ended > 0)?;
        let sent = Sent { get: rounds, set: rounds };
        Ok(WorkloadResult { repeated_bytes, dropped_packets: namespace.dropped("lo")?, ..sent.into() })
    });
    Ok(Case { bytes: true, ..case })
}
