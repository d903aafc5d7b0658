//! Defines the errors of runs without a report.

use crate::refusal::Refusal;

/// A run without a report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The name has no address.
    #[error("{url} cannot be reached: {source}; is the lab running?")]
    NoAddress {
        /// The target.
        url: String,
        /// The resolver's error.
        #[source]
        source: std::io::Error,
    },
    /// The gateway did not answer.
    #[error("{url} is not a gateway: {why}; is the lab running?")]
    NoGateway {
        /// The target.
        url: String,
        /// The connection's error, or the unexpected answer.
        why: String,
    },
    /// The cache could not be switched on.
    #[error("the gateway refused to switch its cache on: {why}")]
    CacheRefused {
        /// Status and body.
        why: String,
    },
    /// The shard creates a key that must be absent.
    #[error("{key} cannot be made absent: {why}; restart the lab with SHARD_MAX_KEYS=200")]
    NotAbsent {
        /// The key.
        key: String,
        /// The gateway's answer.
        why: String,
    },
    /// The run stopped because too many requests failed.
    #[error(
        "stopped after {failed} failed requests of {sent}: is the lab running, and can it serve this load?"
    )]
    Failing {
        /// Failed requests.
        failed: u64,
        /// Sent requests.
        sent: u64,
    },
    /// The store cannot be read or written.
    #[cfg(feature = "stores")]
    #[error("no load on {urls}: {why}")]
    Store {
        /// The store.
        urls: String,
        /// The reason, with the remedy.
        why: String,
    },
    /// The figures are meaningless.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The report cannot be written, or a thread cannot be started.
    #[error("{what}: {source}")]
    Io {
        /// The failed operation.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A name in the table of scenarios is not a valid key.
    #[error(transparent)]
    Key(#[from] protocol::KeyError),
}
