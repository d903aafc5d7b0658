//! Reads which arguments of each command are keys, from the reply of `COMMAND`.

use crate::reply::Reply;

mod builtin;
mod family;

pub use builtin::{BUILT_IN_OF, built_in};
pub use family::Family;

/// A command with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Lower case.
    pub name: String,
    /// What it does to its keys.
    pub class: Class,
    /// The type of its data.
    pub family: Family,
    /// Where its keys are.
    pub keys: KeyPositions,
    /// Whether it may wait for data.
    pub blocks: bool,
}

/// What a command does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// It has no keys, or is neither a read nor a write.
    #[default]
    Other,
    /// It reads keys.
    Read,
    /// It may write keys.
    Write,
}

/// Positions of the keys among the arguments. The command's name is argument 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPositions {
    /// The first key; 0 if there is none.
    pub first: u8,
    /// The last key. Negative numbers count from the end: −1 is the last argument. Not used with `count_at`.
    pub last: i8,
    /// From one key to the next.
    pub step: u8,
    /// The argument with the number of keys, and the first key follows it; 0 if there is none.
    pub count_at: u8,
    /// Whether there are, or may be, keys that these positions do not cover, such as those after a keyword.
    pub has_others: bool,
}

/// The field with a command's ACL categories.
const CATEGORIES: usize = 6;

/// Parses the reply. Entries that cannot be understood are left out. `None` if the reply is no list of commands.
#[must_use]
pub fn parse(reply: &Reply) -> Option<Vec<Command>> {
    let commands: Vec<Command> = reply.list()?.iter().filter_map(command).collect();
    (!commands.is_empty()).then_some(commands)
}

/// Name, arity, flags, first key, last key, step; since Redis 7 ACL categories, tips, key specifications, subcommands.
fn command(entry: &Reply) -> Option<Command> {
    let fields = entry.list()?;
    let name = fields.first()?.text()?.to_ascii_lowercase();
    let flags = fields.get(2)?.list()?;
    let has = |wanted: &str| flags.iter().any(|flag| flag.text() == Some(wanted));
    let subcommands = fields.get(9).and_then(Reply::list).unwrap_or_default();
    let number = |at: usize| fields.get(at).and_then(Reply::integer).unwrap_or_default();
    let specifications = fields.get(8).and_then(Reply::list).unwrap_or_default();
    let mut keys = KeyPositions {
        first: u8::try_from(number(3)).unwrap_or_default(),
        last: i8::try_from(number(4)).unwrap_or_default(),
        step: u8::try_from(number(5)).unwrap_or_default(),
        count_at: 0,
        has_others: has("movablekeys"),
    };
    if keys.first == 0
        && let Some(found) = first_counted(specifications)
    {
        keys = KeyPositions { has_others: specifications.len() > 1, ..found };
    } else if keys.first == 0 {
        keys = of_subcommands(subcommands).unwrap_or(keys);
    }
    let class = if has("write") || subcommands.iter().any(|one| is(one, "write")) {
        Class::Write
    } else if has("readonly") || subcommands.iter().any(|one| is(one, "readonly")) {
        Class::Read
    } else if keys.first > 0 {
        // EVAL and its like may do both.
        Class::Write
    } else {
        Class::Other
    };
    let class = if keys.first == 0 && !keys.has_others { Class::Other } else { class };
    let family = match categories(entry) {
        Some(own) => {
            let all = own.iter().chain(subcommands.iter().filter_map(categories).flatten());
            family::of_categories(all).unwrap_or_default()
        }
        // A server before Redis 6.
        None => family::built_in(&name),
    };
    Some(Command { name, class, family, keys, blocks: has("blocking") })
}

/// The ACL categories, which servers report since Redis 6.
fn categories(entry: &Reply) -> Option<&[Reply]> {
    entry.list()?.get(CATEGORIES)?.list()
}

/// The first specification whose number of keys is an argument: EVAL, ZINTER, LMPOP.
fn first_counted(specifications: &[Reply]) -> Option<KeyPositions> {
    specifications.iter().find_map(|specification| {
        let begin = specification.field("begin_search")?;
        let find = specification.field("find_keys")?;
        if begin.field("type")?.text()? != "index" || find.field("type")?.text()? != "keynum" {
            return None;
        }
        let start = begin.field("spec")?.field("index")?.integer()?;
        let spec = find.field("spec")?;
        let (count, first) = (spec.field("keynumidx")?.integer()?, spec.field("firstkey")?.integer()?);
        Some(KeyPositions {
            first: u8::try_from(start.checked_add(first)?).ok()?,
            last: 0,
            step: u8::try_from(spec.field("keystep")?.integer()?).ok()?,
            count_at: u8::try_from(start.checked_add(count)?).ok()?,
            has_others: false,
        })
    })
}

/// A container such as OBJECT has no keys itself. Its keys are those of its subcommands, where all that have any agree.
fn of_subcommands(subcommands: &[Reply]) -> Option<KeyPositions> {
    let mut found: Option<KeyPositions> = None;
    let mut keyless = false;
    for subcommand in subcommands {
        let Command { keys, .. } = command(subcommand)?;
        if keys.first == 0 {
            keyless = true;
        } else if found.is_none_or(|other| other == keys) {
            found = Some(keys);
        } else {
            return None;
        }
    }
    // MEMORY USAGE has a key and MEMORY STATS none. A command too short to have the argument has no key.
    found.map(|keys| KeyPositions {
        has_others: keys.has_others || keyless && keys.last != keys.first.cast_signed(),
        ..keys
    })
}

fn is(entry: &Reply, flag: &str) -> bool {
    let flags = entry.list().and_then(|fields| fields.get(2)).and_then(Reply::list);
    flags.is_some_and(|flags| flags.iter().any(|one| one.text() == Some(flag)))
}
