//! Answers `/metrics`, and encodes the metrics at most a hundred times a second.
//!
//! A thousand clients that asked at once took the latency of others to 500 ms.

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use protocol::ErrorKind;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::problem::Problem;

/// Minimum time between the beginnings of two encodings. A scrape on its own does not wait.
const PERIOD: Duration = Duration::from_millis(10);

/// When the last encoding began, and its text.
#[derive(Default)]
pub(crate) struct Exposition(Mutex<Option<(Instant, Bytes)>>);

impl Exposition {
    /// Answers with an encoding that began after the request had arrived. All requests that wait for it share it.
    pub(crate) async fn answer(&self, metrics: &Metrics) -> Response {
        match self.text(metrics).await {
            Ok(text) => {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
            }
            Err(err) => {
                tracing::error!(%err, "metrics cannot be encoded");
                Problem::new(ErrorKind::Internal, "metrics cannot be encoded; see the log").into_response()
            }
        }
    }

    async fn text(&self, metrics: &Metrics) -> Result<Bytes, prometheus::Error> {
        let arrived = Instant::now();
        loop {
            match self.share_or_encode(metrics, arrived) {
                Ok(text) => return text,
                // Without the lock: a handler is not polled while its client does not read the answer before.
                Err(next) => sleep_until(next).await,
            }
        }
    }

    /// Returns the time of the next encoding, if this request has to wait for it.
    fn share_or_encode(
        &self,
        metrics: &Metrics,
        arrived: Instant,
    ) -> Result<Result<Bytes, prometheus::Error>, Instant> {
        let mut last = self.0.lock();
        let now = Instant::now();
        match &*last {
            Some((begun, text)) if *begun > arrived => return Ok(Ok(text.clone())),
            Some((begun, _)) if *begun + PERIOD > now => return Err(*begun + PERIOD),
            _ => {}
        }
        let text = metrics.encode().map(Bytes::from);
        if let Ok(text) = &text {
            *last = Some((now, text.clone()));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::time::advance;

    /// The number of encodings, by the text of the last one.
    fn number(text: Option<Result<Bytes, prometheus::Error>>) -> Option<u8> {
        Some(text?.unwrap().last_chunk::<2>()?[0] - b'0')
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_period_share_an_encoding_that_began_after_them() {
        let (metrics, exposition) = (Metrics::default(), Exposition::default());
        let count = metrics.counter("encoded_total", "Expositions.").unwrap();
        metrics.before_exposition(move || count.inc());
        let ask = || Box::pin(exposition.text(&metrics));
        assert_eq!(number(ask().now_or_never()), Some(1), "the first does not wait");
        advance(PERIOD / 2).await;
        // It is not polled again, as if its client did not read.
        let mut stuck = ask();
        assert_eq!(number(stuck.as_mut().now_or_never()), None);
        let mut crowd: Vec<_> = (0..1_000).map(|_| ask()).collect();
        assert!(crowd.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        for one in crowd {
            assert_eq!(number(Some(one.await)), Some(2));
        }
        advance(PERIOD).await;
        assert_eq!(number(ask().now_or_never()), Some(3), "nor does one after a period");
        drop(stuck);
    }
}
