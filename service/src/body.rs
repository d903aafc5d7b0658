//! Reads a request body, bounded in size and time.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::ErrorKind;
use protocol::limits::BODY_MAX_BYTES;
use std::time::Duration;

use crate::problem::Problem;

/// How long a body may take to arrive. A slower client would occupy a connection and a place in the shard.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Limits for reading and discarding the rest of a body that is too long, before it is refused. Closing a connection
/// with unread bytes resets it, and the client might not receive the answer.
const DISCARD_MAX_BYTES: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the whole body, at most [`BODY_MAX_BYTES`], within 30 s.
///
/// # Errors
/// Returns 413 for a longer body, and 400 when the body is incomplete or too slow.
pub async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let late =
        |_| Problem::new(ErrorKind::BadBody, format!("the body did not arrive within {BODY_TIMEOUT:?}"));
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, BODY_MAX_BYTES).collect())
        .await
        .map_err(late)?
    {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => {
            // The answer is the same whether or not all of it was discarded.
            let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(body)).await;
            Err(Problem::new(
                ErrorKind::BodyTooLarge,
                format!("the body is larger than {BODY_MAX_BYTES} bytes, which is the limit"),
            ))
        }
        Err(err) => Err(Problem::new(ErrorKind::BadBody, format!("the body is incomplete: {err}"))),
    }
}

async fn discard(mut body: Body) {
    let mut discarded = 0;
    while discarded < DISCARD_MAX_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}
