//! What an answer says, and whether it is the right one.

use protocol::ShardId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::client::{Answer, ClientError};
use crate::scenario::Operation;

/// What the generator reads of an answer; a shard's own has neither `cache_hit` nor `coalesced`.
#[derive(Debug, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    shard_id: ShardId,
    #[serde(default)]
    cache_hit: bool,
    #[serde(default)]
    coalesced: bool,
}

/// What an answer of 404 says.
#[derive(Debug, Deserialize)]
struct ErrorFields<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// What a right answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// It names this key.
    pub key: &'a str,
    /// The key's shard by the modulo placement.
    pub owner: ShardId,
    /// How many shards there are.
    pub shards: u32,
    /// Whether another shard may have answered, as one with a copy does.
    pub any_shard: bool,
}

/// Where a right answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The shard was asked for it.
    Shard,
    /// The gateway's cache.
    Cache,
    /// Another request's fetch.
    Coalesced,
}

/// A right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The shard it names; of one that names none, the key's owner.
    pub shard: ShardId,
    /// Where it came from.
    pub origin: Origin,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No answer.
    Transport,
    /// Another status than the one to be expected.
    Status,
    /// No JSON, or fields missing.
    Body,
    /// The answer names another key.
    WrongKey,
    /// The answer names another shard than the placement, or one that is not there.
    WrongShard,
}

/// Checks an answer.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(answer: Result<Answer<'_>, ClientError>, expected: &Expected<'_>) -> Result<Right, Fault> {
    let answer = answer.map_err(|_| Fault::Transport)?;
    if expected.operation == Operation::ReadAbsent {
        return absent(&answer).map(|()| Right { shard: expected.owner, origin: Origin::Shard });
    }
    if answer.status != 200 {
        return Err(Fault::Status);
    }
    let fields: Fields<'_> = serde_json::from_slice(answer.body).map_err(|_| Fault::Body)?;
    if fields.key != expected.key {
        return Err(Fault::WrongKey);
    }
    let shard = fields.shard_id;
    let may_answer = if expected.any_shard { shard.0 < expected.shards } else { shard == expected.owner };
    if !may_answer {
        return Err(Fault::WrongShard);
    }
    let origin = match (fields.cache_hit, fields.coalesced) {
        (true, _) => Origin::Cache,
        (false, true) => Origin::Coalesced,
        (false, false) => Origin::Shard,
    };
    Ok(Right { shard, origin })
}

/// A 404 that says that the key is not there, not the path.
fn absent(answer: &Answer<'_>) -> Result<(), Fault> {
    if answer.status != 404 {
        return Err(Fault::Status);
    }
    let fields: ErrorFields<'_> = serde_json::from_slice(answer.body).map_err(|_| Fault::Body)?;
    if fields.kind == "not_found" { Ok(()) } else { Err(Fault::Body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected<'_> =
        Expected { operation: Operation::Read, key: "k", owner: ShardId(1), shards: 4, any_shard: false };

    fn checked(status: u16, body: &str) -> Result<Origin, Fault> {
        check(Ok(Answer { status, body: body.as_bytes() }), &EXPECTED).map(|right| {
            assert_eq!(right.shard, ShardId(1));
            right.origin
        })
    }

    fn of(more: &str) -> String {
        format!("{{\"key\":\"k\",\"value\":{{\"x\":1}},\"shard_id\":1{more}}}")
    }

    #[test]
    fn every_kind_of_answer_is_told_apart() {
        assert_eq!(checked(200, &of("")), Ok(Origin::Shard));
        assert_eq!(checked(200, &of(",\"cache_hit\":false")), Ok(Origin::Shard));
        assert_eq!(checked(200, &of(",\"cache_hit\":true")), Ok(Origin::Cache));
        assert_eq!(checked(200, &of(",\"cache_hit\":false,\"coalesced\":true")), Ok(Origin::Coalesced));
        assert_eq!(checked(503, &of("")), Err(Fault::Status));
        assert_eq!(checked(200, "{}"), Err(Fault::Body));
        assert_eq!(checked(200, &of("").replace("\"k\"", "\"l\"")), Err(Fault::WrongKey));
        assert_eq!(checked(200, &of("").replace("d\":1", "d\":2")), Err(Fault::WrongShard));
        assert_eq!(check(Err(ClientError::Closed), &EXPECTED), Err(Fault::Transport));
    }

    #[test]
    fn a_copy_may_answer_where_that_is_so_but_not_a_shard_that_is_not_there() {
        let expected = Expected { any_shard: true, ..EXPECTED };
        let from = |shard: u32| {
            let body = of("").replace("d\":1", &format!("d\":{shard}"));
            check(Ok(Answer { status: 200, body: body.as_bytes() }), &expected)
        };
        assert_eq!(from(3), Ok(Right { shard: ShardId(3), origin: Origin::Shard }));
        assert_eq!(from(4), Err(Fault::WrongShard));
    }

    #[test]
    fn only_a_key_that_is_not_there_is_absent() {
        let expected = Expected { operation: Operation::ReadAbsent, ..EXPECTED };
        let said = |status, body: &str| check(Ok(Answer { status, body: body.as_bytes() }), &expected);
        let not_found = "{\"detail\":\"no such key\",\"kind\":\"not_found\"}";
        assert_eq!(said(404, not_found), Ok(Right { shard: ShardId(1), origin: Origin::Shard }));
        assert_eq!(said(404, &not_found.replace("not_found", "no_such_route")), Err(Fault::Body));
        assert_eq!(said(404, "gone"), Err(Fault::Body));
        assert_eq!(said(200, &of("")), Err(Fault::Status));
    }
}
