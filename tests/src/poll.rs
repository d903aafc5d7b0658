//! Waits for a condition with a timeout.

use std::future::Future;
use std::time::{Duration, Instant};

/// Calls `probe` every few milliseconds until it returns a value.
///
/// # Errors
/// After `limit`, with the last error of `probe`.
pub async fn until<T, F, Fut>(limit: Duration, mut probe: F) -> Result<T, String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => return Err(format!("after {limit:?}: {reason}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
