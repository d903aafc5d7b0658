//! Limits what is read of one response of the API.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::Sleep;

/// Maximum size of a list. A pod has about 10 KiB.
pub(super) const LIST_MAX_BYTES: usize = 16 << 20;

/// Maximum size of one change. The API stores objects of at most 1.5 MiB.
pub(super) const CHANGE_MAX_BYTES: usize = 4 << 20;

/// Why the rest of a response is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError<E: std::error::Error + 'static> {
    #[error("its response is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
    #[error("its response does not arrive")]
    TooSlow,
    #[error("its response is incomplete")]
    Incomplete(#[source] E),
}

/// A response with limits.
pub(super) struct Bounded<B> {
    body: B,
    limit: Limit,
    /// The bytes of the list or of the current change so far.
    read: usize,
    has_failed: bool,
}

enum Limit {
    List(Pin<Box<Sleep>>),
    /// A response without end, with one change in each line.
    Changes,
}

impl<B> Bounded<B> {
    /// Limits a list of pods, which has to arrive within `timeout`.
    pub(super) fn list(body: B, timeout: Duration) -> Self {
        let limit = Limit::List(Box::pin(tokio::time::sleep(timeout)));
        Self { body, limit, read: 0, has_failed: false }
    }

    /// Limits each change of a watch.
    pub(super) fn changes(body: B) -> Self {
        Self { body, limit: Limit::Changes, read: 0, has_failed: false }
    }

    /// Counts a part of the response. Returns whether it is within the limit.
    fn count(&mut self, part: &[u8]) -> Result<(), usize> {
        let max = match self.limit {
            Limit::List(_) => LIST_MAX_BYTES,
            Limit::Changes => CHANGE_MAX_BYTES,
        };
        let is_end = |byte: &u8| matches!(self.limit, Limit::Changes) && *byte == b'\n';
        let first = part.iter().position(is_end).unwrap_or(part.len());
        let last = part.iter().rposition(is_end);
        // The changes between the first and the last end are smaller than one part, which is small.
        let largest = self.read.saturating_add(first);
        self.read = last.map_or(largest, |last| part.len() - last - 1);
        if largest.max(self.read) > max { Err(max) } else { Ok(()) }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        // After an error the watch polls again to see the end.
        if this.has_failed {
            return Poll::Ready(None);
        }
        let failure = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref().map(|part| this.count(part)) {
                None | Some(Ok(())) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(max)) => BodyError::TooLarge(max),
            },
            Poll::Ready(Some(Err(error))) => BodyError::Incomplete(error),
            Poll::Pending => match &mut this.limit {
                Limit::List(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    BodyError::TooSlow
                }
                Limit::Changes => return Poll::Pending,
            },
        };
        this.has_failed = true;
        Poll::Ready(Some(Err(failure)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    type Part = Result<Frame<Bytes>, std::io::Error>;

    fn body(parts: Vec<Vec<u8>>) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let parts = parts.into_iter().map(|part| -> Part { Ok(Frame::data(part.into())) });
        StreamBody::new(futures_util::stream::iter(parts))
    }

    async fn bytes(body: impl Body<Data = Bytes, Error: std::fmt::Display> + Unpin) -> Result<usize, String> {
        body.collect().await.map(|all| all.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_list_has_a_limit_in_all() {
        let half = vec![b'\n'; LIST_MAX_BYTES / 2];
        let whole = body(vec![half.clone(), half.clone()]);
        assert_eq!(bytes(Bounded::list(whole, LONG)).await, Ok(LIST_MAX_BYTES));
        let more = body(vec![half.clone(), half, vec![b' ']]);
        assert_eq!(
            bytes(Bounded::list(more, LONG)).await,
            Err("its response is larger than 16 MiB".to_owned())
        );
    }

    #[tokio::test]
    async fn each_change_has_a_limit_and_the_watch_has_none() {
        let half = vec![b' '; CHANGE_MAX_BYTES / 2];
        let end = |mut part: Vec<u8>| {
            part.push(b'\n');
            part.push(b' ');
            part
        };
        let parts = vec![half.clone(), end(half.clone()), half.clone(), end(half[1..].to_vec()), vec![b'\n']];
        assert!(bytes(Bounded::changes(body(parts))).await.unwrap() > 2 * CHANGE_MAX_BYTES);
        let parts = vec![half.clone(), end(half.clone()), half.clone(), half];
        let refused = bytes(Bounded::changes(body(parts))).await;
        assert_eq!(refused, Err("its response is larger than 4 MiB".to_owned()));
    }

    #[tokio::test]
    async fn a_list_that_does_not_arrive_is_given_up() {
        let never = StreamBody::new(futures_util::stream::pending::<Part>());
        let refused = bytes(Bounded::list(never, Duration::from_millis(20))).await;
        assert_eq!(refused, Err("its response does not arrive".to_owned()));
    }
}
