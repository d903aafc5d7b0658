//! Keys of 0 bytes to 64 KiB, and values of 100 MB.

use anyhow::{Result, ensure};

use super::{Context, server, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::{Connection, command};
use crate::stores::report::Line;
use crate::stores::rest::Rest;

/// Length of a long key.
const LONG: usize = 64 << 10;

/// Length of a large value.
const LARGE: usize = 100_000_000;

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let server = server(&[])?;
    let probe = context.stage.start_watch(&url(&server), &[]);
    Rest::read(context.stage, &probe)?;
    let mut client = Connection::open(server.address)?;
    let long = |at: usize| {
        let mut key = vec![b'k'; LONG];
        if let Some(byte) = key.get_mut(at) {
            *byte = b'x';
        }
        key
    };
    let binary: Vec<u8> = (0..=255).collect();
    // Long keys that differ only in the middle, at the end, in length, or not in a hash of their ends.
    let keys = [
        Vec::new(),
        binary,
        b"\x00\r\n*1\r\n".to_vec(),
        long(LONG / 2),
        long(LONG / 2 + 1),
        long(LONG - 1),
        long(LONG),
    ];
    let shorter = vec![b'k'; LONG - 1];
    let mut expected = Vec::new();
    for (count, key) in (3_u64..).zip(keys.iter().chain([&shorter])) {
        for _ in 0..count {
            client.exchange(&command(&[b"GET", &key[..]]), 1)?;
        }
        expected.push(count);
    }
    let value = vec![b'v'; if context.full { LARGE } else { LARGE / 100 }];
    client.exchange(&command(&[&b"SET"[..], b"large", &value]), 1)?;
    let length = client.skip_bulk(&command(&["GET", "large"]))?;
    ensure!(length == u64::try_from(value.len())?, "the value has {length} bytes");
    client.exchange(&command(&[&b"MSET"[..], b"large", &value, b"small", b"*1\r\n$4\r\nPING\r\n"]), 1)?;
    client.exchange(&command(&["GET", "small"]), 1)?;
    expected.extend([2, 3]);
    let rest = Rest::read(context.stage, &probe)?;
    let mut lines = rest.lines(row, &[(server.address.to_string(), client.repeated_bytes())].into());
    let table = probe.keys(0)?;
    let mut counted: Vec<u64> = table.keys.values().map(|(requests, _)| *requests).collect();
    counted.sort_unstable();
    expected.sort_unstable();
    let lengths: Vec<usize> = table.keys.keys().map(String::len).collect();
    let verdict = if counted == expected && table.keys.values().all(|(_, error)| *error == 0) {
        RowVerdict::Exact
    } else {
        RowVerdict::Wrong(format!("counts by key {counted:?}, sent {expected:?}"))
    };
    let note = format!("{} keys, told apart; their names have {lengths:?} characters", table.keys.len());
    lines.push(Line::plain(&format!("{row}: counts by key"), verdict, note));
    probe.stop();
    Ok(lines)
}
