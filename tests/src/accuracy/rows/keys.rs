//! Keys of every length the contract allows.

use anyhow::Result;

use crate::accuracy::case::{Case, Row, Sent, Size};
use crate::accuracy::client::{Client, get};

/// The rows.
pub(super) fn rows() -> Vec<Row> {
    let plain =
        |length: usize| Row::new(&format!("keys of {length} bytes"), move |size| prepare(size, length, "k"));
    let encoded = Row::new("keys of 512 bytes, 1,536 encoded", |size| prepare(size, 512, "%C3"));
    vec![plain(64), plain(128), plain(512), encoded]
}

/// Distinct keys of `length` bytes, filled up with `filler`, which stands for one byte.
fn prepare(size: Size, length: usize, filler: &str) -> Result<Case> {
    let number = size.of(500, 10_000);
    let filler = filler.repeat(length - 8);
    Case::plain(move |server| {
        let mut connection = Client::connect(server.addr)?;
        for index in 0..number {
            connection.ask(&get(&format!("{index:08}{filler}")))?;
        }
        Ok(Sent { get: number, set: 0 }.into())
    })
}
