//! Entry points of the fuzz targets.

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use protocol::body::{MitigationChange, PeerState};
use protocol::{ErrorBody, Key, ShardId};

use crate::http1::chunked::Chunked;
use crate::http1::head::AnswerHead;
use crate::mitigation::settings::{parse, parse_cache};
use crate::mitigation::shared_settings::{SharedSettings, Stamped, parse_state};
use crate::upstream::answer::Answer;

/// The head at the start of `bytes`: its length, and what it says.
///
/// # Errors
/// When it cannot be read.
pub fn answer_head(bytes: &[u8]) -> Result<Option<(usize, String)>, String> {
    let parsed = AnswerHead::parse(bytes)?;
    Ok(parsed.map(|(length, head)| (length, format!("{head:?}"))))
}

/// The chunked body that arrives in these pieces, and how many bytes follow it. `None` if it is incomplete.
///
/// # Errors
/// When the coding is not valid.
pub fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut chunked, mut buffer, mut out) = (Chunked::default(), BytesMut::new(), Vec::new());
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        buffer.extend_from_slice(piece);
        if chunked.decode(&mut buffer, &mut out)? {
            let rest = buffer.len() + pieces.map(<[u8]>::len).sum::<usize>();
            return Ok(Some((out, rest)));
        }
    }
    Ok(None)
}

/// The value in a shard's answer to a read of `key`, or the error.
///
/// # Errors
/// The error's kind and text.
pub fn value(shard: ShardId, key: &Key, status: StatusCode, body: &[u8]) -> Result<String, ErrorBody> {
    let found = answer(shard, status, body).value(key);
    found
        .map(|found| String::from_utf8_lossy(found.value.as_bytes()).into_owned())
        .map_err(|err| body_of(&err))
}

/// Whether a shard's answer says that `key` was stored.
///
/// # Errors
/// The error's kind and text.
pub fn stored(shard: ShardId, key: &Key, status: StatusCode, body: &[u8]) -> Result<(), ErrorBody> {
    answer(shard, status, body).stored(key).map_err(|err| body_of(&err))
}

fn answer(shard: ShardId, status: StatusCode, body: &[u8]) -> Answer {
    Answer { shard, status, retry_after: None, body: Bytes::copy_from_slice(body) }
}

fn body_of(err: &crate::error::Error) -> ErrorBody {
    ErrorBody { detail: err.to_string(), kind: err.kind() }
}

/// The body of `POST /admin/mitigation`.
///
/// # Errors
/// As the call answers.
pub fn mitigation(body: &[u8], shards: u64) -> Result<MitigationChange, ErrorBody> {
    parse(body, shards).map_err(|problem| problem.body)
}

/// The body of `POST /admin/cache`.
///
/// # Errors
/// As the call answers.
pub fn cache(body: &[u8]) -> Result<MitigationChange, ErrorBody> {
    parse_cache(body).map_err(|problem| problem.body)
}

/// The body of `POST /admin/peers`.
///
/// # Errors
/// As the call answers.
pub fn peer_state(body: &[u8], shards: u64, now_ms: u64) -> Result<PeerState, ErrorBody> {
    parse_state(body, shards, now_ms).map_err(|problem| problem.body)
}

/// The settings of a gateway that has received these one after the other.
#[must_use]
pub fn merged(states: &[&Stamped]) -> Stamped {
    let mut settings = SharedSettings::default();
    for state in states {
        settings.merge(state);
    }
    settings.all().clone()
}
