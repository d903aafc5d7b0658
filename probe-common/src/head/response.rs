//! Heads of responses: the status line and the body length.
//!
//! Header lines are parsed as in requests.

use super::swar::{equal, first, pattern, word};
use super::{
    CHUNKED, CLOSED, COMPLETE, HAS_LENGTH, HAS_TRANSFER_ENCODING, HEADER, Head, IS_CHUNKED, IS_VERSION_1_0,
    MALFORMED, MAX_HEAD, REASON_PHRASE, STATUS, Tally,
};

/// A value of [`Head::kind`]: a final response.
const KIND_FINAL: u8 = 3;
const KIND_INTERIM: u8 = 4;
/// A value of [`Head::kind`]: a response without a body (204 or 304).
const KIND_BODYLESS: u8 = 5;

const PREFIX: u64 = word(*b"HTTP/1.\0");

impl Head {
    /// Moves the parser to the first byte of a response.
    #[inline(always)]
    pub const fn begin_response(&mut self) {
        self.restart();
        self.response_begins();
    }

    #[inline(always)]
    const fn response_begins(&mut self) {
        self.state = STATUS;
        self.kind = KIND_FINAL;
        self.flags = 0;
        self.headers = 0;
        self.matched = 0;
        self.size = 0;
    }

    /// Whether the next byte is the first of a response.
    #[must_use]
    #[inline(always)]
    pub const fn is_between_responses(&self) -> bool {
        self.state == STATUS && self.matched == 0 && self.body == 0
    }

    /// Like [`Head::step`], for responses. Final responses are counted as `set`, interim responses as `control`.
    #[inline(always)]
    pub fn step_response(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
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
