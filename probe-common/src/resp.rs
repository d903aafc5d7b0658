//! RESP, the protocol of Redis and Valkey.
//!
//! A request is a command: a name and its arguments. The store itself reports its commands and where their keys are
//! ([`CommandSpec`]). User space writes them to the map `COMMANDS`, by [`hash_name`].

mod command;
mod counters;
mod first_bytes;
pub mod head;
pub mod pairing;
pub mod reply;
mod swar;
mod tag;

pub use command::{CommandClass, CommandSpec, Effect, FAMILIES, MAX_COMMANDS, MAX_NAME, hash_name};
pub use counters::CommandCounters;
pub use first_bytes::{FIRST_WORDS, name_at_start};
pub use pairing::{Pairing, UNTIMED, Untimed};
pub use tag::Tag;

use crate::{protocol::Protocol, segment, stream};
use head::Head;
use reply::ReplyHead;

/// RESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resp;

/// A connection's commands.
pub type Stream = stream::Stream<Resp>;

/// A place in one segment.
pub type SegmentReader = segment::SegmentReader<Resp>;

impl Protocol for Resp {
    type Head = Head;
    type ResponseHead = ReplyHead;
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

    /// Reads a whole segment of commands. `take` gets each complete command before it is counted.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read_paired(
        &mut self,
        head: &mut Head,
        payload: &[u8],
        steps: u32,
        spec: impl Fn(u64) -> CommandSpec,
        mut take: impl FnMut(&mut Head),
    ) {
        self.drive(head, payload, steps, |reader, head| {
            if head.has_name() {
                head.named(spec(head.name_hash()));
            } else if head.has_key() {
                head.key_taken();
            } else {
                take(head);
                head.counted(&mut reader.tally);
            }
        });
    }

    /// Reads a whole segment of replies as the kernel program does. `on_reply` gets each reply that the driver has to take, and
    /// says whether it wants all of the next ones. [`tally`](segment::SegmentReader::tally) has the counts.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read_replies(
        &mut self,
        head: &mut ReplyHead,
        payload: &[u8],
        steps: u32,
        mut on_reply: impl FnMut(reply::Outcome, u32) -> bool,
    ) {
        self.drive(head, payload, steps, |reader, head| {
            let wants_all = on_reply(head.outcome(), reader.tally.set);
            head.taken(wants_all);
        });
    }
}
