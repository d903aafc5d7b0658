//! The answers of one connection: the number of final answers, and whether one of them was the last.
//!
//! One request at a time needs only the first bytes of its answer. A pipeline, and an answer that may close the
//! connection, are parsed: heads line by line, bodies skipped by `Content-Length`.

use crate::stream::Arrived;

/// State of a connection's answers. Only egress writes it, and egress never runs twice at a time for one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Responses {
    /// The sequence number behind the last payload byte sent.
    sent: u32,
    /// Number of final answers that have begun, and of requests that get none.
    pub answers: u32,
    /// Data requests counted as aborted that may still be answered.
    pub aborted: u32,
    /// 1 once payload has been sent.
    started: u8,
    /// 1 while the parser is inside an answer.
    pub parsing: u8,
    padding: u16,
    /// The requests when the connection was last idle.
    idle: Arrived,
}

impl Responses {
    /// Returns the number of arrived requests that have an answer.
    #[inline(always)]
    pub fn settle(&mut self, answers: u32, arrived: Arrived) {
        self.answers = self.answers.wrapping_add(answers);
        if self.answers == arrived.requests() {
            self.idle = arrived;
        }
    }

    /// Data requests without an answer, of those that have arrived: at least, and at most. They differ where other
    /// requests are among them.
    #[must_use]
    #[inline(always)]
    pub fn outstanding(&self, arrived: Arrived) -> (u32, u32) {
        let all = arrived.requests().wrapping_sub(self.answers);
        let controls = arrived.controls().wrapping_sub(self.idle.controls());
        let data = arrived.requests().wrapping_sub(self.idle.requests()).wrapping_sub(controls);
        if all.cast_signed() <= 0 {
            (0, 0)
        } else if controls == 0 {
            (all, all)
        } else if data < all {
            (0, data)
        } else {
            (0, all)
        }
    }

    /// Adds a segment. Returns the offset of its first new byte, or `None` if it has none.
    #[inline(always)]
    pub fn send(&mut self, sequence: u32, length: u32) -> Option<u32> {
        let end = sequence.wrapping_add(length);
        if self.started == 0 {
            self.started = 1;
            self.sent = sequence;
        }
        let old = self.sent.wrapping_sub(sequence);
        if end.wrapping_sub(self.sent).cast_signed() <= 0 {
            return None;
        }
        let skip = if old.cast_signed() > 0 { old } else { 0 };
        if old.cast_signed() < 0 {
            // Bytes between were not seen, so the beginning of the next answer is unknown.
            self.parsing = 0;
        }
        self.sent = end;
        Some(skip)
    }
}
