//! Entry points of the fuzz targets.

use std::net::{IpAddr, SocketAddr};

use crate::client::{Answer, ClientError, Head};

/// The answer at the start of `bytes`. `None` if it is incomplete.
///
/// # Errors
/// When it cannot be read.
pub fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, ClientError> {
    let Some(head) = Head::parse(bytes)? else { return Ok(None) };
    let body = bytes.get(head.body_at..head.body_at + head.body_len);
    Ok(body.map(|body| Answer { status: head.status, body }))
}

/// Where an error of a store sends the command: whether for good, and the address if it is known.
#[cfg(feature = "stores")]
#[must_use]
pub fn redirection(error: &str, asked: IpAddr) -> Option<(bool, Option<SocketAddr>)> {
    crate::resp::Redirection::parse(error, asked).map(|found| (found.has_moved, found.to))
}
