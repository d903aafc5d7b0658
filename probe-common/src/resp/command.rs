//! Describes a command for the parser: its number, the places of its keys, and its effect on the connection.

use crate::key::KeyText;

/// The maximum number of command numbers of a store. Number 0 is every command that the store does not list.
pub const MAX_COMMANDS: usize = 512;

/// The number of families of commands. Latency is measured by family; family 0 has the commands that belong to none.
pub const FAMILIES: usize = 15;

/// The longest command name in bytes. A longer name is an unknown command.
pub const MAX_NAME: u32 = 64;

/// The purpose of a command.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandClass {
    /// It has no key, or it neither reads nor writes data.
    #[default]
    Other = 0,
    /// It reads keys.
    Read = 1,
    /// It writes keys.
    Write = 2,
}

/// A command's effect on its connection, apart from data.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    #[default]
    None = 0,
    /// `MULTI`: the commands behind it are queued.
    Multi = 1,
    /// `EXEC`: the queued commands run, or are discarded.
    Exec = 2,
    /// `DISCARD`: the queued commands are discarded.
    Discard = 3,
    /// `QUIT`: the store reads nothing behind it.
    Quit = 4,
    /// The replies can no longer be matched with the commands: subscriptions, `MONITOR`, `PSYNC`.
    Unpaired = 5,
    /// `CLIENT`: the parser reads which one.
    Client = 6,
    /// `RESET`: it ends transactions and subscriptions.
    Reset = 7,
    /// `CLIENT REPLY`: from here on, some commands have no reply.
    Reply = 8,
}

impl Effect {
    const ALL: [Self; 9] = [
        Self::None,
        Self::Multi,
        Self::Exec,
        Self::Discard,
        Self::Quit,
        Self::Unpaired,
        Self::Client,
        Self::Reset,
        Self::Reply,
    ];

    /// Returns the effect of the command with this name in lower case.
    #[must_use]
    pub const fn of_name(name: &[u8]) -> Self {
        match name {
            b"multi" => Self::Multi,
            b"exec" => Self::Exec,
            b"discard" => Self::Discard,
            b"quit" => Self::Quit,
            b"client" => Self::Client,
            b"reset" => Self::Reset,
            b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe"
            | b"sunsubscribe" | b"monitor" | b"sync" | b"psync" => Self::Unpaired,
            _ => Self::None,
        }
    }

    #[inline(always)]
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Multi,
            2 => Self::Exec,
            3 => Self::Discard,
            4 => Self::Quit,
            5 => Self::Unpaired,
            6 => Self::Client,
            7 => Self::Reset,
            8 => Self::Reply,
            _ => Self::None,
        }
    }
}

/// In a packed command: its number. The bits above it are its family.
pub(super) const NUMBER: u16 = (1 << FAMILY_SHIFT) - 1;
const FAMILY_SHIFT: u32 = 12;

const _: () = assert!(MAX_COMMANDS <= 1 << FAMILY_SHIFT && FAMILIES <= 1 << (16 - FAMILY_SHIFT));

/// Returns the family in the word that [`CommandSpec::number_and_family`] makes.
#[inline(always)]
pub(super) const fn family(word: u16) -> u8 {
    (word >> FAMILY_SHIFT) as u8
}

/// In a packed command, beside its class.
const BLOCKS: u8 = 0x80;

/// A command as the store describes it in the reply to `COMMAND`. Arguments are counted from 0, the name.
///
/// The value of the map `COMMANDS` is [packed](Self::pack) into a `u64`. The default is an unknown command: no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandSpec {
    /// The index in [`CommandCounters::by_number`](super::CommandCounters::by_number), from 1 to
    /// [`MAX_COMMANDS`] - 1.
    pub number: u16,
    /// The index of its family, below [`FAMILIES`].
    pub family: u8,
    /// The command's purpose.
    pub class: CommandClass,
    /// Its effect on the connection.
    pub effect: Effect,
    /// Whether it may wait for data.
    pub blocks: bool,
    /// The argument with the first key; 0 if the command has no keys.
    pub first_key: u8,
    /// The argument with the last key. A negative number counts from the end: -1 is the last argument. Not used if
    /// [`numkeys`](Self::numkeys) is set.
    pub last_key: i8,
    /// The distance from one key to the next.
    pub step: u8,
    /// The argument that holds the number of keys, before the first key; 0 if none does.
    pub numkeys: u8,
}

impl CommandSpec {
    /// A command that the store does not list.
    pub const UNKNOWN: Self = Self {
        number: 0,
        family: 0,
        class: CommandClass::Other,
        effect: Effect::None,
        blocks: false,
        first_key: 0,
        last_key: 0,
        step: 0,
        numkeys: 0,
    };

    /// Returns the value for the map `COMMANDS`.
    #[must_use]
    pub const fn pack(self) -> u64 {
        let [low, high] = self.number_and_family().to_le_bytes();
        u64::from_le_bytes([
            low,
            high,
            self.class as u8 | if self.blocks { BLOCKS } else { 0 },
            self.effect as u8,
            self.first_key,
            self.last_key.cast_unsigned(),
            self.step,
            self.numkeys,
        ])
    }

    /// Returns number and family in one word.
    #[inline(always)]
    pub(super) const fn number_and_family(self) -> u16 {
        self.number & NUMBER | (self.family as u16) << FAMILY_SHIFT
    }

    /// Returns the command of a packed value.
    #[must_use]
    #[inline(always)]
    pub const fn unpack(packed: u64) -> Self {
        Self {
            number: packed as u16 & NUMBER,
            family: family(packed as u16),
            class: match (packed >> 16) as u8 & !BLOCKS {
                1 => CommandClass::Read,
                2 => CommandClass::Write,
                _ => CommandClass::Other,
            },
            effect: Effect::from_number((packed >> 24) as u8),
            blocks: (packed >> 16) as u8 & BLOCKS != 0,
            first_key: (packed >> 32) as u8,
            last_key: (packed >> 40) as i8,
            step: (packed >> 48) as u8,
            numkeys: (packed >> 56) as u8,
        }
    }
}

/// Returns the key of a command in the map `COMMANDS`. `name` is in lower case.
#[must_use]
pub fn hash_name(name: &[u8]) -> u64 {
    let mut text = KeyText::default();
    for bytes in name.chunks(8) {
        let word = bytes.iter().rev().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        text.append(word, bytes.len() as u32);
    }
    text.end();
    text.hash
}

const _: () = {
    let mut at = 0;
    while at < Effect::ALL.len() {
        assert!(Effect::ALL[at] as usize == at && Effect::from_number(at as u8) as usize == at);
        at += 1;
    }
};
