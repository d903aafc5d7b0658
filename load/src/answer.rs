//! Checks an answer against the expected one.

use protocol::body::{AnswerFault, GatewayGet, GatewaySet, KeyText, STORED, ShardGet};
use protocol::{ErrorBody, ErrorKind, ShardId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::{Answer, ClientError};

/// The body of a valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedBody {
    /// A gateway's answer to a read.
    GatewayGet,
    /// A gateway's answer to a read of an absent key.
    NotFound,
    /// A gateway's answer to a write.
    GatewaySet,
    /// A shard's own answer to a read.
    ShardGet,
}

/// A valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The kind of body.
    pub body: ExpectedBody,
    /// The key in the answer.
    pub key: &'a str,
    /// The key's shard by modulo placement.
    pub owner: ShardId,
    /// The number of shards.
    pub shards: u32,
    /// Whether another shard may have answered, such as one with a copy.
    pub any_shard: bool,
}

/// The source of a valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The shard.
    Shard,
    /// The gateway's cache.
    Cache,
    /// The fetch of another request.
    Coalesced,
}

/// The contents of a valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidAnswer {
    /// The shard in the answer; the key's owner if the answer has none.
    pub shard: ShardId,
    /// The source of the answer.
    pub origin: Origin,
}

/// Checks an answer.
///
/// # Errors
/// Returns the first fault.
pub fn check(
    answer: Result<Answer<'_>, ClientError>,
    expected: &Expected<'_>,
) -> Result<ValidAnswer, AnswerFault> {
    let answer = answer.map_err(|_| AnswerFault::Transport)?;
    let status = if expected.body == ExpectedBody::NotFound { 404 } else { 200 };
    if answer.status != status {
        return Err(AnswerFault::Status);
    }
    let (key, shard, origin) = match expected.body {
        ExpectedBody::NotFound => {
            // The key must be absent, not the path.
            return match parse::<ErrorBody>(&answer)?.kind {
                ErrorKind::NotFound => Ok(ValidAnswer { shard: expected.owner, origin: Origin::Shard }),
                _ => Err(AnswerFault::Body),
            };
        }
        ExpectedBody::GatewayGet => {
            let got: GatewayGet<KeyText<'_>, IgnoredAny> = parse(&answer)?;
            let origin = match (got.cache_hit, got.coalesced) {
                (true, _) => Origin::Cache,
                (false, true) => Origin::Coalesced,
                (false, false) => Origin::Shard,
            };
            (got.key, got.shard_id, origin)
        }
        ExpectedBody::GatewaySet => {
            let set: GatewaySet<KeyText<'_>> = parse(&answer)?;
            if set.status != STORED {
                return Err(AnswerFault::Body);
            }
            (set.key, set.shard_id, Origin::Shard)
        }
        ExpectedBody::ShardGet => {
            let got: ShardGet<KeyText<'_>, IgnoredAny> = parse(&answer)?;
            (got.key, got.shard_id, Origin::Shard)
        }
    };
    if key.0 != expected.key {
        return Err(AnswerFault::WrongKey);
    }
    let may_answer = if expected.any_shard { shard.0 < expected.shards } else { shard == expected.owner };
    if may_answer { Ok(ValidAnswer { shard, origin }) } else { Err(AnswerFault::WrongShard) }
}

fn parse<'a, T: Deserialize<'a>>(answer: &Answer<'a>) -> Result<T, AnswerFault> {
    serde_json::from_slice(answer.body).map_err(|_| AnswerFault::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected<'_> =
        Expected { body: ExpectedBody::GatewayGet, key: "k", owner: ShardId(1), shards: 4, any_shard: false };

    fn checked(status: u16, body: &str) -> Result<Origin, AnswerFault> {
        check(Ok(Answer { status, body: body.as_bytes() }), &EXPECTED).map(|valid| {
            assert_eq!(valid.shard, ShardId(1));
            valid.origin
        })
    }

    fn body(more: &str) -> String {
        format!("{{\"key\":\"k\",\"value\":{{\"x\":1}},\"shard_id\":1,\"latency_ms\":0.5{more}}}")
    }

    #[test]
    fn every_kind_of_answer_is_distinguished() {
        let miss = body(",\"cache_hit\":false");
        assert_eq!(checked(200, &miss), Ok(Origin::Shard));
        assert_eq!(checked(200, &body(",\"cache_hit\":true")), Ok(Origin::Cache));
        assert_eq!(checked(200, &body(",\"cache_hit\":false,\"coalesced\":true")), Ok(Origin::Coalesced));
        assert_eq!(checked(503, &miss), Err(AnswerFault::Status));
        assert_eq!(checked(200, "{}"), Err(AnswerFault::Body));
        assert_eq!(checked(200, &body("")), Err(AnswerFault::Body));
        assert_eq!(checked(200, &miss.replace("\"k\"", "\"l\"")), Err(AnswerFault::WrongKey));
        assert_eq!(checked(200, &miss.replace("d\":1", "d\":2")), Err(AnswerFault::WrongShard));
        assert_eq!(check(Err(ClientError::Closed), &EXPECTED), Err(AnswerFault::Transport));
    }

    #[test]
    fn a_shards_own_answer_and_a_write_have_bodies_of_their_own() {
        let valid = Ok(ValidAnswer { shard: ShardId(1), origin: Origin::Shard });
        let checked = |expected_body, body: &str| {
            let expected = Expected { body: expected_body, ..EXPECTED };
            check(Ok(Answer { status: 200, body: body.as_bytes() }), &expected)
        };
        assert_eq!(checked(ExpectedBody::ShardGet, &body(",\"found\":true")), valid);
        assert_eq!(checked(ExpectedBody::GatewaySet, &body(",\"status\":\"stored\"")), valid);
        assert_eq!(checked(ExpectedBody::GatewaySet, &body(",\"status\":\"lost\"")), Err(AnswerFault::Body));
    }

    #[test]
    fn a_copy_may_answer_but_not_a_shard_that_does_not_exist() {
        let expected = Expected { any_shard: true, ..EXPECTED };
        let from = |shard: u32| {
            let body = body(",\"cache_hit\":false").replace("d\":1", &format!("d\":{shard}"));
            check(Ok(Answer { status: 200, body: body.as_bytes() }), &expected)
        };
        assert_eq!(from(3), Ok(ValidAnswer { shard: ShardId(3), origin: Origin::Shard }));
        assert_eq!(from(4), Err(AnswerFault::WrongShard));
    }

    #[test]
    fn only_an_absent_key_is_not_found() {
        let expected = Expected { body: ExpectedBody::NotFound, ..EXPECTED };
        let checked = |status, body: &str| check(Ok(Answer { status, body: body.as_bytes() }), &expected);
        let not_found = "{\"detail\":\"no such key\",\"kind\":\"not_found\"}";
        assert_eq!(checked(404, not_found), Ok(ValidAnswer { shard: ShardId(1), origin: Origin::Shard }));
        assert_eq!(checked(404, &not_found.replace("not_found", "no_such_route")), Err(AnswerFault::Body));
        assert_eq!(checked(404, "gone"), Err(AnswerFault::Body));
        assert_eq!(checked(200, &body(",\"cache_hit\":false")), Err(AnswerFault::Status));
    }
}
