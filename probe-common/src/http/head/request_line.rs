//! Request line: decides the kind of request, or that it is malformed.

use super::swar::{byte_at, is_token, pattern, word};
use super::{
    GET, HEADER, Head, IS_VERSION_1_0, KEY_FIRST, KIND_CONTROL, LINE_END, LINE_LF, MALFORMED, METHOD, POST,
    POST_END, START, START_LF, TARGET_FIRST,
};

const GET_LOW: u64 = word(*b"GET /dat");
const GET_HIGH: u64 = word(*b"a/\0\0\0\0\0\0");
const POST_LOW: u64 = word(*b"POST /da");
const POST_HIGH: u64 = word(*b"ta\0\0\0\0\0\0");
const PATTERN_LENGTH: u8 = 10;
const VERSION_1_1: u64 = word(*b"HTTP/1.1");

/// Whether two words begin with `GET /data/`.
#[inline(always)]
pub(crate) const fn begins_read(first: u64, second: u64) -> bool {
    first == GET_LOW && second as u16 == GET_HIGH as u16
}

impl Head {
    #[inline(always)]
    pub(super) fn start(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        self.kind = KIND_CONTROL;
        self.flags = 0;
        self.headers = 0;
        self.matched = 1;
        if available == 8 && word == GET_LOW {
            self.state = GET;
            self.matched = 8;
            return 8;
        }
        self.state = match byte {
            b'G' => GET,
            b'P' => POST,
            b'\r' => START_LF,
            b'\n' => START,
            _ if is_token(byte) => METHOD,
            _ => MALFORMED,
        };
        1
    }

    /// Reads inside `GET /data/`. The method is its first 3 bytes.
    #[inline(always)]
    pub(super) fn get(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if self.matched == 8 && available > 1 && word as u16 == GET_HIGH as u16 {
            self.state = KEY_FIRST;
            return 2;
        }
        if byte == pattern(GET_LOW, GET_HIGH, self.matched) {
            self.matched += 1;
            if self.matched == PATTERN_LENGTH {
                self.state = KEY_FIRST;
            }
        } else {
            self.leave_pattern(byte, 3);
        }
        1
    }

    /// Reads inside `POST /data`. The method is its first 4 bytes.
    #[inline(always)]
    pub(super) fn post(&mut self, byte: u8) {
        if byte == pattern(POST_LOW, POST_HIGH, self.matched) {
            self.matched += 1;
            if self.matched == PATTERN_LENGTH {
                self.state = POST_END;
            }
        } else {
            self.leave_pattern(byte, 4);
        }
    }

    /// Handles a byte that differs from the pattern: another method or target.
    #[inline(always)]
    pub(super) fn leave_pattern(&mut self, byte: u8, method_length: u8) {
        if self.matched <= method_length {
            self.method(byte);
        } else if self.matched == method_length + 1 {
            self.target_first(byte);
        } else {
            self.path_byte(byte);
        }
    }

    #[inline(always)]
    pub(super) fn method(&mut self, byte: u8) {
        self.state = match byte {
            b' ' => TARGET_FIRST,
            _ if is_token(byte) => METHOD,
            _ => MALFORMED,
        };
    }

    #[inline(always)]
    pub(super) fn version(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if available == 8 && self.matched == 0 && word == VERSION_1_1 {
            self.state = LINE_END;
            return 8;
        }
        if self.matched == 7 {
            match byte {
                b'1' => self.state = LINE_END,
                b'0' => {
                    self.flags |= IS_VERSION_1_0;
                    self.state = LINE_END;
                }
                _ => self.state = MALFORMED,
            }
        } else if byte == pattern(VERSION_1_1, 0, self.matched & 7) {
            self.matched += 1;
        } else {
            self.state = MALFORMED;
        }
        1
    }

    #[inline(always)]
    pub(super) fn line_end(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if byte == b'\r' && available > 1 && byte_at(word, 1) == b'\n' {
            self.state = HEADER;
            return 2;
        }
        self.state = match byte {
            b'\r' => LINE_LF,
            b'\n' => HEADER,
            _ => MALFORMED,
        };
        1
    }
}
