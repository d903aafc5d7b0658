//! One slice of full load on one server.

use std::path::Path;

use anyhow::Result;

use super::figures::Slice;
use super::origin::Origin;
use super::server::Server;
use super::wrk;

/// Loads `server` for `seconds`. The script has its arguments behind it.
///
/// # Errors
/// When a request fails.
pub(super) fn run(
    origin: &Origin,
    server: &Server,
    connections: u32,
    seconds: u32,
    script: Option<(&Path, &[String])>,
) -> Result<Slice> {
    let (received, cpu) = (origin.received()?, server.cpu_microseconds());
    let answered = wrk::run(server.address, connections, seconds, script)?;
    let cpu = server.cpu_microseconds() - cpu;
    let received = origin.received()? - received;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 requests")]
    let (requests, received) = (answered.requests as f64, received as f64);
    Ok(Slice {
        per_second: answered.per_second,
        cpu: cpu / requests,
        memory: server.memory(),
        hits: (1.0 - received / requests).max(0.0),
    })
}
