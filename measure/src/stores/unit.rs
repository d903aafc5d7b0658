//! Draws commands of all kinds. A unit is one command or one transaction.

use super::connection::command;

/// Commands that belong together. All keys have the same hash tag.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// Number of the hash tag.
    pub(crate) tag: usize,
    /// Names and bytes.
    pub(crate) commands: Vec<(&'static str, Vec<u8>)>,
}

/// Number of keys of a kind within one tag.
const KEYS: usize = 8;

/// Draws one unit for keys of a tag.
pub(crate) fn draw(rng: &mut fastrand::Rng, tag: usize) -> Unit {
    let transaction = rng.u8(..100) < 4;
    let commands = if transaction {
        let inner = rng.usize(1..=3);
        let mut commands = vec![("multi", command(&["MULTI"]))];
        commands.extend((0..inner).map(|_| single(rng, tag)));
        commands.push(("exec", command(&["EXEC"])));
        commands
    } else {
        vec![single(rng, tag)]
    };
    Unit { tag, commands }
}

fn single(rng: &mut fastrand::Rng, tag: usize) -> (&'static str, Vec<u8>) {
    let number = rng.u32(..).to_string();
    let mut key = |kind: &str| format!("{kind}:{{{tag}}}{}", rng.usize(..KEYS));
    let (first, second, third) = (key("text"), key("text"), key("text"));
    let of = |name: &'static str, words: &[&str]| (name, command(words));
    match rng.u8(..20) {
        0..=5 => of("get", &["GET", &first]),
        6..=8 => of("set", &["SET", &first, &number]),
        9 => of("mget", &["MGET", &first, &second, &third]),
        10 => of("mset", &["MSET", &first, &number, &second, "", &third, "text"]),
        11 => of("del", &["DEL", &first, &format!("list:{{{tag}}}")]),
        12 | 13 => of("incr", &["INCR", &format!("count:{{{tag}}}")]),
        14 => of("expire", &["EXPIRE", &first, "60"]),
        15 => of("hset", &["hset", &format!("hash:{{{tag}}}"), &first, &number]),
        16 => of("lpush", &["LPUSH", &format!("list:{{{tag}}}"), &number, &number]),
        17 => of("zadd", &["ZADD", &format!("set:{{{tag}}}"), &number, &first]),
        _ => of("xadd", &["XADD", &format!("stream:{{{tag}}}"), "MAXLEN", "100", "*", "field", &number]),
    }
}
