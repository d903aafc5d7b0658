//! Reads the body of a request, bounded in size, time and memory.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use protocol::ErrorKind;
use protocol::limits::BODY_MAX_BYTES;
use std::time::Duration;

use crate::limits::SMALL_BYTES;
use crate::overload::Overload;
use crate::problem::Problem;

/// How long a body may take to arrive. A slower client would occupy a connection and a place in the shard.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Limits for reading and discarding the rest of a body that is refused. Closing a connection with unread bytes resets
/// it, and the client might not receive the answer.
const DISCARD_MAX_BYTES: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// By how much the buffer of a body grows at least. A buffer that doubles would be larger than its body.
const STEP_BYTES: usize = 8 * 1024;

/// Why a body was not read.
#[derive(Debug)]
enum Unread<E> {
    /// It is larger than allowed.
    TooLarge,
    /// There is no room for it in the bytes of all bodies.
    NoRoom,
    /// It is incomplete.
    Incomplete(E),
}

impl Overload {
    /// Reads the whole body of a request, at most [`BODY_MAX_BYTES`], within 30 s.
    ///
    /// # Errors
    /// Returns 413 for a longer body, 400 when the body is incomplete or too slow, and 503 without room for it.
    pub async fn read(&self, mut body: Body) -> Result<Bytes, Problem> {
        let late =
            |_| Problem::new(ErrorKind::BadBody, format!("the body did not arrive within {BODY_TIMEOUT:?}"));
        let collected = self.collect(&mut body, BODY_MAX_BYTES);
        let problem = match tokio::time::timeout(BODY_TIMEOUT, collected).await.map_err(late)? {
            Ok(whole) => return Ok(whole),
            Err(Unread::Incomplete(err)) => {
                return Err(Problem::new(ErrorKind::BadBody, format!("the body is incomplete: {err}")));
            }
            Err(Unread::TooLarge) => {
                let detail = format!("the body is larger than {BODY_MAX_BYTES} bytes, which is the limit");
                Problem::new(ErrorKind::BodyTooLarge, detail)
            }
            Err(Unread::NoRoom) => {
                let detail = "other requests take all memory for bodies; try again later";
                Problem::new(ErrorKind::Overloaded, detail).retry_after(1)
            }
        };
        // The answer is the same whether or not all of it was discarded.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(body)).await;
        Err(problem)
    }

    /// Reads a whole body of at most `most` bytes. It counts in the bytes of all bodies until the last clone of it is
    /// dropped, unless it is small.
    ///
    /// # Errors
    /// The body is too large or incomplete, or there is no room for it.
    async fn collect<B>(&self, body: &mut B, most: usize) -> Result<Bytes, Unread<B::Error>>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let is_small = body.size_hint().upper().is_some_and(|length| length < SMALL_BYTES as u64);
        let mut lease = if is_small { None } else { Some(self.body(0).ok_or(Unread::NoRoom)?) };
        let (mut only, mut all) = (Bytes::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Unread::Incomplete)?.into_data() else { continue };
            if only.len() + all.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            // A body of one frame is not copied. Its frame is a part of the connection's buffer.
            if only.is_empty() && all.is_empty() {
                only = data;
                continue;
            }
            let first = std::mem::take(&mut only);
            let more = first.len() + data.len();
            if all.capacity() - all.len() < more {
                let more = more.max(STEP_BYTES);
                if lease.as_mut().is_some_and(|lease| !self.more_of_body(lease, more)) {
                    return Err(Unread::NoRoom);
                }
                all.reserve_exact(more);
            }
            all.extend_from_slice(&first);
            all.extend_from_slice(&data);
        }
        let whole = if all.is_empty() { only } else { Bytes::from(all) };
        Ok(match lease {
            Some(mut lease) if whole.len() > lease.bytes() => {
                let more = whole.len() - lease.bytes();
                if !self.more_of_body(&mut lease, more) {
                    return Err(Unread::NoRoom);
                }
                lease.hold(whole)
            }
            Some(lease) => lease.hold(whole),
            None => whole,
        })
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
