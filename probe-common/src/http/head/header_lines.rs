//! Header lines: reads only body length and connection reuse.

use super::swar::{below, byte_at, equal, first, is_token, lower, not_letter, pattern, word};
use super::{
    COMPLETE, END_LF, HAS_LENGTH, HAS_TRANSFER_ENCODING, HEADER, Head, LENGTH_AFTER, LENGTH_BEFORE,
    LENGTH_DIGITS, LENGTH_LF, LINE_LF, MALFORMED, MAX_HEADERS, NAME, NAME_CONNECTION, NAME_ENCODING,
    NAME_LENGTH, VALUE,
};

/// The longest body that hyper accepts.
const MAX_LENGTH: u64 = u64::MAX - 2;

const LENGTH_LOW: u64 = word(*b"content-");
const LENGTH_HIGH: u64 = word(*b"length\0\0");
const CONNECTION_LOW: u64 = word(*b"connecti");
const CONNECTION_HIGH: u64 = word(*b"on\0\0\0\0\0\0");
const ENCODING_LOW: u64 = word(*b"transfer");
const ENCODING_HIGH: u64 = word(*b"-encodin");

impl Head {
    #[inline(always)]
    pub(super) fn header(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        match byte {
            b'\r' if available > 1 && byte_at(word, 1) == b'\n' => {
                self.state = COMPLETE;
                return 2;
            }
            b'\r' => self.state = END_LF,
            b'\n' => self.state = COMPLETE,
            _ if !is_token(byte) || self.headers >= MAX_HEADERS => self.state = MALFORMED,
            _ => {
                self.headers += 1;
                self.matched = 1;
                match byte | 0x20 {
                    b'c' => self.state = NAME_LENGTH,
                    b't' => self.state = NAME_ENCODING,
                    _ => {
                        self.state = NAME;
                        return self.name(word, byte, available);
                    }
                }
            }
        }
        1
    }

    #[inline(always)]
    pub(super) fn name(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let letters = first(not_letter(word));
        if letters >= available {
            return available;
        }
        if byte_at(word, letters) == b':' {
            self.state = VALUE;
            return letters + 1;
        }
        if letters > 0 {
            return letters;
        }
        self.name_byte(byte);
        1
    }

    #[inline(always)]
    pub(super) fn name_byte(&mut self, byte: u8) {
        self.state = match byte {
            b':' => VALUE,
            _ if is_token(byte) => NAME,
            _ => MALFORMED,
        };
    }

    #[inline(always)]
    pub(super) fn name_length(&mut self, byte: u8) {
        const LENGTH: u8 = 14;
        const COMMON: u8 = 3;
        if self.matched < LENGTH && lower(byte) == pattern(LENGTH_LOW, LENGTH_HIGH, self.matched) {
            self.matched += 1;
        } else if self.matched == COMMON && byte | 0x20 == b'n' {
            self.matched += 1;
            self.state = NAME_CONNECTION;
        } else if self.matched == LENGTH && byte == b':' {
            self.length_begins();
        } else {
            self.name_byte(byte);
        }
    }

    #[inline(always)]
    pub(super) fn name_connection(&mut self, byte: u8) {
        const LENGTH: u8 = 10;
        if self.matched < LENGTH && lower(byte) == pattern(CONNECTION_LOW, CONNECTION_HIGH, self.matched) {
            self.matched += 1;
        } else if self.matched == LENGTH && byte == b':' {
            self.list_begins(false);
        } else {
            self.name_byte(byte);
        }
    }

    #[inline(always)]
    pub(super) fn name_encoding(&mut self, byte: u8) {
        const LENGTH: u8 = 17;
        let expected =
            if self.matched == 16 { b'g' } else { pattern(ENCODING_LOW, ENCODING_HIGH, self.matched & 15) };
        if self.matched < LENGTH && lower(byte) == expected {
            self.matched += 1;
        } else if self.matched == LENGTH && byte == b':' {
            self.list_begins(true);
        } else {
            self.name_byte(byte);
        }
    }

    #[inline(always)]
    pub(super) fn value(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let plain = first(below(word, b' ') | equal(word, 0x7f));
        if plain >= available {
            return available;
        }
        // The most common line ending, CR LF, takes one step.
        if plain + 1 < available && byte_at(word, plain) == b'\r' && byte_at(word, plain + 1) == b'\n' {
            self.state = HEADER;
            return plain + 2;
        }
        if plain > 0 {
            return plain;
        }
        self.state = match byte {
            b'\t' => VALUE,
            b'\r' => LINE_LF,
            b'\n' => HEADER,
            _ => MALFORMED,
        };
        1
    }

    #[inline(always)]
    fn length_begins(&mut self) {
        // hyper ignores a `Content-Length` after a `Transfer-Encoding`.
        if self.flags & HAS_TRANSFER_ENCODING != 0 {
            self.flags |= HAS_LENGTH;
            self.state = VALUE;
        } else {
            self.number = 0;
            self.state = LENGTH_BEFORE;
        }
    }

    #[inline(always)]
    pub(super) fn length_before(&mut self, byte: u8) {
        if byte.is_ascii_digit() {
            self.length_digits(byte);
        } else if byte != b' ' && byte != b'\t' {
            self.state = MALFORMED;
        }
    }

    #[inline(always)]
    pub(super) fn length_digits(&mut self, byte: u8) {
        if byte.is_ascii_digit() {
            self.state = LENGTH_DIGITS;
            let digit = (byte & 15) as u64;
            if self.number > MAX_LENGTH / 10 || (self.number == MAX_LENGTH / 10 && digit > MAX_LENGTH % 10) {
                self.state = MALFORMED;
                return;
            }
            self.number = self.number * 10 + digit;
        } else {
            self.length_after(byte);
        }
    }

    #[inline(always)]
    pub(super) fn length_after(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' => self.state = LENGTH_AFTER,
            b'\r' => self.state = LENGTH_LF,
            _ => self.length_line_ends(byte),
        }
    }

    /// Handles the LF after a `Content-Length`. A second value must be the same as the first.
    #[inline(always)]
    pub(super) fn length_line_ends(&mut self, byte: u8) {
        let differs = self.flags & HAS_LENGTH != 0 && self.length != self.number;
        if byte != b'\n' || differs {
            self.state = MALFORMED;
            return;
        }
        self.flags |= HAS_LENGTH;
        self.length = self.number;
        self.state = HEADER;
    }
}
