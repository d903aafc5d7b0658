//! The command parser: a state machine over one connection's bytes.
//!
//! A command is `*N\r\n` and N arguments `$L\r\n<L bytes>\r\n`, or a line of words (an inline command). The parser
//! accepts what Redis accepts (`processMultibulkBuffer`, `processInlineBuffer`):
//!
//! - an empty array or a negative count, which is no command
//! - any byte in place of the LF of a count or length, and any two bytes behind an argument
//! - quoted words in inline commands
//!
//! A command counts once its last byte has been seen. Arguments that are neither name nor key are skipped by their
//! length. The driver looks the name up ([`Head::has_name`], [`Head::named`]), takes keys ([`Head::has_key`]) and
//! counts the command ([`Head::is_complete`]).

mod array;
mod inline;

pub(super) use array::CRLF;

use super::{CommandClass, CommandSpec, Effect, Tag, command};
use crate::{
    key::KeyText,
    protocol::{HEAD_BYTES, Parser},
    requests::{Reason, Tally},
};

/// The longest argument: Redis's default of `proto-max-bulk-len`.
const MAX_BULK: u64 = 512 * 1024 * 1024;

/// The maximum number of arguments of a command.
const MAX_ARGUMENTS: u64 = i32::MAX as u64;

/// The maximum size of an inline command in bytes (`PROTO_INLINE_MAX_SIZE`).
const MAX_INLINE: u64 = 64 * 1024;

/// The parser's position in a connection's byte stream. All zeros is the beginning of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Remaining bytes of the argument that is being skipped, and the two bytes behind it.
    body: u32,
    /// Commands queued in this transaction.
    queued: u32,
    /// The value in use, which depends on the state: the number being read, the remaining bytes of the argument being
    /// read, or the bytes of the inline command.
    number: u64,
    /// Arguments of this command; 0 for an inline command.
    count: u32,
    /// The argument being read; 0 is the name.
    argument: u32,
    /// The argument with the next key; 0 if there is none.
    next_key: u32,
    /// The last argument that may be a key. While the number of keys is read, that number.
    last_key: u32,
    /// The command's number and family.
    command: u16,
    /// A [`CommandClass`], an [`Effect`], [`IN_TRANSACTION`] and [`REPLIES_DECIDE`].
    kind: u8,
    /// The distance between keys.
    step: u8,
    /// The argument with the number of keys; 0 if there is none.
    numkeys: u8,
    state: u8,
    /// Digits of the number read so far, and [`NEGATIVE`].
    digits: u8,
    /// The driver's tasks: a combination of the `DO_*` bits, [`HAS_KEY`] and [`MAY_BLOCK`].
    work: u8,
    /// The name or key being read, or the last one read.
    key: KeyText,
}

const _: () = assert!(size_of::<Head>() == HEAD_BYTES);

/// Look the name up.
const DO_NAME: u8 = 1;
/// Take the key.
const DO_KEY: u8 = 2;
/// Count the command.
const DO_COMMAND: u8 = 4;
/// The command's last key has been read. It is taken with the command.
const HAS_KEY: u8 = 8;
/// The command may wait for data.
const MAY_BLOCK: u8 = 16;

const CLASS: u8 = 0x03;
const EFFECT_SHIFT: u32 = 2;
const EFFECT: u8 = 0x3c;
/// Between `MULTI` and `EXEC`, `DISCARD` or `RESET`. It stays from command to command.
const IN_TRANSACTION: u8 = 0x80;
/// Replies tell which commands of the transaction are discarded. It stays like [`IN_TRANSACTION`].
const REPLIES_DECIDE: u8 = 0x40;
const STAYS: u8 = IN_TRANSACTION | REPLIES_DECIDE;

/// The argument `REPLY` of `CLIENT`, in lower case and in memory order.
const REPLY: u64 = u64::from_le_bytes(*b"reply\0\0\0");
const REPLY_LENGTH: u32 = 5;

const NEGATIVE: u8 = 0x80;

/// Between commands.
const START: u8 = 0;
/// Inside the count behind `*`.
const COUNT: u8 = 1;
/// After the CR behind the count.
const COUNT_LF: u8 = 2;
/// At the `$` of an argument.
const BULK: u8 = 3;
/// Inside the length of an argument.
const LENGTH: u8 = 4;
/// After the CR behind the length.
const LENGTH_LF: u8 = 5;
/// Inside an argument that is a name or key.
const TAKE: u8 = 6;
/// Inside the argument with the number of keys.
const NUMKEYS: u8 = 7;
/// Inside an argument that is skipped, or in the two bytes behind an argument.
const SKIP: u8 = 8;
/// Between the words of an inline command.
const INLINE_GAP: u8 = 9;
/// Inside a word.
const INLINE_WORD: u8 = 10;
/// Inside double quotes.
const INLINE_DOUBLE: u8 = 11;
/// After a backslash inside double quotes.
const INLINE_DOUBLE_ESCAPE: u8 = 12;
/// Inside single quotes.
const INLINE_SINGLE: u8 = 13;
/// After a backslash inside single quotes.
const INLINE_SINGLE_ESCAPE: u8 = 14;
/// After a closing quote.
const INLINE_CLOSED: u8 = 15;
/// The store refuses the command and reads nothing after it.
const MALFORMED: u8 = 16;
/// After `QUIT`: the store reads nothing more.
const CLOSED: u8 = 17;

impl Parser for Head {
    #[inline(always)]
    fn restart(&mut self) {
        self.state = START;
        self.body = 0;
        self.work = 0;
        self.kind = 0;
    }

    #[inline(always)]
    fn stopped(&self) -> Option<Reason> {
        match self.state {
            MALFORMED => Some(Reason::Malformed),
            CLOSED => Some(Reason::Closed),
            _ => None,
        }
    }

    #[inline(always)]
    fn is_last(&self) -> bool {
        matches!(self.state, MALFORMED | CLOSED)
    }

    /// Also `false` inside a transaction, so that a snapshot keeps it.
    #[inline(always)]
    fn is_at_first_byte(&self) -> bool {
        self.state == START && self.kind & IN_TRANSACTION == 0
    }

    #[inline(always)]
    fn inside_request(&self) -> bool {
        !matches!(self.state, START | MALFORMED | CLOSED)
    }

    #[inline(always)]
    fn key(&self) -> &KeyText {
        &self.key
    }

    #[inline(always)]
    fn needs_driver(&self) -> bool {
        self.work & (DO_NAME | DO_KEY | DO_COMMAND) != 0
    }

    #[inline(always)]
    fn body(&self) -> u64 {
        self.body as u64
    }

    /// The last byte ends the argument, so it may not be missing.
    #[inline(always)]
    fn may_miss(&self) -> u64 {
        self.body.saturating_sub(1) as u64
    }

    #[inline(always)]
    fn miss(&mut self, count: u32) {
        self.body -= count;
    }

    #[inline(always)]
    fn skip_body(&mut self, available: u32, _: &mut Tally) -> u32 {
        if self.body > available {
            self.body -= available;
            return available;
        }
        let rest = self.body;
        self.body = 0;
        self.argument_ends();
        rest
    }

    #[inline(always)]
    fn step(&mut self, word: u64, available: u32, _: &mut Tally) -> u32 {
        let byte = word as u8;
        match self.state {
            START => return self.start(word, byte, available),
            COUNT => self.count_digit(byte),
            COUNT_LF => self.count_ends(),
            BULK => return self.bulk(word, byte, available),
            LENGTH => self.length_digit(byte),
            LENGTH_LF => self.argument_begins(self.number),
            TAKE => return self.take(word, available),
            NUMKEYS => self.numkeys_digit(byte),
            MALFORMED | CLOSED | SKIP => self.state = MALFORMED,
            _ => self.inline(byte),
        }
        1
    }
}

impl Head {
    /// Whether the driver has to look the name up: the hash of [`key`](Parser::key).
    #[must_use]
    #[inline(always)]
    pub const fn has_name(&self) -> bool {
        self.work & DO_NAME != 0
    }

    /// Whether the driver has to take the key, which is not its command's last one.
    #[must_use]
    #[inline(always)]
    pub const fn has_key(&self) -> bool {
        self.work & DO_KEY != 0
    }

    /// Whether the driver has to count the command.
    #[must_use]
    #[inline(always)]
    pub const fn is_complete(&self) -> bool {
        self.work & DO_COMMAND != 0
    }

    /// Returns the hash of the name that has been read.
    #[must_use]
    #[inline(always)]
    pub const fn name_hash(&self) -> u64 {
        self.key.hash
    }

    /// Returns the value to stage: the key, or the command with its last key.
    #[must_use]
    #[inline(always)]
    pub const fn tag(&self, discards: u32) -> Tag {
        if self.has_key() {
            return Tag::KEY;
        }
        Tag::command(self.number(), self.work & HAS_KEY != 0, discards > 0)
    }

    /// Stores the value to stage with the key.
    #[inline(always)]
    pub const fn set_tag(&mut self, tag: Tag) {
        self.key.tag = tag.value();
    }

    /// Returns how many queued commands the complete command discards, unless replies tell it.
    #[must_use]
    #[inline(always)]
    pub const fn discards(&self) -> u32 {
        let ends = matches!(self.effect(), Effect::Discard | Effect::Reset);
        let is_known = self.is_in_transaction() && !self.replies_decide();
        if self.is_complete() && ends && is_known { self.queued } else { 0 }
    }

    /// Lets replies tell which commands of the transaction that begins are discarded.
    #[inline(always)]
    pub(super) const fn let_replies_decide(&mut self, decide: bool) {
        self.kind = self.kind & !REPLIES_DECIDE | if decide { REPLIES_DECIDE } else { 0 };
    }

    #[inline(always)]
    pub(super) const fn replies_decide(&self) -> bool {
        self.kind & REPLIES_DECIDE != 0
    }

    /// The command's number.
    #[inline(always)]
    pub(super) const fn number(&self) -> u16 {
        self.command & command::NUMBER
    }

    /// The command's family.
    #[inline(always)]
    pub(super) const fn family(&self) -> u8 {
        command::family(self.command)
    }

    /// Whether the command reads or writes keys.
    #[inline(always)]
    pub(super) const fn is_data(&self) -> bool {
        self.kind & CLASS != 0
    }

    #[inline(always)]
    pub(super) const fn may_block(&self) -> bool {
        self.work & MAY_BLOCK != 0
    }

    #[inline(always)]
    pub(super) const fn effect(&self) -> Effect {
        Effect::from_number((self.kind & EFFECT) >> EFFECT_SHIFT)
    }

    #[inline(always)]
    pub(super) const fn is_in_transaction(&self) -> bool {
        self.kind & IN_TRANSACTION != 0
    }

    /// Marks the key as taken.
    #[inline(always)]
    pub const fn key_taken(&mut self) {
        self.work &= !DO_KEY;
    }

    /// Sets the store's description of the command whose name has been read.
    #[inline(always)]
    pub const fn named(&mut self, spec: CommandSpec) {
        self.work = self.work & !DO_NAME | if spec.blocks { MAY_BLOCK } else { 0 };
        self.command = spec.number_and_family();
        self.kind = self.kind & STAYS | spec.class as u8 | (spec.effect as u8) << EFFECT_SHIFT;
        self.step = spec.step;
        self.numkeys = spec.numkeys;
        self.next_key = spec.first_key as u32;
        self.last_key = self.last_key_of(spec);
        if self.count == 0 && (spec.numkeys != 0 || spec.last_key < -1) {
            // The number of arguments of an inline command is known only at its end.
            self.next_key = 0;
        }
    }

    /// Returns the last argument that may be a key.
    #[inline(always)]
    const fn last_key_of(&self, spec: CommandSpec) -> u32 {
        if self.count == 0 {
            return if spec.last_key < 0 { u32::MAX } else { spec.last_key as u32 };
        }
        if spec.last_key < 0 {
            return self.count.saturating_sub(spec.last_key.unsigned_abs() as u32);
        }
        let last = self.count - 1;
        if (spec.last_key as u32) < last { spec.last_key as u32 } else { last }
    }

    /// Marks the command as counted, adds it to `tally`, and applies its effect.
    #[inline(always)]
    pub const fn counted(&mut self, tally: &mut Tally) {
        self.work = 0;
        match self.kind & CLASS {
            1 => tally.get += 1,
            2 => tally.set += 1,
            _ => tally.control += 1,
        }
        match self.effect() {
            Effect::Multi => {
                self.kind |= IN_TRANSACTION;
                self.queued = 0;
            }
            Effect::Exec | Effect::Discard | Effect::Reset => self.kind &= !IN_TRANSACTION,
            Effect::Quit => self.state = CLOSED,
            _ => self.queued = self.queued.saturating_add(1),
        }
    }

    /// Resets the state of one command.
    #[inline(always)]
    const fn begin_command(&mut self) {
        self.argument = 0;
        self.number = 0;
        self.digits = 0;
        self.count = 0;
        self.command = 0;
        self.kind &= STAYS;
        self.step = 0;
        self.numkeys = 0;
        self.next_key = 0;
        self.last_key = 0;
    }

    /// Whether the argument at hand is a key.
    #[inline(always)]
    const fn is_key(&self) -> bool {
        self.argument != 0 && self.argument == self.next_key && self.argument <= self.last_key
    }

    /// Whether the argument at hand tells which `CLIENT` command it is.
    #[inline(always)]
    const fn is_subcommand(&self) -> bool {
        self.argument == 1 && matches!(self.effect(), Effect::Client)
    }

    /// Whether the argument at hand is read in lower case.
    #[inline(always)]
    const fn is_word(&self) -> bool {
        self.argument == 0 || self.is_subcommand()
    }

    /// The name, subcommand or key has been read.
    #[inline(always)]
    fn taken(&mut self) {
        self.key.end();
        if self.argument == 0 {
            self.work |= DO_NAME;
            return;
        }
        if self.is_subcommand() {
            if self.key.length == REPLY_LENGTH && self.key.words[0] == REPLY {
                self.kind = self.kind & !EFFECT | (Effect::Reply as u8) << EFFECT_SHIFT;
            }
            return;
        }
        self.next_key = if self.step == 0 { 0 } else { self.next_key.saturating_add(self.step as u32) };
        let is_last = self.next_key == 0 || self.next_key > self.last_key;
        self.work |= if is_last { HAS_KEY } else { DO_KEY };
    }
}

const _: () = assert!(CommandClass::Write as u8 <= CLASS && (Effect::Reply as u8) << EFFECT_SHIFT <= EFFECT);
