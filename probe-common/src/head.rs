//! The request-head parser: a state machine over the bytes of one connection, eight at a time at most.
//!
//! It accepts what `httparse` accepts, so what hyper, and thereby a shard, accepts: leading empty lines, bare LF as a
//! line's end, header names of token characters, no folded lines. Bodies are skipped by `Content-Length`. A head
//! counts when its last line's end has been seen, and never before.
//!
//! Not judged here: whether a non-ASCII target is valid UTF-8.

use crate::requests::Reason;

/// Header lines a head may have: hyper refuses more (`hyper::server::conn::http1::Builder::max_headers`).
pub const MAX_HEADERS: u8 = 100;

/// Complete heads of one segment, by kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `GET /data/{key}`.
    pub get: u32,
    /// `POST /data`.
    pub set: u32,
    /// Everything else.
    pub control: u32,
}

/// Where in a connection's byte stream the parser stands. All zeros is the beginning of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the current body still to come.
    pub body: u64,
    /// The value of `Content-Length` seen first in this head.
    length: u64,
    /// The value of the `Content-Length` being read.
    number: u64,
    state: u8,
    /// Bytes of the state's pattern matched so far.
    matched: u8,
    /// One of `KIND_*`.
    kind: u8,
    /// `HAS_*`.
    flags: u8,
    headers: u8,
    padding: [u8; 3],
}

const KIND_CONTROL: u8 = 0;
const KIND_GET: u8 = 1;
const KIND_SET: u8 = 2;

const HAS_LENGTH: u8 = 1;
const HAS_TRANSFER_ENCODING: u8 = 2;

/// Between requests; empty lines may come.
const START: u8 = 0;
/// After the CR of an empty line before a request.
const START_LF: u8 = 1;
/// Inside `GET /data/`.
const GET: u8 = 2;
/// Inside `POST /data`.
const POST: u8 = 3;
/// Any other method.
const METHOD: u8 = 4;
/// At a target's first byte.
const TARGET_FIRST: u8 = 5;
/// Inside a target whose kind is settled.
const TARGET: u8 = 6;
/// At the first byte of a key.
const KEY_FIRST: u8 = 7;
/// Inside a key.
const KEY: u8 = 8;
/// After `POST /data`.
const POST_END: u8 = 9;
/// Inside `HTTP/1.x`.
const VERSION: u8 = 10;
/// After the version.
const LINE_END: u8 = 11;
/// After the CR that ends a line.
const LINE_LF: u8 = 12;
/// At the beginning of a header line.
const HEADER: u8 = 13;
/// Inside a header name that does not matter.
const NAME: u8 = 14;
/// Inside `content-length`.
const NAME_LENGTH: u8 = 15;
/// Inside `transfer-encoding`.
const NAME_ENCODING: u8 = 16;
/// Inside a header value that does not matter.
const VALUE: u8 = 17;
/// Before the digits of a `Content-Length`.
const LENGTH_BEFORE: u8 = 18;
/// Inside them.
const LENGTH_DIGITS: u8 = 19;
/// Behind them.
const LENGTH_AFTER: u8 = 20;
/// After the CR that ends a `Content-Length` line.
const LENGTH_LF: u8 = 21;
/// After the CR that ends the head.
const END_LF: u8 = 22;
/// Not HTTP/1.x; nothing after it can be followed.
const MALFORMED: u8 = 23;
/// Behind the head of a request with a chunked body.
const CHUNKED: u8 = 24;

const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// Byte `at` of a pattern kept in two words. Constants, not a table: a table would be one more map to look up.
#[inline(always)]
const fn pattern(low: u64, high: u64, at: u8) -> u8 {
    if at < 8 { (low >> (at as u32 * 8)) as u8 } else { (high >> ((at as u32 & 7) * 8)) as u8 }
}

const GET_LOW: u64 = word(*b"GET /dat");
const GET_HIGH: u64 = word(*b"a/\0\0\0\0\0\0");
const POST_LOW: u64 = word(*b"POST /da");
const POST_HIGH: u64 = word(*b"ta\0\0\0\0\0\0");
const PATTERN_LENGTH: u8 = 10;
const VERSION_1_1: u64 = word(*b"HTTP/1.1");
const LENGTH_LOW: u64 = word(*b"content-");
const LENGTH_HIGH: u64 = word(*b"length\0\0");
const ENCODING_LOW: u64 = word(*b"transfer");
const ENCODING_HIGH: u64 = word(*b"-encodin");

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes equal to `byte`. Exact up to and including the lowest mark, which is all [`first`] looks at.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & TOPS
}

/// Marks bytes below `limit` (at most 128). Exact up to and including the lowest mark.
#[inline(always)]
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & TOPS
}

/// Marks bytes that are not ASCII letters. Exact everywhere.
#[inline(always)]
const fn not_letter(word: u64) -> u64 {
    let lower = (word | (ONES * 0x20)) & !TOPS;
    let from_a = lower + ONES * (0x80 - b'a' as u64);
    let past_z = lower + ONES * (0x7f - b'z' as u64);
    !(from_a & !past_z & !word) & TOPS
}

/// Index of the lowest marked byte, 8 if none. (BPF has no instruction that counts zeros.)
#[inline(always)]
const fn first(marks: u64) -> u32 {
    if marks == 0 {
        return 8;
    }
    let below_first = (marks - 1) & ONES;
    (below_first.wrapping_mul(ONES) >> 56) as u32 - 1
}

/// Byte `at` (below 8) of a word.
#[inline(always)]
const fn byte_at(word: u64, at: u32) -> u8 {
    (word >> ((at & 7) * 8)) as u8
}

/// RFC 9110 `tchar`, as `httparse` has it for methods and header names.
#[inline(always)]
const fn is_token(byte: u8) -> bool {
    // One bit for each of the 128 ASCII characters.
    const LOW: u64 = 0x03ff_6cfa_0000_0000;
    const HIGH: u64 = 0x57ff_ffff_c7ff_fffe;
    let bits = if byte < 64 { LOW } else { HIGH };
    byte < 128 && (bits >> (byte as u32 & 63)) & 1 == 1
}

/// Bytes a request target may have.
#[inline(always)]
const fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

impl Head {
    /// The parser before a connection's first byte.
    pub const BEGINNING: Self = Self {
        body: 0,
        length: 0,
        number: 0,
        state: START,
        matched: 0,
        kind: KIND_CONTROL,
        flags: 0,
        headers: 0,
        padding: [0; 3],
    };

    /// Whether parsing has ended for good on this connection, or until it is idle again.
    #[must_use]
    #[inline(always)]
    pub const fn stopped(&self) -> Option<Reason> {
        match self.state {
            MALFORMED => Some(Reason::Malformed),
            CHUNKED => Some(Reason::Chunked),
            _ => None,
        }
    }

    /// Whether the next byte is the first of a request (or of an empty line before it).
    #[must_use]
    #[inline(always)]
    pub const fn between_requests(&self) -> bool {
        self.state == START && self.body == 0
    }

    /// Skips as much of the current body as there is, at most `available` bytes; returns how many.
    #[inline(always)]
    pub const fn skip_body(&mut self, available: u32) -> u32 {
        if self.body >= available as u64 {
            self.body -= available as u64;
            available
        } else {
            let rest = self.body as u32;
            self.body = 0;
            rest
        }
    }

    /// Reads on, outside of bodies: the next byte is the lowest of `word`, and `available` (1 to 8) of its bytes
    /// are there. Returns how many were used: at least 1, at most `available`.
    ///
    /// Must not be called when [`stopped`](Self::stopped), nor while [`body`](Self::body) is not 0.
    #[inline(always)]
    pub fn step(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let byte = word as u8;
        match self.state {
            START => return self.start(word, byte, available),
            START_LF => self.state = if byte == b'\n' { START } else { MALFORMED },
            GET => return self.get(word, byte, available),
            POST => self.post(byte),
            METHOD => self.method(byte),
            TARGET_FIRST => {
                self.state = if is_target(byte) { TARGET } else { MALFORMED };
            }
            TARGET => return self.target(word, byte, available),
            KEY_FIRST => return self.key_first(word, byte, available),
            KEY => return self.key(word, byte, available),
            POST_END => self.post_end(byte),
            VERSION => return self.version(word, byte, available),
            LINE_END => return self.line_end(word, byte, available),
            LINE_LF => self.state = if byte == b'\n' { HEADER } else { MALFORMED },
            HEADER => return self.header(word, byte, available, tally),
            NAME => return self.name(word, byte, available),
            NAME_LENGTH => self.name_length(byte),
            NAME_ENCODING => self.name_encoding(byte),
            VALUE => return self.value(word, byte, available),
            LENGTH_BEFORE => self.length_before(byte),
            LENGTH_DIGITS => self.length_digits(byte),
            LENGTH_AFTER => self.length_after(byte),
            LENGTH_LF => self.length_line_ends(byte),
            END_LF => {
                if byte == b'\n' {
                    self.complete(tally);
                } else {
                    self.state = MALFORMED;
                }
            }
            _ => self.state = MALFORMED,
        }
        1
    }

    #[inline(always)]
    fn start(&mut self, word: u64, byte: u8, available: u32) -> u32 {
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

    /// Inside `GET /data/`, of which the method is 3 bytes.
    #[inline(always)]
    fn get(&mut self, word: u64, byte: u8, available: u32) -> u32 {
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

    /// Inside `POST /data`, of which the method is 4 bytes.
    #[inline(always)]
    fn post(&mut self, byte: u8) {
        if byte == pattern(POST_LOW, POST_HIGH, self.matched) {
            self.matched += 1;
            if self.matched == PATTERN_LENGTH {
                self.state = POST_END;
            }
        } else {
            self.leave_pattern(byte, 4);
        }
    }

    /// A byte that is not the pattern's next one: some other method or target.
    #[inline(always)]
    fn leave_pattern(&mut self, byte: u8, method_length: u8) {
        if self.matched <= method_length {
            self.method(byte);
        } else if self.matched == method_length + 1 {
            self.state = if is_target(byte) { TARGET } else { MALFORMED };
        } else {
            self.target_byte(byte);
        }
    }

    #[inline(always)]
    fn method(&mut self, byte: u8) {
        self.state = match byte {
            b' ' => TARGET_FIRST,
            _ if is_token(byte) => METHOD,
            _ => MALFORMED,
        };
    }

    #[inline(always)]
    fn target(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let plain = first(below(word, b'!') | equal(word, 0x7f));
        if plain >= available {
            return available;
        }
        if plain > 0 {
            return plain;
        }
        self.target_byte(byte);
        1
    }

    #[inline(always)]
    fn target_byte(&mut self, byte: u8) {
        self.state = match byte {
            b' ' => VERSION,
            _ if is_target(byte) => TARGET,
            _ => MALFORMED,
        };
        self.matched = 0;
    }

    #[inline(always)]
    fn key_first(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if matches!(byte, b'/' | b'?' | b'#') || !is_target(byte) {
            self.target_byte(byte);
            return 1;
        }
        self.state = KEY;
        self.key(word, byte, available)
    }

    #[inline(always)]
    fn key(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let ends =
            below(word, b'!') | equal(word, 0x7f) | equal(word, b'/') | equal(word, b'?') | equal(word, b'#');
        let plain = first(ends);
        if plain >= available {
            return available;
        }
        // The commonest end in one go with what is before it.
        if byte_at(word, plain) == b' ' {
            self.kind = KIND_GET;
            self.state = VERSION;
            self.matched = 0;
            return plain + 1;
        }
        if plain > 0 {
            return plain;
        }
        if byte != b'/' {
            self.kind = KIND_GET;
        }
        self.target_byte(byte);
        1
    }

    #[inline(always)]
    fn post_end(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'?' | b'#') {
            self.kind = KIND_SET;
        }
        self.target_byte(byte);
    }

    #[inline(always)]
    fn version(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if available == 8 && self.matched == 0 && word == VERSION_1_1 {
            self.state = LINE_END;
            return 8;
        }
        if self.matched == 7 {
            self.state = if byte == b'0' || byte == b'1' { LINE_END } else { MALFORMED };
        } else if byte == pattern(VERSION_1_1, 0, self.matched & 7) {
            self.matched += 1;
        } else {
            self.state = MALFORMED;
        }
        1
    }

    #[inline(always)]
    fn line_end(&mut self, word: u64, byte: u8, available: u32) -> u32 {
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

    #[inline(always)]
    fn header(&mut self, word: u64, byte: u8, available: u32, tally: &mut Tally) -> u32 {
        match byte {
            b'\r' if available > 1 && byte_at(word, 1) == b'\n' => {
                self.complete(tally);
                return 2;
            }
            b'\r' => self.state = END_LF,
            b'\n' => self.complete(tally),
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
    fn name(&mut self, word: u64, byte: u8, available: u32) -> u32 {
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
    fn name_byte(&mut self, byte: u8) {
        self.state = match byte {
            b':' => VALUE,
            _ if is_token(byte) => NAME,
            _ => MALFORMED,
        };
    }

    #[inline(always)]
    fn name_length(&mut self, byte: u8) {
        const LENGTH: u8 = 14;
        if self.matched < LENGTH && lower(byte) == pattern(LENGTH_LOW, LENGTH_HIGH, self.matched) {
            self.matched += 1;
        } else if self.matched == LENGTH && byte == b':' {
            self.number = 0;
            self.state = LENGTH_BEFORE;
        } else {
            self.name_byte(byte);
        }
    }

    #[inline(always)]
    fn name_encoding(&mut self, byte: u8) {
        const LENGTH: u8 = 17;
        let expected =
            if self.matched == 16 { b'g' } else { pattern(ENCODING_LOW, ENCODING_HIGH, self.matched & 15) };
        if self.matched < LENGTH && lower(byte) == expected {
            self.matched += 1;
        } else if self.matched == LENGTH && byte == b':' {
            self.flags |= HAS_TRANSFER_ENCODING;
            self.state = VALUE;
        } else {
            self.name_byte(byte);
        }
    }

    #[inline(always)]
    fn value(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let plain = first(below(word, b' ') | equal(word, 0x7f));
        if plain >= available {
            return available;
        }
        // The commonest end, CR LF, in one go.
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
    fn length_before(&mut self, byte: u8) {
        if byte.is_ascii_digit() {
            self.length_digits(byte);
        } else if byte != b' ' && byte != b'\t' {
            self.state = MALFORMED;
        }
    }

    #[inline(always)]
    fn length_digits(&mut self, byte: u8) {
        if byte.is_ascii_digit() {
            self.state = LENGTH_DIGITS;
            // 10^18: whatever is larger cannot come true on one connection.
            if self.number >= 1_000_000_000_000_000_000 {
                self.state = MALFORMED;
                return;
            }
            self.number = self.number * 10 + (byte & 15) as u64;
        } else {
            self.length_after(byte);
        }
    }

    #[inline(always)]
    fn length_after(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' => self.state = LENGTH_AFTER,
            b'\r' => self.state = LENGTH_LF,
            _ => self.length_line_ends(byte),
        }
    }

    /// The LF behind a `Content-Length`: a second one must say the same.
    #[inline(always)]
    fn length_line_ends(&mut self, byte: u8) {
        let differs = self.flags & HAS_LENGTH != 0 && self.length != self.number;
        if byte != b'\n' || differs {
            self.state = MALFORMED;
            return;
        }
        self.flags |= HAS_LENGTH;
        self.length = self.number;
        self.state = HEADER;
    }

    /// The head is complete: count it, and know what follows it.
    #[inline(always)]
    fn complete(&mut self, tally: &mut Tally) {
        match self.kind {
            KIND_GET => tally.get += 1,
            KIND_SET => tally.set += 1,
            _ => tally.control += 1,
        }
        if self.flags & HAS_TRANSFER_ENCODING != 0 {
            self.state = CHUNKED;
            return;
        }
        self.state = START;
        self.body = if self.flags & HAS_LENGTH != 0 { self.length } else { 0 };
    }
}

/// An ASCII letter in lower case; other bytes as they are, so that CR is not taken for `-`.
#[inline(always)]
const fn lower(byte: u8) -> u8 {
    if byte.is_ascii_uppercase() { byte | 0x20 } else { byte }
}
