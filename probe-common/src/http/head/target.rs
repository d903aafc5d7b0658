//! The request target: allowed bytes, and the end of the key.
//!
//! `http::uri::PathAndQuery` defines the sets of allowed bytes. `httparse` requires valid UTF-8 in the whole target.

use super::swar::{below, beyond_ascii, byte_at, equal, first};
use super::{
    CHARACTER, FRAGMENT, Head, KEY, KIND_GET, KIND_SET, MALFORMED, PATH, QUERY, TARGET_END, UNJUDGED, VERSION,
};

impl Head {
    #[inline(always)]
    pub(super) fn target_first(&mut self, byte: u8) {
        self.state = match byte {
            b'/' => PATH,
            b'*' => TARGET_END,
            0x00..=b' ' | 0x7f => MALFORMED,
            // An absolute URI or an authority. Following hyper's rules for them would exceed a kernel program's
            // limits.
            _ => UNJUDGED,
        };
    }

    /// Handles the byte after `*`.
    #[inline(always)]
    pub(super) fn target_end(&mut self, byte: u8) {
        match byte {
            b' ' => self.target_ends(),
            0x00..=b' ' | 0x7f => self.state = MALFORMED,
            _ => self.state = UNJUDGED,
        }
    }

    #[inline(always)]
    fn target_ends(&mut self) {
        self.state = VERSION;
        self.matched = 0;
    }

    #[inline(always)]
    pub(super) fn path(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let plain = first(path_stops(word));
        if plain >= available {
            return available;
        }
        if plain > 0 {
            return plain;
        }
        self.path_byte(byte);
        1
    }

    /// Reads a byte of a path whose kind is already decided.
    #[inline(always)]
    pub(super) fn path_byte(&mut self, byte: u8) {
        match byte {
            b' ' => self.target_ends(),
            b'?' => self.state = QUERY,
            b'#' => self.state = FRAGMENT,
            0x00..=0x1f | b'<' | b'>' | b'`' | 0x7f => self.state = MALFORMED,
            0x80.. => self.character_begins(byte, PATH),
            _ => self.state = PATH,
        }
    }

    #[inline(always)]
    pub(super) fn key_first(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        if matches!(byte, b' ' | b'/' | b'?' | b'#') {
            self.path_byte(byte);
            return 1;
        }
        self.state = KEY;
        self.key.begin();
        self.key(word, byte, available)
    }

    #[inline(always)]
    pub(super) fn key(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let plain = first(key_stops(word));
        let plain = if plain < available { plain } else { available };
        let byte_behind = byte_at(word, plain);
        if plain > 0 {
            self.key.append(word, plain);
            // The most common end takes one step, together with the bytes before it.
            if plain < available && byte_behind == b' ' {
                self.kind = KIND_GET;
                self.key.end();
                self.target_ends();
                return plain + 1;
            }
            return plain;
        }
        match byte {
            0x80.. => {
                self.key.append(word, 1);
                self.character_begins(byte, KEY);
            }
            b'/' => self.state = PATH,
            _ => {
                self.kind = KIND_GET;
                self.key.end();
                self.path_byte(byte);
            }
        }
        1
    }

    #[inline(always)]
    pub(super) fn post_end(&mut self, byte: u8) {
        if matches!(byte, b' ' | b'?' | b'#') {
            self.kind = KIND_SET;
        }
        self.path_byte(byte);
    }

    #[inline(always)]
    pub(super) fn query(&mut self, word: u64, byte: u8, available: u32) -> u32 {
        let stops =
            below(word, b'$') | equal(word | EITHER_ANGLE, b'>') | equal(word, 0x7f) | beyond_ascii(word);
        let plain = first(stops);
        if plain >= available {
            return available;
        }
        if plain > 0 {
            return plain;
        }
        match byte {
            b' ' => self.target_ends(),
            b'#' => self.state = FRAGMENT,
            0x00..=0x1f | b'"' | b'<' | b'>' | 0x7f => self.state = MALFORMED,
            0x80.. => self.character_begins(byte, QUERY),
            _ => {}
        }
        1
    }

    #[inline(always)]
    pub(super) fn fragment_byte(&mut self, byte: u8) {
        match byte {
            b' ' => self.target_ends(),
            0x00..=0x1f | 0x7f => self.state = MALFORMED,
            0x80.. => self.character_begins(byte, FRAGMENT),
            _ => {}
        }
    }

    /// Reads the first byte of a multi-byte character. Only the second byte can have narrower bounds than the others
    /// (Unicode 15.0, table 3-7).
    #[inline(always)]
    fn character_begins(&mut self, byte: u8, back: u8) {
        let (low, high, more) = match byte {
            0xc2..=0xdf => (0x80, 0xbf, 0),
            0xe0 => (0xa0, 0xbf, 1),
            0xed => (0x80, 0x9f, 1),
            0xe1..=0xef => (0x80, 0xbf, 1),
            0xf0 => (0x90, 0xbf, 2),
            0xf1..=0xf3 => (0x80, 0xbf, 2),
            0xf4 => (0x80, 0x8f, 2),
            _ => {
                self.state = MALFORMED;
                return;
            }
        };
        self.state = CHARACTER;
        self.matched = back;
        self.number = low | high << 8 | more << 16;
    }

    #[inline(always)]
    pub(super) fn character(&mut self, byte: u8) {
        if self.matched == KEY {
            self.key.append(byte as u64, 1);
        }
        let (low, high, more) = (self.number as u8, (self.number >> 8) as u8, self.number >> 16);
        if byte < low || byte > high {
            self.state = MALFORMED;
        } else if more == 0 {
            self.state = self.matched;
        } else {
            self.number = 0x80 | 0xbf << 8 | (more - 1) << 16;
        }
    }
}

/// Whether the lowest `count` bytes (1 to 8) are all plain: ASCII, allowed in a key, and not its end.
#[inline(always)]
pub(crate) const fn is_plain_key(word: u64, count: u32) -> bool {
    // Marks are exact up to the lowest one. Bytes after `count` are shifted out.
    key_stops(word) << ((8_u32.wrapping_sub(count) & 7) * 8) == 0
}

#[inline(always)]
const fn key_stops(word: u64) -> u64 {
    path_stops(word) | equal(word, b'/')
}

/// The one bit in which `<` and `>` differ, in every byte.
const EITHER_ANGLE: u64 = 0x0202_0202_0202_0202;

/// Marks bytes that end a path, are not allowed in one, or are not ASCII.
#[inline(always)]
const fn path_stops(word: u64) -> u64 {
    below(word, b'!')
        | equal(word, b'#')
        | equal(word | EITHER_ANGLE, b'>')
        | equal(word, b'?')
        | equal(word, b'`')
        | equal(word, 0x7f)
        | beyond_ascii(word)
}
