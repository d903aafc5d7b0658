//! RESP, the protocol of Redis and Valkey.
//!
//! A request is a command: a name and its arguments. The store itself reports its commands and where their keys are
//! ([`CommandSpec`]). User space writes them to the map `COMMANDS`, by [`hash_name`].

mod command;
mod counters;
mod first_bytes;
pub mod head;
mod swar;
mod tag;

pub use command::{CommandClass, CommandSpec, Effect, MAX_COMMANDS, MAX_NAME, hash_name};
pub use counters::CommandCounters;
pub use first_bytes::{FIRST_WORDS, name_at_start};
pub use tag::Tag;

use crate::{
    protocol::{HEAD_BYTES, Protocol},
    segment, stream,
};
use head::Head;

/// RESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resp;

/// A connection's commands.
pub type Stream = stream::Stream<Resp>;

/// A place in one segment.
pub type SegmentReader = segment::SegmentReader<Resp>;

/// Replies are not parsed. This has the size of the other protocols' state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoReplies([u64; HEAD_BYTES / 8]);

impl Protocol for Resp {
    type Head = Head;
    type ResponseHead = NoReplies;
    type Cache = ();
    const EMPTY_CACHE: () = ();
}

impl SegmentReader {
    /// Reads a whole segment as the kernel program does, in at most `steps` steps. `spec` returns the store's
    /// description for a name's hash. `on_staged` gets each key, and each command with its last key, with their
    /// [`Tag`].
    #[cfg(not(target_arch = "bpf"))]
    pub fn read(
        &mut self,
        head: &mut Head,
        payload: &[u8],
        steps: u32,
        spec: impl Fn(u64) -> CommandSpec,
        mut on_staged: impl FnMut(&crate::key::KeyText, Tag, u32),
    ) {
        self.drive(head, payload, steps, |reader, head| {
            if head.has_name() {
                head.named(spec(head.name_hash()));
                return;
            }
            let discards = head.discards();
            let tag = head.tag(discards);
            on_staged(crate::protocol::Parser::key(head), tag, discards);
            if head.has_key() {
                head.key_taken();
            } else {
                head.counted(&mut reader.tally);
            }
        });
    }
}
