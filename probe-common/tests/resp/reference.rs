//! A plain parser of commands, for whole connections.

use probe_common::resp::{CommandClass, CommandSpec, Effect};

/// What the parser stages, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Staged {
    /// A key that is not its command's last one.
    Key(Vec<u8>),
    /// A complete command: its number, its last key, and how many queued commands it discards.
    Command(u16, Option<Vec<u8>>, u32),
}

/// The commands of the tests.
pub(crate) const COMMANDS: [(&str, CommandSpec); 9] = [
    ("get", spec(1, CommandClass::Read, Effect::None, (1, 1, 1, 0))),
    ("set", spec(2, CommandClass::Write, Effect::None, (1, 1, 1, 0))),
    ("mget", spec(3, CommandClass::Read, Effect::None, (1, -1, 1, 0))),
    ("mset", spec(4, CommandClass::Write, Effect::None, (1, -1, 2, 0))),
    ("eval", spec(5, CommandClass::Other, Effect::None, (3, 0, 1, 2))),
    ("multi", spec(6, CommandClass::Other, Effect::Multi, (0, 0, 0, 0))),
    ("discard", spec(7, CommandClass::Other, Effect::Discard, (0, 0, 0, 0))),
    ("exec", spec(8, CommandClass::Other, Effect::Exec, (0, 0, 0, 0))),
    ("ping", spec(9, CommandClass::Other, Effect::None, (0, 0, 0, 0))),
];

const fn spec(
    number: u16,
    class: CommandClass,
    effect: Effect,
    (first_key, last_key, step, numkeys): (u8, i8, u8, u8),
) -> CommandSpec {
    CommandSpec { number, class, effect, first_key, last_key, step, numkeys }
}

/// The command with this name.
pub(crate) fn named(name: &[u8]) -> CommandSpec {
    let name = name.to_ascii_lowercase();
    COMMANDS.iter().find(|(other, _)| other.as_bytes() == name).map(|(_, spec)| *spec).unwrap_or_default()
}

/// Reads a connection's bytes. The second value is how many were read before the first byte that no store accepts.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Staged> {
    let mut staged = Vec::new();
    let (mut in_transaction, mut queued) = (false, 0);
    while let Some((arguments, rest)) = command(bytes) {
        bytes = rest;
        if arguments.is_empty() {
            continue;
        }
        let spec = named(&arguments[0]);
        let mut keys = keys(spec, &arguments);
        let last = keys.pop();
        staged.extend(keys.into_iter().map(Staged::Key));
        let ends = matches!(spec.effect, Effect::Discard | Effect::Reset) && in_transaction;
        staged.push(Staged::Command(spec.number, last, if ends { queued } else { 0 }));
        match spec.effect {
            Effect::Multi => (in_transaction, queued) = (true, 0),
            Effect::Exec | Effect::Discard | Effect::Reset => in_transaction = false,
            _ => queued += 1,
        }
    }
    staged
}

/// The first command's arguments, and the bytes behind it. `None` if it is not complete or not valid.
fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    if bytes.first()? != &b'*' {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let words = bytes[..end].split(|byte| b" \t\r".contains(byte)).filter(|word| !word.is_empty());
        return Some((words.map(<[u8]>::to_vec).collect(), &bytes[end + 1..]));
    }
    let (count, mut rest) = number(&bytes[1..])?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let (length, behind) = number(rest.strip_prefix(b"$")?)?;
        let length = usize::try_from(length).ok()?;
        arguments.push(behind.get(..length)?.to_vec());
        rest = behind.get(length + 2..)?;
    }
    Some((arguments, rest))
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let digits = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((digits.parse().ok()?, &bytes[end + 2..]))
}

fn keys(spec: CommandSpec, arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let last = arguments.len() - 1;
    let first = usize::from(spec.first_key);
    if first == 0 || first > last {
        return Vec::new();
    }
    let to = if spec.numkeys > 0 {
        let digits = std::str::from_utf8(&arguments[usize::from(spec.numkeys)]).unwrap_or_default();
        let keys: usize = digits.parse().unwrap_or(0);
        if keys == 0 {
            return Vec::new();
        }
        (first + (keys - 1) * usize::from(spec.step)).min(last)
    } else if spec.last_key < 0 {
        arguments.len() - usize::from(spec.last_key.unsigned_abs())
    } else {
        usize::from(spec.last_key.unsigned_abs()).min(last)
    };
    (first..=to).step_by(usize::from(spec.step)).map(|at| arguments[at].clone()).collect()
}
