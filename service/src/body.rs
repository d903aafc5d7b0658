//! Reading a request body, bounded.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::ErrorKind;
use protocol::limits::BODY_MAX_BYTES;

use crate::problem::Problem;

/// The whole body, at most [`BODY_MAX_BYTES`].
///
/// # Errors
/// 413 for a longer one; 400 when the client broke off.
pub async fn read(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, BODY_MAX_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<LengthLimitError>() => Err(Problem::new(
            ErrorKind::BodyTooLarge,
            format!("the body is over {BODY_MAX_BYTES} bytes, the most that is taken"),
        )),
        Err(err) => Err(Problem::new(ErrorKind::BadBody, format!("the body did not arrive whole: {err}"))),
    }
}
