//! The request-head parser: a state machine over one connection's bytes.
//!
//! It accepts the heads that `httparse` accepts, because hyper, and therefore a shard, accepts the same:
//!
//! - empty lines before the request line
//! - a bare LF as a line ending
//! - header names of token characters
//! - no folded lines
//! - targets that `http::uri::PathAndQuery` accepts
//!
//! Bodies are skipped by `Content-Length`. A head counts once the end of its last line has been seen, never before.
//!
//! The parser does not judge a target that is neither `*` nor begins with a slash. See [`Reason::Target`].

mod header_lines;
mod list_value;
mod request_line;
mod response;
mod swar;
mod target;

pub(super) use request_line::begins_read;
pub use response::ResponseHead;
pub(super) use target::is_plain_key;

use crate::{
    key::KeyText,
    protocol::{HEAD_BYTES, Parser},
    requests::{Reason, Tally},
};

/// The maximum number of header lines in a head. hyper refuses more
/// (`hyper::server::conn::http1::Builder::max_headers`).
pub const MAX_HEADERS: u8 = 100;

/// The maximum size of a head in bytes, with the empty lines before it: the services' `max_header_size`.
pub const MAX_HEAD: u32 = 32 * 1024;

/// The parser's position in a connection's byte stream. All zeros is the beginning of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Remaining bytes of the current body.
    pub body: u64,
    /// The first `Content-Length` value of this head.
    length: u64,
    /// The value in use, which depends on the state:
    ///
    /// - the `Content-Length` value being read
    /// - the last eight bytes of the list token being read
    /// - inside a non-ASCII character of the target, the bounds of its next byte
    number: u64,
    /// Bytes read of this head and of the empty lines before it.
    size: u32,
    /// The two bytes of the token before those in `number`.
    token: u16,
    state: u8,
    /// Bytes of the state's pattern matched so far.
    matched: u8,
    /// One of the `KIND_*` constants.
    kind: u8,
    /// A combination of the `HAS_*` bits.
    flags: u8,
    headers: u8,
    /// What has been found in the list being read; the bits are defined in `list_value`.
    found: u8,
    /// 1 if the head of a read is complete and its key has not been taken.
    has_key: u8,
    padding: [u8; 3],
    /// The key of the current read.
    pub key: KeyText,
}

const KIND_CONTROL: u8 = 0;
const KIND_GET: u8 = 1;
const KIND_SET: u8 = 2;

const HAS_LENGTH: u8 = 1;
const HAS_TRANSFER_ENCODING: u8 = 2;
/// The last `Transfer-Encoding` ends with `chunked`.
const IS_CHUNKED: u8 = 4;
const IS_VERSION_1_0: u8 = 8;
const SAYS_CLOSE: u8 = 16;
const SAYS_KEEP_ALIVE: u8 = 32;

/// Between requests. Empty lines may follow.
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
/// After a target `*`.
const TARGET_END: u8 = 6;
/// Inside the path of a target whose kind is already decided.
const PATH: u8 = 7;
/// At the first byte of a key.
const KEY_FIRST: u8 = 8;
/// Inside a key.
const KEY: u8 = 9;
/// After `POST /data`.
const POST_END: u8 = 10;
/// Inside a query.
const QUERY: u8 = 11;
/// Inside a fragment.
const FRAGMENT: u8 = 12;
/// Inside a multi-byte character of a target. `matched` holds the state to return to.
const CHARACTER: u8 = 13;
/// Inside `HTTP/1.x`.
const VERSION: u8 = 14;
/// After the version.
const LINE_END: u8 = 15;
/// After the CR that ends a line.
const LINE_LF: u8 = 16;
/// At the beginning of a header line.
const HEADER: u8 = 17;
/// Inside a header name that the parser ignores.
const NAME: u8 = 18;
/// Inside `content-length`.
const NAME_LENGTH: u8 = 19;
/// Inside `transfer-encoding`.
const NAME_ENCODING: u8 = 20;
/// Inside `connection`.
const NAME_CONNECTION: u8 = 21;
/// Inside a header value that the parser ignores.
const VALUE: u8 = 22;
/// Inside the value of `Transfer-Encoding` or `Connection`.
const LIST: u8 = 23;
/// Before the digits of a `Content-Length`.
const LENGTH_BEFORE: u8 = 24;
/// Inside the digits of a `Content-Length`.
const LENGTH_DIGITS: u8 = 25;
/// After the digits of a `Content-Length`.
const LENGTH_AFTER: u8 = 26;
/// After the CR that ends a `Content-Length` line.
const LENGTH_LF: u8 = 27;
/// After the CR that ends the head.
const END_LF: u8 = 28;
/// After the head's last byte. This state never lasts from one step to the next.
const COMPLETE: u8 = 29;
/// The shard refuses the request and reads nothing after it.
const MALFORMED: u8 = 30;
/// After the head of a request with a chunked body.
const CHUNKED: u8 = 31;
/// In or after the body of the connection's last request.
const CLOSED: u8 = 32;
/// Inside a target that the parser does not judge.
const UNJUDGED: u8 = 33;
/// Inside `HTTP/1.x nnn` of a response.
const STATUS: u8 = 34;
/// After the status code of a response.
const REASON_PHRASE: u8 = 35;

const _: () = assert!(size_of::<Head>() == HEAD_BYTES);

impl Parser for Head {
    // Assigning all fields would compile to a call of `memset`, a loop over bytes. The other fields are set when a
    // request begins.
    #[inline(always)]
    fn restart(&mut self) {
        self.state = START;
        self.body = 0;
        self.size = 0;
    }

    #[inline(always)]
    fn stopped(&self) -> Option<Reason> {
        match self.state {
            MALFORMED => Some(Reason::Malformed),
            CHUNKED => Some(Reason::Chunked),
            CLOSED if self.body == 0 => Some(Reason::Closed),
            UNJUDGED => Some(Reason::Target),
            _ => None,
        }
    }

    #[inline(always)]
    fn is_last(&self) -> bool {
        match self.state {
            MALFORMED | CLOSED => true,
            CHUNKED => self.closes(),
            _ => false,
        }
    }

    /// Whether no empty line precedes the next byte either.
    #[inline(always)]
    fn is_at_first_byte(&self) -> bool {
        self.state == START && self.body == 0 && self.size == 0
    }

    /// Whether the parser is inside a head.
    #[inline(always)]
    fn inside_request(&self) -> bool {
        !matches!(self.state, START | START_LF | MALFORMED | CHUNKED | CLOSED | UNJUDGED)
    }

    #[inline(always)]
    fn key(&self) -> &KeyText {
        &self.key
    }

    /// Whether a read is complete whose key has not been [taken](Head::key_taken).
    #[inline(always)]
    fn needs_driver(&self) -> bool {
        self.has_key != 0
    }

    #[inline(always)]
    fn body(&self) -> u64 {
        self.body
    }

    #[inline(always)]
    fn may_miss(&self) -> u64 {
        self.body
    }

    #[inline(always)]
    fn miss(&mut self, count: u32) {
        self.body -= count as u64;
    }

    #[inline(always)]
    fn skip_body(&mut self, available: u32, _: &mut Tally) -> u32 {
        if self.body >= available as u64 {
            self.body -= available as u64;
            available
        } else {
            let rest = self.body as u32;
            self.body = 0;
            rest
        }
    }

    #[inline(always)]
    fn step(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let used = self.advance(word, available);
        self.size = self.size.wrapping_add(used);
        if self.size > MAX_HEAD && self.state != UNJUDGED {
            self.state = MALFORMED;
        } else if self.state == COMPLETE {
            self.complete(tally);
        }
        used
    }
}

impl Head {
    /// Marks the key as counted.
    #[inline(always)]
    pub const fn key_taken(&mut self) {
        self.has_key = 0;
    }

    /// Whether the next byte is the first of a request, or of an empty line before it.
    #[must_use]
    #[inline(always)]
    pub const fn between_requests(&self) -> bool {
        self.state == START && self.body == 0
    }

    #[inline(always)]
    fn advance(&mut self, word: u64, available: u32) -> u32 {
        let byte = word as u8;
        match self.state {
            START => return self.start(word, byte, available),
            START_LF => self.state = if byte == b'\n' { START } else { MALFORMED },
            GET => return self.get(word, byte, available),
            POST => self.post(byte),
            METHOD => self.method(byte),
            TARGET_FIRST => self.target_first(byte),
            TARGET_END => self.target_end(byte),
            PATH => return self.path(word, byte, available),
            KEY_FIRST => return self.key_first(word, byte, available),
            KEY => return self.key(word, byte, available),
            POST_END => self.post_end(byte),
            QUERY => return self.query(word, byte, available),
            FRAGMENT => self.fragment_byte(byte),
            CHARACTER => self.character(byte),
            VERSION => return self.version(word, byte, available),
            LINE_END => return self.line_end(word, byte, available),
            LINE_LF => self.state = if byte == b'\n' { HEADER } else { MALFORMED },
            HEADER => return self.header(word, byte, available),
            NAME => return self.name(word, byte, available),
            NAME_LENGTH => self.name_length(byte),
            NAME_ENCODING => self.name_encoding(byte),
            NAME_CONNECTION => self.name_connection(byte),
            VALUE => return self.value(word, byte, available),
            LIST => self.list(byte),
            LENGTH_BEFORE => self.length_before(byte),
            LENGTH_DIGITS => self.length_digits(byte),
            LENGTH_AFTER => self.length_after(byte),
            LENGTH_LF => self.length_line_ends(byte),
            END_LF => self.state = if byte == b'\n' { COMPLETE } else { MALFORMED },
            _ => self.state = MALFORMED,
        }
        1
    }

    /// Counts the complete head and sets the state for the bytes after it.
    #[inline(always)]
    fn complete(&mut self, tally: &mut Tally) {
        self.size = 0;
        let has_encoding = self.flags & HAS_TRANSFER_ENCODING != 0;
        // RFC 9112, section 6.1: a server cannot determine where such a body ends.
        if has_encoding && self.flags & (IS_CHUNKED | IS_VERSION_1_0) != IS_CHUNKED {
            self.state = MALFORMED;
            return;
        }
        match self.kind {
            KIND_GET => {
                tally.get += 1;
                self.has_key = 1;
            }
            KIND_SET => tally.set += 1,
            _ => tally.control += 1,
        }
        if has_encoding {
            self.state = CHUNKED;
            return;
        }
        self.state = if self.closes() { CLOSED } else { START };
        self.body = if self.flags & HAS_LENGTH != 0 { self.length } else { 0 };
    }

    /// Whether hyper closes the connection after this request.
    #[inline(always)]
    const fn closes(&self) -> bool {
        const BOTH: u8 = HAS_LENGTH | HAS_TRANSFER_ENCODING;
        self.flags & SAYS_CLOSE != 0
            || self.flags & (IS_VERSION_1_0 | SAYS_KEEP_ALIVE) == IS_VERSION_1_0
            || self.flags & BOTH == BOTH
    }
}
