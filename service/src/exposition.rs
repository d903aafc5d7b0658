//! Answers `/metrics`, and encodes the metrics at most a hundred times a second.
//!
//! A thousand clients that asked at once took the latency of others to 500 ms.

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use protocol::ErrorKind;
use std::time::Duration;
use tokio::sync::Mutex;
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
        match self.text(metrics, Instant::now()).await {
            Ok(text) => {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
            }
            Err(err) => {
                tracing::error!(%err, "metrics cannot be encoded");
                Problem::new(ErrorKind::Internal, "metrics cannot be encoded; see the log").into_response()
            }
        }
    }

    async fn text(&self, metrics: &Metrics, arrived: Instant) -> Result<Bytes, prometheus::Error> {
        // Whoever has the lock waits and encodes for all.
        let mut last = self.0.lock().await;
        if let Some((begun, text)) = &*last {
            if *begun > arrived {
                return Ok(text.clone());
            }
            sleep_until(*begun + PERIOD).await;
        }
        let begun = Instant::now();
        let text = Bytes::from(metrics.encode()?);
        *last = Some((begun, text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_period_share_an_encoding_that_began_after_them() {
        let (metrics, exposition) = (Arc::new(Metrics::default()), Arc::new(Exposition::default()));
        let count = metrics.counter("encoded_total", "Expositions.").unwrap();
        metrics.before_exposition(move || count.inc());
        let ask = || {
            let (metrics, exposition) = (Arc::clone(&metrics), Arc::clone(&exposition));
            tokio::spawn(async move {
                let answer = exposition.answer(&metrics).await;
                let text = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
                (text.last_chunk::<2>().map(|end| end[0] - b'0'), Instant::now())
            })
        };
        let start = Instant::now();
        assert_eq!(ask().await.unwrap(), (Some(1), start), "the first does not wait");
        advance(PERIOD / 2).await;
        let crowd: Vec<_> = (0..1_000).map(|_| ask()).collect();
        for one in crowd {
            assert_eq!(one.await.unwrap(), (Some(2), start + PERIOD));
        }
        advance(PERIOD).await;
        assert_eq!(ask().await.unwrap(), (Some(3), start + 2 * PERIOD), "nor does one after a period");
    }
}
