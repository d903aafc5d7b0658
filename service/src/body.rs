//! Reading a request body, bounded in size and time.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::ErrorKind;
use protocol::limits::BODY_MAX_BYTES;
use std::time::Duration;

use crate::problem::Problem;

/// How long a body may take to arrive; who sends it slower holds a connection and a place in the shard.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that is too long is read and thrown away, and for how long, before it is refused: closing a
/// connection with unread bytes resets it, and the client might never see the answer.
const DISCARD_MAX_BYTES: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The whole body, at most [`BODY_MAX_BYTES`], within 30 s.
///
/// # Errors
/// 413 for a longer one; 400 when the client broke off or was too slow.
pub async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let late =
        |_| Problem::new(ErrorKind::BadBody, format!("the body did not arrive within {BODY_TIMEOUT:?}"));
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, BODY_MAX_BYTES).collect())
        .await
        .map_err(late)?
    {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => {
            // Whether all of it could be discarded changes nothing for the answer.
            let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(body)).await;
            Err(Problem::new(
                ErrorKind::BodyTooLarge,
                format!("the body is over {BODY_MAX_BYTES} bytes, the most that is taken"),
            ))
        }
        Err(err) => Err(Problem::new(ErrorKind::BadBody, format!("the body did not arrive whole: {err}"))),
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
