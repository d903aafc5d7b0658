//! Answers `/metrics`, and encodes the metrics once for pipelined requests.
//!
//! Clients that pipeline many requests and read no answer took the latency of others to 500 ms.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use protocol::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Metrics;
use crate::problem::Problem;

/// The number of expositions that have begun in this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The number of expositions that have begun so far.
pub(crate) fn begun() -> u64 {
    BEGUN.load(Ordering::Acquire)
}

/// When a request arrived: the number of expositions that had begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) u64);

/// The last exposition, and its number.
#[derive(Default)]
pub(crate) struct Exposition(Mutex<(u64, Bytes)>);

impl Exposition {
    /// An exposition that began after the request had arrived is as good as a new one.
    pub(crate) fn answer(&self, metrics: &Metrics, arrived: Option<Extension<Arrived>>) -> Response {
        let (number, text) = self.0.lock().clone();
        let is_new = arrived.is_some_and(|Extension(Arrived(before))| number > before);
        match if is_new { Ok(text) } else { self.encode(metrics) } {
            Ok(text) => {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
            }
            Err(err) => {
                tracing::error!(%err, "metrics cannot be encoded");
                Problem::new(ErrorKind::Internal, "metrics cannot be encoded; see the log").into_response()
            }
        }
    }

    fn encode(&self, metrics: &Metrics) -> Result<Bytes, prometheus::Error> {
        let number = BEGUN.fetch_add(1, Ordering::AcqRel) + 1;
        let text = Bytes::from(metrics.encode()?);
        *self.0.lock() = (number, text.clone());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_requests_that_had_arrived_share_an_exposition() {
        let (metrics, exposition) = (Metrics::default(), Exposition::default());
        let count = metrics.counter("encoded_total", "Expositions.").unwrap();
        metrics.before_exposition(move || count.inc());
        let encoded = async |arrived| {
            let answer = exposition.answer(&metrics, arrived);
            let text = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
            text.last_chunk::<2>().map(|end| end[0] - b'0')
        };
        let first = Some(Extension(Arrived(begun())));
        assert_eq!((encoded(first).await, encoded(first).await), (Some(1), Some(1)));
        assert_eq!(encoded(Some(Extension(Arrived(begun())))).await, Some(2));
        assert_eq!(encoded(None).await, Some(3));
    }
}
