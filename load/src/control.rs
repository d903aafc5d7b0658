//! What a run asks of the gateway beside its load: how many shards there are, and to switch the cache on.

use protocol::shard_urls::ShardUrl;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::client::{self, ClientError, Connection};
use crate::refusal::Refusal;
use crate::scenario::CACHE_TTL_SECONDS;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The name has no address.
    #[error("{url} cannot be reached: {source}; is the lab running?")]
    NoAddress {
        /// Where to.
        url: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The gateway did not answer.
    #[error("{url} does not answer as a gateway: {why}; is the lab running?")]
    NoGateway {
        /// Where to.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The cache could not be switched on.
    #[error("the gateway refused to switch its cache on: {why}")]
    CacheRefused {
        /// Status and body.
        why: String,
    },
    /// So many requests fail that going on is pointless.
    #[error("stopped after {failed} failed requests of {sent}: is the lab running, and up to this load?")]
    Failing {
        /// Requests that failed.
        failed: u64,
        /// Requests sent.
        sent: u64,
    },
    /// The figures mean nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The report cannot be written, or the system gives no thread.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key name of a table is no key.
    #[error(transparent)]
    Key(#[from] protocol::KeyError),
}

/// What the gateway says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Shards that keys are placed on.
    pub num_shards: NonZeroU32,
    /// Entries in its cache.
    pub cache_size: u64,
}

/// A gateway that answers.
pub struct Gateway {
    url: String,
    /// The `Host` of requests.
    pub host: String,
    /// Where to connect.
    pub addr: SocketAddr,
    connection: Connection,
}

/// The address of a URL.
///
/// # Errors
/// When its name has none.
pub async fn resolve(url: &ShardUrl) -> Result<SocketAddr, LoadError> {
    let no_address = |source| LoadError::NoAddress { url: url.to_string(), source };
    let mut found = tokio::net::lookup_host(host_of(url)).await.map_err(no_address)?;
    found.next().ok_or_else(|| no_address(std::io::ErrorKind::NotFound.into()))
}

/// The `Host` of requests to a URL.
#[must_use]
pub fn host_of(url: &ShardUrl) -> String {
    format!("{}:{}", url.host, url.port)
}

impl Gateway {
    /// Finds its address.
    ///
    /// # Errors
    /// When the name has none.
    pub async fn find(url: &ShardUrl) -> Result<Self, LoadError> {
        let addr = resolve(url).await?;
        Ok(Self { url: url.to_string(), host: host_of(url), addr, connection: Connection::new(addr) })
    }

    /// Its `/stats`.
    ///
    /// # Errors
    /// When it does not answer as a gateway does.
    pub async fn state(&mut self) -> Result<State, LoadError> {
        let body = self.ask(&client::get(&self.host, "/stats")).await?;
        serde_json::from_slice(&body).map_err(|err| self.no_gateway(&err))
    }

    /// Switches the cache on.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn enable_cache(&mut self) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Switched {
            cache_enabled: bool,
            cache_ttl_seconds: u32,
        }
        let wish = format!("{{\"enabled\":true,\"ttl_seconds\":{CACHE_TTL_SECONDS}}}");
        let refused = |err: &dyn std::fmt::Display| LoadError::CacheRefused { why: err.to_string() };
        let request = client::post(&self.host, "/admin/cache", &wish);
        let body = self.ask(&request).await.map_err(|err| refused(&err))?;
        let switched: Switched = serde_json::from_slice(&body).map_err(|err| refused(&err))?;
        if switched.cache_enabled && switched.cache_ttl_seconds == CACHE_TTL_SECONDS {
            Ok(())
        } else {
            Err(refused(&String::from_utf8_lossy(&body)))
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, LoadError> {
        let asked: Result<_, ClientError> = self.connection.ask(request).await;
        let why = match asked {
            Ok(answer) if answer.status == 200 => return Ok(answer.body.to_vec()),
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(answer.body)),
            Err(err) => err.to_string(),
        };
        Err(self.no_gateway(&why))
    }

    fn no_gateway(&self, why: &dyn std::fmt::Display) -> LoadError {
        LoadError::NoGateway { url: self.url.clone(), why: why.to_string() }
    }
}
