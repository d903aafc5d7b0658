//! A request's key: its last bytes, and a hash.
//!
//! At most 64 bytes are kept. The hash covers all bytes.
//!
//! The bytes are those of the request target, with percent-encoding. Two spellings of a key are two keys here. User
//! space merges them.

/// The longest key that is kept whole, in bytes. Of a longer key only the end is kept. Its hash and length
/// distinguish it.
pub const KEY_BYTES: usize = 64;

/// [`KEY_BYTES`] in words.
pub const KEY_WORDS: usize = KEY_BYTES / 8;

/// Words of a short key. With its hash and length they fit into a cache line beside one more word.
pub const SHORT_WORDS: usize = 5;

/// The longest short key in bytes.
pub const SHORT_KEY: u32 = SHORT_WORDS as u32 * 8;

/// A key that is being read or has been read. All zeros is no key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyText {
    /// Hash over all bytes and the length. Valid after [`end`](Self::end).
    pub hash: u64,
    /// Length of the whole key in bytes, also of bytes that are not kept.
    pub length: u32,
    /// The protocol's own, for a staged key. 0 is a key and nothing else.
    pub tag: u32,
    /// The key's last words, the last one first. Each word holds eight bytes of the key, the first one lowest. The
    /// key's last word may hold fewer.
    pub words: [u64; KEY_WORDS],
    /// Bytes that do not yet fill a word.
    partial: u64,
}

impl KeyText {
    /// No key.
    pub const NONE: Self = Self { hash: 0, length: 0, tag: 0, words: [0; KEY_WORDS], partial: 0 };

    /// Resets the key to zeros.
    #[inline(always)]
    pub fn begin(&mut self) {
        let mut at = 0;
        while at < KEY_WORDS {
            // Without `black_box` the compiler emits a call of `memset`, a loop over bytes.
            self.words[at] = core::hint::black_box(0);
            at += 1;
        }
        self.hash = core::hint::black_box(0);
        self.partial = core::hint::black_box(0);
        self.length = 0;
    }

    /// Appends the lowest `count` bytes of `word` (1 to 8). The result does not depend on how the bytes are divided
    /// among calls.
    #[inline(always)]
    pub fn append(&mut self, word: u64, count: u32) {
        let unused = (8_u32.wrapping_sub(count) & 7) * 8;
        let bytes = (word << unused) >> unused;
        let within = self.length & 7;
        self.partial |= bytes << (within * 8);
        if within + count >= 8 {
            self.put();
            // Two shifts, because a shift by 64 is undefined.
            self.partial = (bytes >> 1) >> (63 - within * 8);
        }
        self.length = self.length.wrapping_add(count);
    }

    /// Completes the key: its hash is valid afterwards.
    #[inline(always)]
    pub fn end(&mut self) {
        if self.length & 7 != 0 {
            self.put();
        }
        self.hash = finish(self.hash ^ self.length as u64);
    }

    /// Stores the filled word. All words shift by one, so that no address depends on the length.
    #[inline(always)]
    fn put(&mut self) {
        self.hash = mix(self.hash, self.partial);
        let [a, b, c, d, e, f, g, _] = self.words;
        self.words = [self.partial, a, b, c, d, e, f, g];
    }
}

/// Returns the kept bytes of a key with these words and this length: the whole key, or its end.
pub fn kept(words: &[u64; KEY_WORDS], length: u32) -> impl Iterator<Item = u8> + '_ {
    let (whole, rest) = (length as usize / 8, length as usize % 8);
    let count = if rest > 0 { whole + 1 } else { whole };
    let bytes = words.iter().take(count).rev().flat_map(|word| word.to_le_bytes());
    let unused = if rest > 0 { 8 - rest } else { 0 };
    bytes.take(count.min(KEY_WORDS) * 8 - unused)
}

/// One step of Firefox's hash (FxHash). It is fast, and [`finish`] makes up for its weak mixing.
#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// The finalizer of MurmurHash3: every bit of the result depends on every bit of `hash`.
#[inline(always)]
const fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
