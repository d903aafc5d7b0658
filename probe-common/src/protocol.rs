//! Defines the interface of a protocol.
//!
//! The frame is the same for all protocols: which bytes are new ([`stream`](crate::stream)), the window over a segment
//! ([`segment`](crate::segment)), and requests that wait for TCP's acceptance ([`pending`](crate::pending)). A protocol
//! provides the parser. One program is compiled for each protocol.

use core::fmt::Debug;

use crate::{
    key::KeyText,
    requests::{Reason, Tally},
};

/// A protocol.
pub trait Protocol: Copy + Debug + Default + Eq + 'static {
    /// The parser of requests.
    type Head: Parser;

    /// The parser of responses.
    type ResponseHead: Copy + Debug + Default + Eq;

    /// State that its fast path keeps between segments.
    type Cache: Copy + Debug;

    /// A cache that keeps nothing.
    const EMPTY_CACHE: Self::Cache;
}

/// Size of every protocol's parser state in bytes. The socket storage has one layout for all protocols, because
/// programs without a parser access it too.
pub const HEAD_BYTES: usize = 128;

/// A parser's position in a connection's bytes. All zeros is the beginning of a connection.
pub trait Parser: Copy + Debug + Default + Eq {
    /// Resets the parser to the first byte of a request. On a parser of zeros it changes nothing.
    fn restart(&mut self);

    /// Returns why parsing has stopped on this connection, for good or until the connection is idle. `None` if it has
    /// not.
    fn stopped(&self) -> Option<Reason>;

    /// Whether the server reads no further request from this connection.
    fn is_last(&self) -> bool;

    /// Whether the next byte is the first of a request.
    fn is_at_first_byte(&self) -> bool;

    /// Whether at least one byte of a request has been read, and more must follow.
    fn inside_request(&self) -> bool;

    /// Returns the last key read.
    fn key(&self) -> &KeyText;

    /// Whether the driver has something to do before the next step.
    fn needs_driver(&self) -> bool;

    /// Remaining bytes that the parser skips without looking at them.
    fn body(&self) -> u64;

    /// Returns how many of them may be missing without a change of the parser's state, except of [`Self::body`].
    fn may_miss(&self) -> u64;

    /// Skips `count` missing bytes, at most [`Self::may_miss`].
    fn miss(&mut self, count: u32);

    /// Skips at most `available` bytes of the body and returns the number skipped.
    fn skip_body(&mut self, available: u32, tally: &mut Tally) -> u32;

    /// Reads bytes outside of bodies. The next byte is the lowest of `word`, and `available` (1 to 8) of its bytes are
    /// valid. Returns the number of bytes used: at least 1, at most `available`.
    ///
    /// Must not be called when [`stopped`](Self::stopped) returns a reason, when the driver
    /// [is needed](Self::needs_driver), nor while [`body`](Self::body) is not 0.
    fn step(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32;
}
