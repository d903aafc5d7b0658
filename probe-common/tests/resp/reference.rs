//! A plain parser of commands, for whole connections: what Redis reads (`processMultibulkBuffer`, `processInlineBuffer`).

use probe_common::resp::{CommandClass, CommandSpec, Effect, MAX_NAME};

/// Redis's default of `proto-max-bulk-len`.
const MAX_BULK: u64 = 512 << 20;

/// The most arguments that Redis takes.
const MAX_ARGUMENTS: u64 = i32::MAX as u64;

/// What the parser stages, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Staged {
    /// A key that is not its command's last one.
    Key(Vec<u8>),
    /// A complete command: its number, its last key, and how many queued commands it discards.
    Command(u16, Option<Vec<u8>>, u32),
}

/// The commands of the tests.
pub(crate) const COMMANDS: [(&str, CommandSpec); 11] = [
    ("get", spec(1, CommandClass::Read, Effect::None, (1, 1, 1, 0))),
    ("set", spec(2, CommandClass::Write, Effect::None, (1, 1, 1, 0))),
    ("mget", spec(3, CommandClass::Read, Effect::None, (1, -1, 1, 0))),
    ("mset", spec(4, CommandClass::Write, Effect::None, (1, -1, 2, 0))),
    ("eval", spec(5, CommandClass::Other, Effect::None, (3, 0, 1, 2))),
    ("multi", spec(6, CommandClass::Other, Effect::Multi, (0, 0, 0, 0))),
    ("discard", spec(7, CommandClass::Other, Effect::Discard, (0, 0, 0, 0))),
    ("exec", spec(8, CommandClass::Other, Effect::Exec, (0, 0, 0, 0))),
    ("ping", spec(9, CommandClass::Other, Effect::None, (0, 0, 0, 0))),
    ("blpop", spec(10, CommandClass::Write, Effect::None, (1, -2, 1, 0))),
    ("quit", spec(11, CommandClass::Other, Effect::Quit, (0, 0, 0, 0))),
];

const fn spec(
    number: u16,
    class: CommandClass,
    effect: Effect,
    (first_key, last_key, step, numkeys): (u8, i8, u8, u8),
) -> CommandSpec {
    CommandSpec {
        number,
        family: number as u8,
        class,
        effect,
        blocks: false,
        first_key,
        last_key,
        step,
        numkeys,
    }
}

/// The command with this name.
pub(crate) fn named(name: &[u8]) -> CommandSpec {
    let name = name.to_ascii_lowercase();
    let known =
        COMMANDS.iter().find(|(other, _)| other.as_bytes() == name && name.len() <= MAX_NAME as usize);
    known.map(|(_, spec)| *spec).unwrap_or_default()
}

/// Reads a connection's bytes, up to the first that no store accepts.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Staged> {
    let mut reader = Reader::default();
    while !reader.has_quit && !bytes.is_empty() {
        let rest = if bytes[0] == b'*' { reader.array(&bytes[1..]) } else { reader.line(bytes) };
        let Some(rest) = rest else { break };
        bytes = rest;
    }
    reader.staged
}

#[derive(Default)]
struct Reader {
    staged: Vec<Staged>,
    in_transaction: bool,
    queued: u32,
    has_quit: bool,
}

impl Reader {
    /// Reads an array behind its `*`. Returns the bytes behind it, or `None` if it is not complete or not valid.
    fn array<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (count, mut rest) = number(bytes)?;
        if count <= 0 {
            return Some(rest);
        }
        let count = usize::try_from(count).ok().filter(|count| *count as u64 <= MAX_ARGUMENTS)?;
        let mut arguments: Vec<&[u8]> = Vec::new();
        let mut next = || {
            let (length, behind) = number(rest.strip_prefix(b"$")?)?;
            let length = usize::try_from(length).ok().filter(|length| *length as u64 <= MAX_BULK)?;
            arguments.push(behind.get(..length)?);
            // The two bytes behind an argument may be any.
            rest = behind.get(length + 2..)?;
            Some(())
        };
        let is_complete = (0..count).all(|_| next().is_some());
        let spec = arguments.first().map(|name| named(name)).unwrap_or_default();
        let (keys, to) = (positions(spec, &arguments, count), last_position(spec, &arguments, count));
        let mut last = None;
        for at in keys.take_while(|at| *at < arguments.len()) {
            let key = arguments[at].to_vec();
            if at + usize::from(spec.step) > to {
                last = Some(key);
            } else {
                self.staged.push(Staged::Key(key));
            }
        }
        is_complete.then(|| self.command(spec, last))?;
        Some(rest)
    }

    /// Reads an inline command, as `array` does.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (words, is_valid) = words(&bytes[..end.unwrap_or(bytes.len())], end.is_some());
        let spec = words.first().map(|name| named(name)).unwrap_or_default();
        let is_last_known = spec.numkeys == 0 && spec.last_key >= -1;
        let first = if is_last_known { usize::from(spec.first_key) } else { 0 };
        let mut last = None;
        if first > 0 {
            let to = usize::try_from(spec.last_key).unwrap_or(usize::MAX);
            let keys = words.iter().enumerate().skip(first).step_by(usize::from(spec.step));
            for (at, key) in keys.take_while(|(at, _)| *at <= to) {
                if at + usize::from(spec.step) > to {
                    last = Some(key.clone());
                } else {
                    self.staged.push(Staged::Key(key.clone()));
                }
            }
        }
        let end = end.filter(|_| is_valid)?;
        if !words.is_empty() {
            self.command(spec, last);
        }
        Some(&bytes[end + 1..])
    }

    fn command(&mut self, spec: CommandSpec, last: Option<Vec<u8>>) {
        let ends = matches!(spec.effect, Effect::Discard | Effect::Reset) && self.in_transaction;
        self.staged.push(Staged::Command(spec.number, last, if ends { self.queued } else { 0 }));
        match spec.effect {
            Effect::Multi => (self.in_transaction, self.queued) = (true, 0),
            Effect::Exec | Effect::Discard | Effect::Reset => self.in_transaction = false,
            Effect::Quit => self.has_quit = true,
            _ => self.queued += 1,
        }
    }
}

/// Reads a number up to the byte behind its CR, as `string2ll` does.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let number: i64 = text.parse().ok()?;
    // No plus, no leading zeros.
    (number.to_string() == text).then_some(())?;
    Some((number, bytes.get(end + 2..)?))
}

/// The last argument that may be a key; 0 if none may.
fn last_position(spec: CommandSpec, arguments: &[&[u8]], count: usize) -> usize {
    let first = usize::from(spec.first_key);
    let last = if spec.numkeys > 0 {
        let Some(text) = arguments.get(usize::from(spec.numkeys)) else { return 0 };
        let mut keys = 0_usize;
        for byte in *text {
            if !byte.is_ascii_digit() || keys >= 1 << 24 {
                return 0;
            }
            keys = keys * 10 + usize::from(byte - b'0');
        }
        if keys == 0 {
            return 0;
        }
        first + (keys - 1) * usize::from(spec.step)
    } else if spec.last_key < 0 {
        return count.saturating_sub(usize::from(spec.last_key.unsigned_abs()));
    } else {
        usize::from(spec.last_key.unsigned_abs())
    };
    last.min(count - 1)
}

/// The arguments that are keys, of which the last ones may not have come.
fn positions(spec: CommandSpec, arguments: &[&[u8]], count: usize) -> impl Iterator<Item = usize> + use<> {
    let first = usize::from(spec.first_key);
    let to = if first == 0 { 0 } else { last_position(spec, arguments, count) };
    (first.max(1)..=to).step_by(usize::from(spec.step).max(1))
}

/// The words of a line as `sdssplitargs` splits it, and whether it is valid. Escapes stay without their backslash. Of a
/// line that is not complete or not valid, the words that have ended are returned.
fn words(line: &[u8], is_complete: bool) -> (Vec<Vec<u8>>, bool) {
    let is_space = |byte: u8| b" \t\r\x0b\x0c".contains(&byte);
    let (mut words, mut bytes) = (Vec::new(), line.iter().copied().peekable());
    loop {
        while bytes.next_if(|byte| is_space(*byte)).is_some() {}
        if bytes.peek().is_none() {
            return (words, true);
        }
        let mut word = Vec::new();
        let has_ended = loop {
            match bytes.next() {
                None => break is_complete,
                Some(0) => return (words, false),
                Some(b' ' | b'\t' | b'\r') => break true,
                Some(quote @ (b'"' | b'\'')) => {
                    let Some(text) = quoted(quote, &mut bytes) else { return (words, false) };
                    word.extend(text);
                    match bytes.next() {
                        None => break is_complete,
                        Some(byte) if is_space(byte) => break true,
                        Some(_) => return (words, false),
                    }
                }
                Some(byte) => word.push(byte),
            }
        };
        if has_ended {
            words.push(word);
        }
    }
}

/// The text behind an opening quote, up to the closing one.
fn quoted(quote: u8, bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut next = bytes.next()?;
    loop {
        match next {
            0 => return None,
            b'\\' => {
                let behind = bytes.next().filter(|byte| *byte != 0)?;
                if quote == b'"' || behind == b'\'' {
                    text.push(behind);
                } else {
                    // Inside single quotes only a quote is escaped.
                    text.push(b'\\');
                    next = behind;
                    continue;
                }
            }
            byte if byte == quote => return Some(text),
            byte => text.push(byte),
        }
        next = bytes.next()?;
    }
}
