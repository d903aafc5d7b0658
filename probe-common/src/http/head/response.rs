//! Heads of responses: the status line and the body length.
//!
//! Header lines are parsed as in requests.

use super::swar::{equal, first, pattern, word};
use super::{
    CHUNKED, CLOSED, COMPLETE, HAS_LENGTH, HAS_TRANSFER_ENCODING, HEADER, Head, IS_CHUNKED, IS_VERSION_1_0,
    MALFORMED, MAX_HEAD, REASON_PHRASE, STATUS,
};
use crate::{
    key::KeyText,
    protocol::Parser,
    requests::{Reason, Tally},
};

/// A value of [`Head::kind`]: a final response.
const KIND_FINAL: u8 = 3;
const KIND_INTERIM: u8 = 4;
/// A value of [`Head::kind`]: a response without a body (204 or 304).
const KIND_BODYLESS: u8 = 5;

const PREFIX: u64 = word(*b"HTTP/1.\0");

/// The parser of responses: a head with other first lines.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead(Head);

impl ResponseHead {
    /// Moves the parser to the first byte of a response.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.restart();
    }

    /// Moves from the first byte of a response to its body.
    #[inline(always)]
    pub(crate) fn skip_to_body(&mut self, length: u32) {
        self.0.body = u64::from(length);
    }

    /// Returns the length of the body after a head that has just ended, if another response can follow it.
    #[inline(always)]
    pub(crate) fn body_before_response(&self) -> Option<u32> {
        let can_follow = self.0.state == STATUS && self.0.matched == 0 && self.0.body <= u64::from(u32::MAX);
        can_follow.then_some(self.0.body as u32)
    }
}

impl Parser for ResponseHead {
    #[inline(always)]
    fn restart(&mut self) {
        self.0.restart();
        self.0.response_begins();
    }

    #[inline(always)]
    fn stopped(&self) -> Option<Reason> {
        self.0.stopped()
    }

    #[inline(always)]
    fn is_last(&self) -> bool {
        self.0.is_last()
    }

    #[inline(always)]
    fn is_at_first_byte(&self) -> bool {
        self.0.state == STATUS && self.0.matched == 0 && self.0.body == 0
    }

    #[inline(always)]
    fn inside_request(&self) -> bool {
        self.0.inside_request()
    }

    #[inline(always)]
    fn key(&self) -> &KeyText {
        &self.0.key
    }

    #[inline(always)]
    fn needs_driver(&self) -> bool {
        false
    }

    #[inline(always)]
    fn body(&self) -> u64 {
        self.0.body
    }

    #[inline(always)]
    fn may_miss(&self) -> u64 {
        self.0.body
    }

    #[inline(always)]
    fn miss(&mut self, count: u32) {
        self.0.miss(count);
    }

    #[inline(always)]
    fn skip_body(&mut self, available: u32, tally: &mut Tally) -> u32 {
        self.0.skip_body(available, tally)
    }

    /// Final responses are counted as `set`, interim responses as `control`.
    #[inline(always)]
    fn step(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        self.0.step_response(word, available, tally)
    }
}

impl Head {
    #[inline(always)]
    const fn response_begins(&mut self) {
        self.state = STATUS;
        self.kind = KIND_FINAL;
        self.flags = 0;
        self.headers = 0;
        self.matched = 0;
        self.size = 0;
    }

    #[inline(always)]
    fn step_response(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let used = match self.state {
            STATUS if self.matched == 0 && available == 8 && word << 8 == PREFIX << 8 => {
                self.matched = 7;
                7
            }
            STATUS => {
                self.status(word as u8);
                1
            }
            REASON_PHRASE => {
                let line = first(equal(word, b'\n'));
                if line < available {
                    self.state = HEADER;
                    line + 1
                } else {
                    available
                }
            }
            _ => self.advance(word, available),
        };
        self.size = self.size.wrapping_add(used);
        if self.size > MAX_HEAD {
            self.state = MALFORMED;
        } else if self.state == COMPLETE {
            self.complete_response(tally);
        }
        used
    }

    /// Reads a byte of `HTTP/1.x nnn`.
    #[inline(always)]
    fn status(&mut self, byte: u8) {
        let at = self.matched;
        self.matched = at.wrapping_add(1);
        let is_right = match at {
            0..=6 => byte == pattern(PREFIX, 0, at),
            7 => {
                if byte == b'0' {
                    self.flags |= IS_VERSION_1_0;
                }
                byte == b'0' || byte == b'1'
            }
            8 => byte == b' ',
            9 => {
                // 2xx and 3xx responses may have no body: the last digit decides.
                self.number = (byte & 15) as u64;
                if byte == b'1' {
                    self.kind = KIND_INTERIM;
                }
                byte.is_ascii_digit()
            }
            10 => {
                self.number = self.number * 10 + (byte & 15) as u64;
                byte.is_ascii_digit()
            }
            _ => {
                if byte == b'4' && (self.number == 20 || self.number == 30) {
                    self.kind = KIND_BODYLESS;
                }
                self.state = REASON_PHRASE;
                byte.is_ascii_digit()
            }
        };
        if !is_right {
            self.state = MALFORMED;
        }
    }

    /// Counts the complete head and sets the state for the bytes after it.
    #[inline(always)]
    fn complete_response(&mut self, tally: &mut Tally) {
        if self.kind == KIND_INTERIM {
            tally.control += 1;
            self.response_begins();
            return;
        }
        tally.set += 1;
        let has_length = self.flags & HAS_LENGTH != 0;
        let has_encoding = self.flags & HAS_TRANSFER_ENCODING != 0;
        let is_bodyless = self.kind == KIND_BODYLESS;
        let closes = self.closes() || !has_length && !has_encoding && !is_bodyless;
        let is_chunked = has_encoding && self.flags & IS_CHUNKED != 0;
        self.response_begins();
        if closes {
            self.state = CLOSED;
        } else if is_chunked {
            self.state = CHUNKED;
        }
        self.body = if has_length && !is_bodyless && !has_encoding { self.length } else { 0 };
    }
}
