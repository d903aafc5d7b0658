//! What an answer says, and whether it is the right one.

use protocol::ShardId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::client::{Answer, ClientError};

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

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No answer.
    Transport,
    /// A status other than 200.
    Status,
    /// No JSON, or fields missing.
    Body,
    /// The answer names another key.
    WrongKey,
    /// The answer names another shard than the placement.
    WrongShard,
}

/// Checks the answer to a request for `key`, which `owner` holds.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(answer: Result<Answer<'_>, ClientError>, key: &str, owner: ShardId) -> Result<Origin, Fault> {
    let answer = answer.map_err(|_| Fault::Transport)?;
    if answer.status != 200 {
        return Err(Fault::Status);
    }
    let fields: Fields<'_> = serde_json::from_slice(answer.body).map_err(|_| Fault::Body)?;
    if fields.key != key {
        return Err(Fault::WrongKey);
    }
    if fields.shard_id != owner {
        return Err(Fault::WrongShard);
    }
    Ok(match (fields.cache_hit, fields.coalesced) {
        (true, _) => Origin::Cache,
        (false, true) => Origin::Coalesced,
        (false, false) => Origin::Shard,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(status: u16, body: &str) -> Result<Origin, Fault> {
        check(Ok(Answer { status, body: body.as_bytes() }), "k", ShardId(1))
    }

    #[test]
    fn every_kind_of_answer_is_told_apart() {
        let of = |more: &str| format!("{{\"key\":\"k\",\"value\":{{\"x\":1}},\"shard_id\":1{more}}}");
        assert_eq!(checked(200, &of("")), Ok(Origin::Shard));
        assert_eq!(checked(200, &of(",\"cache_hit\":false")), Ok(Origin::Shard));
        assert_eq!(checked(200, &of(",\"cache_hit\":true")), Ok(Origin::Cache));
        assert_eq!(checked(200, &of(",\"cache_hit\":false,\"coalesced\":true")), Ok(Origin::Coalesced));
        assert_eq!(checked(503, &of("")), Err(Fault::Status));
        assert_eq!(checked(200, "{}"), Err(Fault::Body));
        assert_eq!(checked(200, &of("").replace("\"k\"", "\"l\"")), Err(Fault::WrongKey));
        assert_eq!(checked(200, &of("").replace("d\":1", "d\":2")), Err(Fault::WrongShard));
        assert_eq!(check(Err(ClientError::Closed), "k", ShardId(1)), Err(Fault::Transport));
    }
}
