//! Entry points of the fuzz targets.

use axum::http::{HeaderMap, Version};

/// Whether a request with these `Host` headers is accepted.
#[must_use]
pub fn accepts_host(version: Version, headers: &HeaderMap) -> bool {
    crate::host::check(version, headers).is_ok()
}

/// The segment of a plain read below `/data/` at the start of `bytes`, and the length of its head. `None` if it is
/// incomplete or left to the general server.
#[must_use]
pub fn plain_read(bytes: &[u8]) -> Option<(String, usize)> {
    crate::lean::plain_read(bytes, "/data/")
}

/// Reads the trace context of a request and returns the headers that pass it on.
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    crate::traces::passed_on(headers)
}
