//! The parser of replies: where each one ends, and what a transaction needs to know of it.
//!
//! A reply is a line (`+`, `-`, `:`, `_`, `,`, `#`, `(`), a string with its length (`$`, `=`, `!`), or an aggregate with the
//! number of its elements (`*`, `~`, `%`, `>`), which may be aggregates too. An attribute (`|`) comes before the value that it
//! belongs to. The parser counts the values that are still missing instead of the levels, so any nesting takes the same
//! memory. A push (`>`) is no reply. Streamed values (`$?`, `*?`), which no store sends, stop the parser.

mod short;

pub use short::{SHORT_REPLY, is_whole_reply};

use self::short::short_number;
use super::swar::before_line_end;
use crate::{
    key::KeyText,
    protocol::{HEAD_BYTES, Parser},
    requests::{Reason, Tally},
};

/// What a reply says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `QUEUED`.
    Queued,
    /// An error of `EXEC`: the transaction is discarded.
    Aborted,
    /// Another error.
    Failed,
    /// Another simple string.
    Simple,
    /// A null.
    Null,
    /// Anything else.
    Value,
}

/// The parser's position in a connection's replies. All zeros is the beginning of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyHead {
    /// Remaining bytes of the string that is being skipped, and the two bytes behind it.
    body: u64,
    /// Values that are missing until the reply is complete; 0 between replies.
    missing: u64,
    /// The number being read.
    number: u64,
    /// The first bytes of a reply that is a simple string or an error, with its type.
    text: u64,
    state: u8,
    /// Digits of the number read so far, and [`NEGATIVE`].
    digits: u8,
    /// The type of the whole reply, of the value behind an attribute.
    kind: u8,
    /// The type of the value being read.
    value: u8,
    /// Bytes in `text`.
    texts: u8,
    /// 1 if the whole reply is null.
    is_null: u8,
    /// 1 while the driver has to take a reply.
    is_due: u8,
    /// 1 if the driver wants all replies, and not only those that begin a transaction.
    wants_all: u8,
    /// 1 if the value being read is the whole reply, and not a part of it.
    is_whole: u8,
    unused: [u8; 7],
    more: [u64; 10],
}

const _: () = assert!(size_of::<ReplyHead>() == HEAD_BYTES);

const NEGATIVE: u8 = 0x80;

/// No number has more digits.
const MAX_DIGITS: u8 = 15;

/// The most values that are counted as missing. No store has as many.
const MAX_MISSING: u64 = 1 << 52;

/// At the first byte of a value.
const VALUE: u8 = 0;
/// In the first bytes of a simple string or an error that is the whole reply.
const TEXT: u8 = 1;
/// Inside a line.
const LINE: u8 = 2;
/// Inside a length or a number of elements.
const NUMBER: u8 = 3;
/// After the CR behind it.
const NUMBER_LF: u8 = 4;
/// Inside a string.
const SKIP: u8 = 5;
/// Not RESP.
const MALFORMED: u8 = 6;

/// CR and LF, in memory order.
const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
const QUEUED: u64 = u64::from_le_bytes(*b"+QUEUED\r");
const ABORTED: u64 = u64::from_le_bytes(*b"-EXECABO");
const NULL_STRING: u64 = u64::from_le_bytes(*b"$-1\r\n\0\0\0");
const FIVE_BYTES: u64 = 0xff_ffff_ffff;

impl Parser for ReplyHead {
    #[inline(always)]
    fn restart(&mut self) {
        self.state = VALUE;
        self.body = 0;
        self.missing = 0;
        self.is_due = 0;
        self.wants_all = 0;
    }

    #[inline(always)]
    fn stopped(&self) -> Option<Reason> {
        if self.state == MALFORMED { Some(Reason::Malformed) } else { None }
    }

    #[inline(always)]
    fn is_last(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_at_first_byte(&self) -> bool {
        self.state == VALUE && self.missing == 0
    }

    #[inline(always)]
    fn inside_request(&self) -> bool {
        self.missing != 0
    }

    #[inline(always)]
    fn key(&self) -> &KeyText {
        &KeyText::NONE
    }

    #[inline(always)]
    fn needs_driver(&self) -> bool {
        self.is_due != 0
    }

    #[inline(always)]
    fn body(&self) -> u64 {
        self.body
    }

    /// The last byte ends the value, so it may not be missing.
    #[inline(always)]
    fn may_miss(&self) -> u64 {
        self.body.saturating_sub(1)
    }

    #[inline(always)]
    fn miss(&mut self, count: u32) {
        self.body -= count as u64;
    }

    #[inline(always)]
    fn skip_body(&mut self, available: u32, tally: &mut Tally) -> u32 {
        if self.body > available as u64 {
            self.body -= available as u64;
            return available;
        }
        let rest = self.body as u32;
        self.body = 0;
        self.value_ends(tally);
        rest
    }

    /// Replies are counted as `set`, pushes as `control`.
    #[inline(always)]
    fn step(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let byte = word as u8;
        match self.state {
            VALUE => return self.value_begins(word, byte, available, tally),
            LINE => return self.line(word, available, tally),
            TEXT => self.text(byte, tally),
            NUMBER => self.digit(byte),
            NUMBER_LF if byte == b'\n' => self.number_ends(tally),
            _ => self.state = MALFORMED,
        }
        1
    }
}

impl ReplyHead {
    /// Marks the reply as taken. `wants_all` says whether the driver wants each of the next ones.
    #[inline(always)]
    pub const fn taken(&mut self, wants_all: bool) {
        self.is_due = 0;
        self.wants_all = wants_all as u8;
    }

    /// Whether the driver wants each reply.
    #[must_use]
    #[inline(always)]
    pub const fn wants_all(&self) -> bool {
        self.wants_all != 0
    }

    /// Whether the bytes that have been read of the next value begin a reply, and not a push.
    #[must_use]
    #[inline(always)]
    pub const fn has_begun(&self) -> bool {
        self.missing != 0 && self.kind != b'>' && self.kind != b'|'
    }

    /// Returns what the complete reply says about a transaction.
    #[must_use]
    #[inline(always)]
    pub const fn outcome(&self) -> Outcome {
        match self.kind {
            b'+' if self.text == QUEUED => Outcome::Queued,
            b'+' => Outcome::Simple,
            b'-' if self.text == ABORTED => Outcome::Aborted,
            b'-' | b'!' => Outcome::Failed,
            b'_' => Outcome::Null,
            _ if self.is_null != 0 => Outcome::Null,
            _ => Outcome::Value,
        }
    }

    /// Reads the first byte of a value, and as much behind it as one step may.
    #[inline(always)]
    fn value_begins(&mut self, word: u64, byte: u8, available: u32, tally: &mut Tally) -> u32 {
        self.is_whole = 0;
        if self.missing == 0 {
            self.missing = 1;
            self.begin_whole(byte);
        } else if self.missing == 1 && self.kind == b'|' {
            // The attribute has ended.
            self.begin_whole(byte);
        }
        self.value = byte;
        match byte {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.line_begins(word, available, tally),
            b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => {
                self.number_begins(word, available, tally)
            }
            _ => {
                self.state = MALFORMED;
                1
            }
        }
    }

    #[inline(always)]
    const fn begin_whole(&mut self, kind: u8) {
        self.is_whole = 1;
        self.kind = kind;
        self.text = 0;
        self.is_null = 0;
    }

    #[inline(always)]
    fn line_begins(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let before = before_line_end(word);
        if before < available {
            self.value_ends(tally);
            return before + 1;
        }
        if self.is_whole == 0 || self.value != b'+' && self.value != b'-' {
            self.state = LINE;
            return available;
        }
        if available == 8 {
            self.text = word;
            self.state = LINE;
            return 8;
        }
        self.text = word & 0xff;
        self.texts = 1;
        self.state = TEXT;
        1
    }

    /// Reads a byte of the text that [`Self::outcome`] looks at.
    #[inline(always)]
    fn text(&mut self, byte: u8, tally: &mut Tally) {
        if byte == b'\n' {
            self.value_ends(tally);
            return;
        }
        self.text |= (byte as u64) << ((self.texts as u32 & 7) * 8);
        self.texts += 1;
        if self.texts >= 8 {
            self.state = LINE;
        }
    }

    #[inline(always)]
    fn line(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        let before = before_line_end(word);
        if before >= available {
            return available;
        }
        self.value_ends(tally);
        before + 1
    }

    /// Reads a number of up to three digits at once.
    #[inline(always)]
    fn number_begins(&mut self, word: u64, available: u32, tally: &mut Tally) -> u32 {
        self.number = 0;
        self.digits = 0;
        if let Some((number, used)) = short_number(word, available) {
            self.number = number as u64;
            self.number_ends(tally);
            return used;
        }
        if available >= 5 && word & FIVE_BYTES == NULL_STRING {
            self.is_null = self.is_whole;
            self.value_ends(tally);
            return 5;
        }
        self.state = NUMBER;
        1
    }

    #[inline(always)]
    const fn digit(&mut self, byte: u8) {
        let digit = byte.wrapping_sub(b'0');
        let digits = self.digits & !NEGATIVE;
        if byte == b'\r' && digits > 0 {
            self.state = NUMBER_LF;
        } else if byte == b'-' && self.digits == 0 {
            self.digits = NEGATIVE;
        } else if digit < 10 && digits < MAX_DIGITS {
            self.number = self.number * 10 + digit as u64;
            self.digits += 1;
        } else {
            self.state = MALFORMED;
        }
    }

    /// A length or a number of elements has been read.
    #[inline(always)]
    fn number_ends(&mut self, tally: &mut Tally) {
        self.state = VALUE;
        if self.digits & NEGATIVE != 0 {
            if self.value == b'|' {
                self.state = MALFORMED;
                return;
            }
            self.is_null = self.is_whole;
            self.value_ends(tally);
            return;
        }
        let elements = match self.value {
            b'$' | b'=' | b'!' => {
                self.body = self.number + 2;
                self.state = SKIP;
                return;
            }
            b'%' => self.number * 2,
            // The value behind it is still missing.
            b'|' => self.number * 2 + 1,
            _ => self.number,
        };
        self.missing = self.missing.wrapping_add(elements);
        if self.missing > MAX_MISSING {
            self.missing = MAX_MISSING;
        }
        self.value_ends(tally);
    }

    /// A value is complete, or an aggregate's elements follow.
    #[inline(always)]
    fn value_ends(&mut self, tally: &mut Tally) {
        self.state = VALUE;
        self.missing = self.missing.wrapping_sub(1);
        if self.missing != 0 {
            return;
        }
        if self.kind == b'>' {
            tally.control += 1;
            return;
        }
        tally.set += 1;
        self.is_due = self.wants_all | (self.kind == b'+' && self.text == QUEUED) as u8;
    }
}
