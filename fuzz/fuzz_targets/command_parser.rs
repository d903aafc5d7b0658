//! The kernel's parser of RESP commands over any bytes in any cut: it stages what the tests' reference stages.
//!
//! Input: one byte with the number of cuts, two bytes for each cut, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use probe_common::key::{KEY_BYTES, kept};
use probe_common::protocol::Parser as _;
use probe_common::resp::head::Head;
use probe_common::resp::{CommandSpec, SegmentReader, hash_name};

#[path = "../../probe-common/tests/resp/reference.rs"]
mod reference;

use reference::{COMMANDS, Staged};

/// More steps than any input needs.
const STEPS: u32 = 1 << 20;

/// A complete command's number, a key, and discarded commands.
type Shown = (Option<u16>, Option<(Vec<u8>, u32)>, u32);

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(*count % 16) * 2) else { return };
    let mut cuts: Vec<usize> = cuts
        .chunks_exact(2)
        .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]])) % (stream.len() + 1))
        .collect();
    cuts.sort_unstable();
    let expected: Vec<Shown> = reference::read(stream).into_iter().map(shown).collect();
    assert_eq!(parse(stream, &[]), expected, "{}", stream.escape_ascii());
    assert_eq!(parse(stream, &cuts), expected, "cut at {cuts:?}: {}", stream.escape_ascii());
});

fn shown(one: Staged) -> Shown {
    match one {
        Staged::Key(key) => (None, Some(shortened(&key)), 0),
        Staged::Command(number, key, discards) => (Some(number), key.as_deref().map(shortened), discards),
    }
}

/// A key as the parser keeps it: at most its last bytes, and its length.
fn shortened(key: &[u8]) -> (Vec<u8>, u32) {
    let skip = key.len().div_ceil(8).saturating_sub(KEY_BYTES / 8) * 8;
    (key[skip..].to_vec(), key.len() as u32)
}

fn spec(hash: u64) -> CommandSpec {
    thread_local! {
        static SPECS: Vec<(u64, CommandSpec)> =
            COMMANDS.iter().map(|(name, spec)| (hash_name(name.as_bytes()), *spec)).collect();
    }
    SPECS.with(|specs| {
        specs.iter().find(|(known, _)| *known == hash).map(|(_, spec)| *spec).unwrap_or_default()
    })
}

fn parse(stream: &[u8], cuts: &[usize]) -> Vec<Shown> {
    let (mut reader, mut head) = (SegmentReader::EMPTY, Head::default());
    head.restart();
    let (mut staged, mut from, mut counted) = (Vec::new(), 0, 0);
    for to in cuts.iter().copied().chain([stream.len()]) {
        reader.begin(0, (to - from) as u32);
        reader.read(&mut head, &stream[from..to], STEPS, spec, |key, tag, discards| {
            let text = (kept(&key.words, key.length).collect::<Vec<u8>>(), key.length);
            staged.push((tag.number(), tag.has_key().then_some(text), discards));
        });
        assert!(reader.is_done() && reader.at <= reader.end, "{} of {} bytes", reader.at, reader.end);
        counted += reader.tally.get + reader.tally.set + reader.tally.control;
        from = to;
    }
    assert_eq!(counted as usize, staged.iter().filter(|(number, ..)| number.is_some()).count());
    staged
}
