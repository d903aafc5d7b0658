//! Commands as arrays of bulk strings.

use super::{
    BULK, COUNT, COUNT_LF, DO_COMMAND, Head, INLINE_GAP, LENGTH, LENGTH_LF, MALFORMED, MAX_ARGUMENTS,
    MAX_BULK, NEGATIVE, NUMKEYS, REPLY_LENGTH, SKIP, START, TAKE,
};
use crate::resp::{MAX_NAME, swar::lower};

/// `*D\r\n$D\r\n` without the digits' low halves.
const START_MASK: u64 = 0xffff_f0ff_ffff_f0ff;
const START_WORD: u64 = u64::from_le_bytes(*b"*0\r\n$0\r\n");

/// CR and LF, in memory order.
pub(in crate::resp) const CRLF: u16 = u16::from_le_bytes(*b"\r\n");

/// Largest number of digits of a number: 2^63 has 19.
const MAX_DIGITS: u8 = 19;

impl Head {
    #[inline(always)]
    pub(super) fn start(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        self.begin_command();
        if available == 8 && word & START_MASK == START_WORD {
            let (count, length) = ((word >> 8) as u8 & 15, (word >> 40) as u8 & 15);
            if count.wrapping_sub(1) < 9 && length < 10 {
                self.count = count as u32;
                self.argument_begins(length as u64);
                return 8;
            }
        }
        if byte == b'*' {
            self.state = COUNT;
        } else {
            self.state = INLINE_GAP;
            self.inline(byte);
        }
        1
    }

    #[inline(always)]
    pub(super) const fn count_digit(&mut self, byte: u8) {
        if byte == b'-' && self.digits == 0 {
            self.digits = NEGATIVE;
        } else {
            self.digit(byte, COUNT_LF);
        }
    }

    /// Reads a digit of a number as Redis's `string2ll` does: without leading zeros. `then` is the state behind the CR.
    #[inline(always)]
    const fn digit(&mut self, byte: u8, then: u8) {
        let digits = self.digits & !NEGATIVE;
        let digit = byte.wrapping_sub(b'0');
        let is_zero = self.number == 0 && digits > 0;
        if byte == b'\r' && digits > 0 {
            self.state = then;
        } else if digit < 10
            && digits < MAX_DIGITS
            && !is_zero
            && (digit != 0 || self.digits & NEGATIVE == 0 || digits > 0)
        {
            self.number = self.number * 10 + digit as u64;
            self.digits += 1;
        } else {
            self.state = MALFORMED;
        }
    }

    #[inline(always)]
    pub(super) const fn count_ends(&mut self) {
        let is_negative = self.digits & NEGATIVE != 0;
        let limit = if is_negative { 1 << 63 } else { MAX_ARGUMENTS };
        if self.number > limit {
            self.state = MALFORMED;
        } else if is_negative || self.number == 0 {
            self.state = START;
        } else {
            self.count = self.number as u32;
            self.state = BULK;
        }
    }

    /// Reads the `$` of an argument, and a length of one or two digits with it.
    #[inline(always)]
    pub(super) fn bulk(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if byte != b'$' {
            self.state = MALFORMED;
            return 1;
        }
        let (a, b) = (((word >> 8) as u8).wrapping_sub(b'0'), ((word >> 16) as u8).wrapping_sub(b'0'));
        if available >= 4 && a < 10 && (word >> 16) as u16 == CRLF {
            self.argument_begins(a as u64);
            return 4;
        }
        if available >= 5 && a.wrapping_sub(1) < 9 && b < 10 && (word >> 24) as u16 == CRLF {
            self.argument_begins(a as u64 * 10 + b as u64);
            return 5;
        }
        self.number = 0;
        self.digits = 0;
        self.state = LENGTH;
        1
    }

    #[inline(always)]
    pub(super) const fn length_digit(&mut self, byte: u8) {
        self.digit(byte, LENGTH_LF);
    }

    /// Begins an argument of that many bytes.
    #[inline(always)]
    pub(super) fn argument_begins(&mut self, length: u64) {
        if length > MAX_BULK {
            self.state = MALFORMED;
            return;
        }
        let is_name = self.argument == 0 && length.wrapping_sub(1) < MAX_NAME as u64;
        let is_key = self.is_key();
        let is_subcommand = length == REPLY_LENGTH as u64 && self.is_subcommand();
        if is_name || is_key || is_subcommand {
            self.key.begin();
            if length > 0 {
                self.number = length;
                self.state = TAKE;
                return;
            }
            self.taken();
        } else if self.argument != 0 && self.argument == self.numkeys as u32 && self.next_key != 0 {
            self.last_key = 0;
            if length > 0 {
                self.number = length;
                self.state = NUMKEYS;
                return;
            }
            self.numkeys_end();
        }
        self.body = length as u32 + 2;
        self.state = SKIP;
    }

    /// Reads inside a name or key.
    #[inline(always)]
    pub(super) fn take(&mut self, word: u64, available: u32) -> u32 {
        let count = if self.number < available as u64 { self.number as u32 } else { available };
        let word = if self.is_word() { lower(word) } else { word };
        self.key.append(word, count);
        self.number = self.number.wrapping_sub(count as u64);
        if self.number > 0 {
            return count;
        }
        self.taken();
        if available >= count + 2 {
            self.argument_ends();
            return count + 2;
        }
        self.body = 2;
        self.state = SKIP;
        count
    }

    /// Reads a digit of the number of keys. The store refuses the command if it is not a number.
    #[inline(always)]
    pub(super) const fn numkeys_digit(&mut self, byte: u8) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 && self.last_key < 1 << 24 {
            self.last_key = self.last_key * 10 + digit as u32;
        } else {
            self.next_key = 0;
        }
        self.number = self.number.wrapping_sub(1);
        if self.number == 0 {
            self.numkeys_end();
            self.body = 2;
            self.state = SKIP;
        }
    }

    /// The number of keys has been read: `last_key` becomes the last one's argument.
    #[inline(always)]
    const fn numkeys_end(&mut self) {
        let keys = self.last_key;
        if keys == 0 {
            self.next_key = 0;
        }
        let behind = self.next_key.saturating_add(keys.wrapping_sub(1).saturating_mul(self.step as u32));
        let last = self.count.saturating_sub(1);
        self.last_key = if behind < last { behind } else { last };
    }

    /// The argument at hand and the two bytes behind it have been read.
    #[inline(always)]
    pub(super) const fn argument_ends(&mut self) {
        self.argument = self.argument.wrapping_add(1);
        if self.argument < self.count {
            self.state = BULK;
            return;
        }
        self.state = START;
        self.work |= DO_COMMAND;
    }
}
