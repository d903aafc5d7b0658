//! Values of `Transfer-Encoding` and `Connection`: finds three tokens in a list.
//!
//! It follows hyper: commas separate tokens, and blanks around tokens are ignored. A line with a non-ASCII byte holds
//! no token.

use super::swar::{lower, word};
use super::{
    HAS_TRANSFER_ENCODING, HEADER, Head, IS_CHUNKED, LINE_LF, LIST, MALFORMED, SAYS_CLOSE, SAYS_KEEP_ALIVE,
};

/// Bit of [`Head::found`]: the list's last token is `chunked`.
const CHUNKED_LAST: u8 = 1;
const CLOSE: u8 = 2;
const KEEP_ALIVE: u8 = 4;
/// Bit: the list has a non-ASCII byte.
const OPAQUE: u8 = 8;
/// Bit: a blank follows the token being read.
const BLANK: u8 = 16;
/// Bit: the list is the value of `Transfer-Encoding`.
const ENCODING: u8 = 32;

/// A token length that marks a token as none of the three.
const OTHER: u8 = u8::MAX;

// The order in which a token's bytes are collected: its last byte is the lowest.
const TOKEN_CHUNKED: u64 = word(*b"deknuhc\0");
const TOKEN_CLOSE: u64 = word(*b"esolc\0\0\0");
const TOKEN_KEEP: u16 = u16::from_be_bytes(*b"ke");
const TOKEN_ALIVE: u64 = word(*b"evila-pe");

impl Head {
    /// Starts a list after the colon.
    #[inline(always)]
    pub(super) fn list_begins(&mut self, is_encoding: bool) {
        self.state = LIST;
        self.found = if is_encoding { ENCODING } else { 0 };
        self.token_begins();
    }

    #[inline(always)]
    fn token_begins(&mut self) {
        self.matched = 0;
        self.number = 0;
        self.token = 0;
        self.found &= !BLANK;
    }

    #[inline(always)]
    pub(super) fn list(&mut self, byte: u8) {
        match byte {
            b'\r' => {
                self.list_ends();
                self.state = LINE_LF;
            }
            b'\n' => {
                self.list_ends();
                self.state = HEADER;
            }
            b',' => {
                self.token_ends();
                self.token_begins();
            }
            b' ' | b'\t' => {
                if self.matched > 0 {
                    self.found |= BLANK;
                }
            }
            0x00..=0x1f | 0x7f => self.state = MALFORMED,
            0x80.. => self.found |= OPAQUE,
            _ if self.found & BLANK != 0 || self.matched >= 10 => self.matched = OTHER,
            _ => {
                self.matched += 1;
                self.token = (self.token << 8) | (self.number >> 56) as u16;
                self.number = (self.number << 8) | lower(byte) as u64;
            }
        }
    }

    #[inline(always)]
    fn token_ends(&mut self) {
        let (length, end, begin) = (self.matched, self.number, self.token);
        self.found &= !CHUNKED_LAST;
        if length == 7 && end == TOKEN_CHUNKED {
            self.found |= CHUNKED_LAST;
        } else if length == 5 && end == TOKEN_CLOSE {
            self.found |= CLOSE;
        } else if length == 10 && end == TOKEN_ALIVE && begin == TOKEN_KEEP {
            self.found |= KEEP_ALIVE;
        }
    }

    #[inline(always)]
    fn list_ends(&mut self) {
        self.token_ends();
        let found = if self.found & OPAQUE == 0 { self.found } else { self.found & ENCODING };
        if found & ENCODING != 0 {
            self.flags |= HAS_TRANSFER_ENCODING;
            self.flags &= !IS_CHUNKED;
            if found & CHUNKED_LAST != 0 {
                self.flags |= IS_CHUNKED;
            }
        } else if found & CLOSE != 0 {
            self.flags |= SAYS_CLOSE;
        } else if found & KEEP_ALIVE != 0 {
            self.flags |= SAYS_KEEP_ALIVE;
        }
    }
}
