//! Several requests in one segment.

use crate::accuracy::case::{Case, Row, Sent, Size};
use crate::accuracy::client::{Client, get, post};
use crate::accuracy::pinned_thread::PinnedThread;
use anyhow::Result;

pub(super) fn rows() -> Vec<Row> {
    let depths = [1_u64, 2, 4, 8, 16, 32, 64, 1_000];
    let row =
        |depth: u64| Row::new(&format!("pipelined, {depth} in a segment"), move |size| prepare(depth, size));
    depths.into_iter().map(row).collect()
}

fn prepare(depth: u64, size: Size) -> Result<Case> {
    let rounds = size.of(2_000, 40_000) / depth.min(64);
    Case::plain(move |server| {
        // A thousand requests are two segments until TCP has measured the path.
        let _in_order = PinnedThread::here()?;
        let mut connection = Client::connect(server.addr)?;
        let (segment, once) = mixed(depth);
        for _ in 0..rounds {
            connection.send(&segment)?;
            connection.answers(depth)?;
        }
        Ok(Sent { get: once.get * rounds, set: once.set * rounds }.into())
    })
}

/// Reads, writes whose bodies contain heads, and control calls: `depth` of them in one write.
pub(super) fn mixed(depth: u64) -> (Vec<u8>, Sent) {
    let (mut bytes, mut sent) = (Vec::new(), Sent::default());
    for index in 0..depth {
        match index % 8 {
            3 => {
                bytes.extend(post(&get("a")));
                sent.set += 1;
            }
            5 => bytes.extend_from_slice(b"GET /health HTTP/1.1\r\nHost: shard\r\n\r\n"),
            _ => {
                bytes.extend(get(&format!("user-{index}")));
                sent.get += 1;
            }
        }
    }
    (bytes, sent)
}
