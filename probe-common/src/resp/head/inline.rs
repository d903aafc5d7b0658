//! Inline commands: a line of words, as `sdssplitargs` splits it.
//!
//! Escapes are not decoded in keys: `\x41` stays as it was sent, without the backslash.

use super::{
    DO_COMMAND, Head, INLINE_CLOSED, INLINE_DOUBLE, INLINE_DOUBLE_ESCAPE, INLINE_GAP, INLINE_SINGLE,
    INLINE_SINGLE_ESCAPE, INLINE_WORD, MALFORMED, MAX_INLINE, START,
};
use crate::resp::swar::lower;

impl Head {
    /// Reads a byte of an inline command.
    #[inline(always)]
    pub(super) fn inline(&mut self, byte: u8) {
        self.number += 1;
        if byte == 0 || self.number > MAX_INLINE {
            self.state = MALFORMED;
            return;
        }
        if byte == b'\n' {
            self.line_ends();
            return;
        }
        let is_space = byte == b' ' || byte == b'\r' || byte == b'\t';
        let is_thin_space = byte == 0x0b || byte == 0x0c;
        let (state, bytes, count) = match self.state {
            INLINE_GAP | INLINE_WORD if is_space => (INLINE_GAP, 0, 0),
            INLINE_GAP if is_thin_space => (INLINE_GAP, 0, 0),
            INLINE_GAP | INLINE_WORD => match byte {
                b'"' => (INLINE_DOUBLE, 0, 0),
                b'\'' => (INLINE_SINGLE, 0, 0),
                _ => (INLINE_WORD, byte as u64, 1),
            },
            INLINE_DOUBLE => match byte {
                b'\\' => (INLINE_DOUBLE_ESCAPE, 0, 0),
                b'"' => (INLINE_CLOSED, 0, 0),
                _ => (INLINE_DOUBLE, byte as u64, 1),
            },
            INLINE_DOUBLE_ESCAPE => (INLINE_DOUBLE, byte as u64, 1),
            INLINE_SINGLE => match byte {
                b'\\' => (INLINE_SINGLE_ESCAPE, 0, 0),
                b'\'' => (INLINE_CLOSED, 0, 0),
                _ => (INLINE_SINGLE, byte as u64, 1),
            },
            INLINE_SINGLE_ESCAPE => match byte {
                b'\'' => (INLINE_SINGLE, byte as u64, 1),
                // Only a quote is escaped, so the backslash was one.
                b'\\' => (INLINE_SINGLE_ESCAPE, byte as u64, 1),
                _ => (INLINE_SINGLE, (byte as u64) << 8 | b'\\' as u64, 2),
            },
            INLINE_CLOSED if is_space || is_thin_space => (INLINE_GAP, 0, 0),
            _ => (MALFORMED, 0, 0),
        };
        let was_gap = self.state == INLINE_GAP;
        self.state = state;
        if was_gap && state != INLINE_GAP && self.is_wanted() {
            self.key.begin();
        }
        if count > 0 && self.is_wanted() {
            self.key.append(if self.is_word() { lower(bytes) } else { bytes }, count);
        }
        if !was_gap && state == INLINE_GAP {
            self.word_ends();
        }
    }

    #[inline(always)]
    fn line_ends(&mut self) {
        match self.state {
            INLINE_GAP => {}
            INLINE_WORD | INLINE_CLOSED => self.word_ends(),
            _ => {
                // A quote is open.
                self.state = MALFORMED;
                return;
            }
        }
        self.state = START;
        if self.argument > 0 {
            self.work |= DO_COMMAND;
        }
    }

    #[inline(always)]
    fn word_ends(&mut self) {
        if self.is_wanted() {
            self.taken();
        }
        self.argument = self.argument.wrapping_add(1);
    }

    /// Whether the word at hand is the name, a subcommand or a key.
    #[inline(always)]
    const fn is_wanted(&self) -> bool {
        self.is_word() || self.is_key()
    }
}
