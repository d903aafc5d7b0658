//! The kernel's request parser over any bytes in any cut: it counts what `httparse` and the bodies' lengths say, the
//! same however the bytes are cut, and neither repeats nor overlaps change that.
//!
//! Input: one byte that says how many cuts follow, two bytes a cut, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_common::head::{MAX_HEADERS, Tally};
use probe_common::scan::Scan;
use probe_common::stream::{Admission, Stream, begins_request};

/// As many steps for a segment as the kernel program has.
const STEPS: u32 = 1 << 17;

/// Number of the stream's first byte: near the end, so that numbers wrap around.
const FIRST: u32 = u32::MAX - 40;

fuzz_target!(|input: &[u8]| {
    let Some((cuts, stream)) = split(input) else { return };
    let whole = count(stream, &[], false);
    assert_eq!(count(stream, &cuts, false), whole, "cut at {cuts:?}");
    assert_eq!(count(stream, &cuts, true), whole, "cut at {cuts:?}, with repeats");
    if let Some(expected) = judge(stream) {
        assert_eq!(whole, expected, "{}", stream.escape_ascii());
    }
});

fn split(input: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (count, rest) = input.split_first()?;
    let (cuts, stream) = rest.split_at_checked(usize::from(*count % 16) * 2)?;
    let mut cuts: Vec<usize> = cuts
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (stream.len() + 1))
        .collect();
    cuts.sort_unstable();
    Some((cuts, stream))
}

fn count(stream: &[u8], cuts: &[usize], repeats: bool) -> Tally {
    let mut connection = Stream::default();
    connection.open(Some(FIRST), FIRST);
    let mut scan = Scan::EMPTY;
    let mut total = Tally::default();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        segment(&mut connection, &mut scan, &mut total, stream, from, to);
        if repeats {
            segment(&mut connection, &mut scan, &mut total, stream, from / 2, to);
        }
        from = if repeats { from + (to - from) / 2 } else { to };
    }
    total
}

fn segment(
    connection: &mut Stream,
    scan: &mut Scan,
    total: &mut Tally,
    stream: &[u8],
    from: usize,
    to: usize,
) {
    let payload = &stream[from..to];
    if payload.is_empty() {
        return;
    }
    let (sequence, length) = (FIRST.wrapping_add(from as u32), payload.len() as u32);
    let begins = payload.first_chunk().is_some_and(|bytes| begins_request(u32::from_le_bytes(*bytes)));
    let begins = connection.wants_first_bytes() && begins;
    if let Admission::Parse(skip) = connection.admit(sequence, length, begins) {
        scan.begin(skip, length);
        scan.read(&mut connection.head, payload, STEPS);
        assert!(scan.is_done() && scan.at <= scan.end, "{} of {} bytes", scan.at, scan.end);
        total.get += scan.tally.get;
        total.set += scan.tally.set;
        total.control += scan.tally.control;
        connection.finish(scan, sequence.wrapping_add(length));
    }
}

/// What `httparse` and the bodies' lengths say; `None` where they judge what the parser leaves alone: whether a
/// target is valid UTF-8.
fn judge(mut bytes: &[u8]) -> Option<Tally> {
    let mut tally = Tally::default();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS as usize];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Some(tally),
            Err(_) => return bytes.is_ascii().then_some(tally),
        };
        let mut body = None;
        let mut chunked = false;
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("content-length") {
                let Some(this) = content_length(header.value) else { return Some(tally) };
                if body.is_some_and(|other| other != this) {
                    return Some(tally);
                }
                body = Some(this);
            }
        }
        let target = request.path.unwrap_or_default();
        let path = &target[..target.find(['?', '#']).unwrap_or(target.len())];
        match (request.method.unwrap_or_default(), path.strip_prefix("/data/")) {
            ("GET", Some(key)) if !key.is_empty() && !key.contains('/') => tally.get += 1,
            ("POST", None) if path == "/data" => tally.set += 1,
            _ => tally.control += 1,
        }
        if chunked {
            return Some(tally);
        }
        match usize::try_from(body.unwrap_or(0)).ok().and_then(|body| bytes.get(length..)?.get(body..)) {
            Some(rest) => bytes = rest,
            None => return Some(tally),
        }
    }
}

fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // The parser takes lengths below 10^19: whatever is larger cannot come true on one connection.
    plain.then(|| digits.parse().ok())?.filter(|length| *length < 10_000_000_000_000_000_000)
}
