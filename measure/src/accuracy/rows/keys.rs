//! Keys of every allowed length.

use anyhow::Result;

use crate::accuracy::case::{Case, Row, Sent, Size};
use crate::accuracy::client::{Client, get};

pub(super) fn rows() -> Vec<Row> {
    let plain =
        |length: usize| Row::new(&format!("keys of {length} bytes"), move |size| prepare(size, length, "k"));
    let encoded = Row::new("keys of 512 bytes, 1,536 encoded", |size| prepare(size, 512, "%C3"));
    let full = Row::new("table of keys full", full);
    vec![plain(64), plain(128), plain(512), encoded, full]
}

/// Many more keys than the kernel's table can hold, with one hot key.
fn full(size: Size) -> Result<Case> {
    const IN_A_SEGMENT: u64 = 10;
    let segments = size.of(4_000, 20_000);
    Case::plain(move |server| {
        let mut connection = Client::connect(server.addr)?;
        for segment in 0..segments {
            let cold =
                (1..IN_A_SEGMENT).flat_map(|place| get(&format!("key-{}", segment * IN_A_SEGMENT + place)));
            let requests: Vec<u8> = cold.chain(get("hot")).collect();
            connection.send(&requests)?;
            connection.answers(IN_A_SEGMENT)?;
        }
        Ok(Sent { get: segments * IN_A_SEGMENT, set: 0 }.into())
    })
}

/// Distinct keys of `length` bytes, padded with `filler`, which decodes to one byte.
fn prepare(size: Size, length: usize, filler: &str) -> Result<Case> {
    let number = size.of(500, 10_000);
    let filler = filler.repeat(length - 8);
    Case::plain(move |server| {
        let mut connection = Client::connect(server.addr)?;
        for index in 0..number {
            // The number comes last, because the end of a long key is shown.
            connection.exchange(&get(&format!("{filler}{index:08}")))?;
        }
        Ok(Sent { get: number, set: 0 }.into())
    })
}
