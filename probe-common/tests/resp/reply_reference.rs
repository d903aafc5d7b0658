//! A plain parser of replies, for whole connections.

use probe_common::resp::reply::Outcome;

/// A complete top-level value: a push, or a reply with what it says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Push,
    Reply(Outcome),
}

/// What a connection's bytes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) values: Vec<Value>,
    /// Bytes that are no RESP came after them.
    pub(crate) is_malformed: bool,
}

/// Why a value could not be read.
enum End {
    Short,
    Malformed,
}

/// Reads a connection's bytes.
pub(crate) fn read(mut bytes: &[u8]) -> Found {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        match whole(bytes) {
            Ok((value, rest)) => {
                values.push(value);
                bytes = rest;
            }
            Err(End::Short) => break,
            Err(End::Malformed) => return Found { values, is_malformed: true },
        }
    }
    Found { values, is_malformed: false }
}

/// Reads a top-level value, with the attributes before it.
fn whole(mut bytes: &[u8]) -> Result<(Value, &[u8]), End> {
    while bytes.first() == Some(&b'|') {
        bytes = skip_attribute(bytes)?;
    }
    let rest = skip(bytes)?;
    let text = &bytes[..bytes.len() - rest.len()];
    let value = match text[0] {
        b'>' => Value::Push,
        b'+' if text.starts_with(b"+QUEUED\r") => Value::Reply(Outcome::Queued),
        b'+' => Value::Reply(Outcome::Simple),
        b'-' if text.starts_with(b"-EXECABO") => Value::Reply(Outcome::Aborted),
        b'-' | b'!' => Value::Reply(Outcome::Failed),
        b'_' => Value::Reply(Outcome::Null),
        b'$' | b'=' | b'*' | b'~' | b'%' if text[1] == b'-' => Value::Reply(Outcome::Null),
        _ => Value::Reply(Outcome::Value),
    };
    Ok((value, rest))
}

fn skip_attribute(bytes: &[u8]) -> Result<&[u8], End> {
    let (count, mut rest) = number(&bytes[1..])?;
    for _ in 0..2 * count.ok_or(End::Malformed)? {
        rest = skip(rest)?;
    }
    Ok(rest)
}

/// Returns the bytes behind a value.
fn skip(mut bytes: &[u8]) -> Result<&[u8], End> {
    while bytes.first() == Some(&b'|') {
        bytes = skip_attribute(bytes)?;
    }
    let (kind, rest) = bytes.split_first().ok_or(End::Short)?;
    match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or(End::Short)?;
            Ok(&rest[end + 1..])
        }
        b'$' | b'=' | b'!' => {
            let (length, rest) = number(rest)?;
            let Some(length) = length else { return Ok(rest) };
            let length = usize::try_from(length).map_err(|_| End::Short)?;
            rest.get(length + 2..).ok_or(End::Short)
        }
        b'*' | b'~' | b'>' | b'%' => {
            let (count, mut rest) = number(rest)?;
            let each = if *kind == b'%' { 2 } else { 1 };
            for _ in 0..each * count.unwrap_or(0) {
                rest = skip(rest)?;
            }
            Ok(rest)
        }
        _ => Err(End::Malformed),
    }
}

/// Reads a number and the line end behind it; `None` if it is negative.
fn number(bytes: &[u8]) -> Result<(Option<u64>, &[u8]), End> {
    let is_negative = bytes.first() == Some(&b'-');
    let mut rest = if is_negative { &bytes[1..] } else { bytes };
    let (mut number, mut digits) = (0, 0);
    loop {
        let (byte, behind) = rest.split_first().ok_or(End::Short)?;
        rest = behind;
        match byte {
            b'0'..=b'9' if digits < 15 => {
                number = number * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'\r' if digits > 0 => break,
            _ => return Err(End::Malformed),
        }
    }
    match rest.split_first().ok_or(End::Short)? {
        (b'\n', rest) => Ok(((!is_negative).then_some(number), rest)),
        _ => Err(End::Malformed),
    }
}
