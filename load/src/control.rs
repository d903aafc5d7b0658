//! What a run asks of the gateway beside its load: how many shards there are, to switch the cache on, to fill a shard.

use protocol::shard_urls::ShardUrl;
use protocol::{Key, placement};
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
    /// The shard of a key that is to be absent makes it all the same.
    #[error("{key} cannot be made absent: {why}; start the lab anew with SHARD_MAX_KEYS=200")]
    NotAbsent {
        /// Which key.
        key: String,
        /// What the gateway answers.
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Shards that keys are placed on.
    pub num_shards: NonZeroU32,
    /// Entries in its cache.
    pub cache_size: u64,
    /// How it places keys, if it says so.
    #[serde(default)]
    pub placement: String,
    /// What it does about hot keys.
    #[serde(default)]
    pub mitigation: Mitigation,
}

/// What of the gateway's mitigations moves reads to another shard; one that knows none does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mitigation {
    /// Shards that hold each hot key.
    pub replication: u32,
    /// Whether the gateway chooses by itself.
    pub auto: Auto,
}

/// See [`Mitigation::auto`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auto {
    /// Whether it is on.
    pub enabled: bool,
}

impl State {
    /// Whether another shard than a key's own may answer: one with a copy, or with bounded load any.
    #[must_use]
    pub fn any_shard(&self) -> bool {
        self.mitigation.replication > 1 || self.mitigation.auto.enabled || self.placement == "bounded"
    }
}

/// Keys read on one shard, at most, to fill it.
const FILLERS: usize = 1_000;
/// Keys whose places tell another placement from modulo: all agree by chance once in 4^16.
const ASKED_PLACES: usize = 16;

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

    /// Fills the shard of `absent` with those of `others` that it holds, and then with more keys, until it answers 404 to
    /// a new one: from then on it makes none.
    ///
    /// # Errors
    /// When it takes more than a thousand keys, or `absent` is there already.
    pub async fn fill_shard_of<'a>(
        &mut self,
        absent: &str,
        others: impl Iterator<Item = &'a Key>,
    ) -> Result<(), LoadError> {
        let not_absent = |why: String| LoadError::NotAbsent { key: absent.to_owned(), why };
        let absent_key = Key::new(absent)?;
        let home = self.home_of(&absent_key).await?;
        for key in others.filter(|key| **key != absent_key) {
            if self.home_of(key).await? == home {
                self.read(key).await?;
            }
        }
        let (mut full, mut read) = (false, 0);
        for n in 0u64.. {
            let key = Key::new(&format!("filler-{n}"))?;
            if full || read == FILLERS {
                break;
            }
            if self.home_of(&key).await? == home {
                full = self.read(&key).await? == 404;
                read += 1;
            }
        }
        if !full {
            return Err(not_absent(format!("shard {home} takes more than {FILLERS} keys")));
        }
        match self.read(&absent_key).await? {
            404 => Ok(()),
            status => Err(not_absent(format!("a read of it is {status}"))),
        }
    }

    /// Whether the gateway places keys by the modulo rule, told by a few of these.
    ///
    /// # Errors
    /// When it does not answer as a gateway does.
    pub async fn places_by_modulo<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a Key>,
        shards: NonZeroU32,
    ) -> Result<bool, LoadError> {
        for key in keys.take(ASKED_PLACES) {
            if self.home_of(key).await? != u64::from(placement::modulo(key, shards).0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn home_of(&mut self, key: &Key) -> Result<u64, LoadError> {
        #[derive(Deserialize)]
        struct Mapping {
            shard_id: u64,
        }
        let path = format!("/admin/shard-mapping/{}", key.to_path_segment());
        let body = self.ask(&client::get(&self.host, &path)).await?;
        let mapping: Mapping = serde_json::from_slice(&body).map_err(|err| self.no_gateway(&err))?;
        Ok(mapping.shard_id)
    }

    /// The status of a read.
    async fn read(&mut self, key: &Key) -> Result<u16, LoadError> {
        let request = client::get(&self.host, &format!("/data/{}", key.to_path_segment()));
        let why = match self.connection.ask(&request).await {
            Ok(answer) => return Ok(answer.status),
            Err(err) => err.to_string(),
        };
        Err(self.no_gateway(&why))
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
