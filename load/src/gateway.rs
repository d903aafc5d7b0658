//! Prepares the gateway for a run.
//!
//! It reads the gateway's settings, switches the cache on, and fills a shard.

use protocol::body::{CacheChange, CacheState, CacheSwitched, GatewayStats, Gateways, ShardMapping};
use protocol::placement::Scheme;
use protocol::shard_urls::ShardUrl;
use protocol::{Key, ShardId, placement};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::address::{host_header, resolve};
use crate::client::{self, Connection};
use crate::error::RunError;
use crate::scenario::CACHE_TTL_SECONDS;

/// Maximum number of keys that are read to fill a shard.
const MAX_FILLERS: usize = 1_000;
/// Number of keys whose homes are compared with modulo placement. With four shards all agree by chance once in 4^16.
const SAMPLED_KEYS: usize = 16;

/// A client for all requests outside the load.
pub struct GatewayClient {
    url: String,
    /// The `Host` header of requests.
    pub host: String,
    /// The gateway's address.
    pub addr: SocketAddr,
    connection: Connection,
}

/// The gateway's settings that matter for the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Number of shards that keys are placed on.
    pub shards: NonZeroU32,
    /// Whether a shard other than the key's modulo home may answer. The cause is another placement, bounded load, or
    /// a copy.
    pub any_shard: bool,
}

impl GatewayClient {
    /// Resolves the address.
    ///
    /// # Errors
    /// Returns an error when the name has no address.
    pub async fn resolve(url: &ShardUrl) -> Result<Self, RunError> {
        let addr = resolve(url).await?;
        Ok(Self { url: url.to_string(), host: host_header(url), addr, connection: Connection::new(addr) })
    }

    /// Reads the gateway's settings, and the homes of a sample of `keys`.
    ///
    /// # Errors
    /// Returns an error when the target does not answer as a gateway.
    pub async fn topology<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) -> Result<Topology, RunError> {
        let stats = self.stats().await?;
        let shards = NonZeroU32::new(stats.counts.num_shards);
        let shards = shards.ok_or_else(|| self.no_gateway(&"it has no shards"))?;
        let mitigation = &stats.mitigation;
        let moves_reads = mitigation.settings.replication > 1 || mitigation.auto.enabled;
        let any_shard =
            moves_reads || stats.placement == Scheme::Bounded || !self.places_by_modulo(keys, shards).await?;
        Ok(Topology { shards, any_shard })
    }

    /// Returns the number of live entries in the cache.
    ///
    /// # Errors
    /// Returns an error when the target does not answer as a gateway.
    pub async fn cache_size(&mut self) -> Result<u64, RunError> {
        Ok(self.stats().await?.counts.cache_size)
    }

    /// Switches the cache on. Returns at how many gateways it is on; `None` if there is no other gateway.
    ///
    /// # Errors
    /// Returns an error when the gateway refuses.
    pub async fn enable_cache(&mut self) -> Result<Option<Gateways>, RunError> {
        let ttl = u64::from(CACHE_TTL_SECONDS);
        let change = CacheChange { enabled: Some(true), ttl_seconds: Some(ttl) };
        let refused = |err: &dyn Display| RunError::CacheRefused { why: err.to_string() };
        let change = serde_json::to_string(&change).map_err(|err| refused(&err))?;
        let request = client::post(&self.host, "/admin/cache", &change);
        let body = self.send(&request).await.map_err(|err| refused(&err))?;
        let CacheSwitched { state, gateways } = serde_json::from_slice(&body).map_err(|err| refused(&err))?;
        if state == (CacheState { cache_enabled: true, cache_ttl_seconds: ttl }) {
            Ok(gateways)
        } else {
            Err(refused(&String::from_utf8_lossy(&body)))
        }
    }

    /// Fills the home shard of `absent`, so that it creates no more keys. First reads those of `others` that have the
    /// same home. Then reads further keys until one is answered with 404.
    ///
    /// # Errors
    /// Returns an error when the shard accepts more than a thousand further keys, or already has `absent`.
    pub async fn fill_shard_of<'a>(
        &mut self,
        absent: &str,
        others: impl Iterator<Item = &'a Key>,
    ) -> Result<(), RunError> {
        let not_absent = |why: String| RunError::NotAbsent { key: absent.to_owned(), why };
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
            if full || read == MAX_FILLERS {
                break;
            }
            if self.home_of(&key).await? == home {
                full = self.read(&key).await? == 404;
                read += 1;
            }
        }
        if !full {
            return Err(not_absent(format!("shard {home} accepts more than {MAX_FILLERS} keys")));
        }
        match self.read(&absent_key).await? {
            404 => Ok(()),
            status => Err(not_absent(format!("a read of it returns {status}"))),
        }
    }

    async fn stats(&mut self) -> Result<GatewayStats, RunError> {
        self.get("/stats").await
    }

    /// Whether a sample of `keys` has the homes of modulo placement.
    async fn places_by_modulo<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a Key>,
        shards: NonZeroU32,
    ) -> Result<bool, RunError> {
        for key in keys.take(SAMPLED_KEYS) {
            if self.home_of(key).await? != placement::modulo(key, shards) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn home_of(&mut self, key: &Key) -> Result<ShardId, RunError> {
        let path = format!("/admin/shard-mapping/{}", key.to_path_segment());
        Ok(self.get::<ShardMapping>(&path).await?.shard_id)
    }

    /// Reads a key and returns the status.
    async fn read(&mut self, key: &Key) -> Result<u16, RunError> {
        let request = client::get(&self.host, &format!("/data/{}", key.to_path_segment()));
        let why = match self.connection.send(&request).await {
            Ok(answer) => return Ok(answer.status),
            Err(err) => err.to_string(),
        };
        Err(self.no_gateway(&why))
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, RunError> {
        let body = self.send(&client::get(&self.host, path)).await?;
        serde_json::from_slice(&body).map_err(|err| self.no_gateway(&err))
    }

    async fn send(&mut self, request: &[u8]) -> Result<Vec<u8>, RunError> {
        let why = match self.connection.send(request).await {
            Ok(answer) if answer.status == 200 => return Ok(answer.body.to_vec()),
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(answer.body)),
            Err(err) => err.to_string(),
        };
        Err(self.no_gateway(&why))
    }

    fn no_gateway(&self, why: &dyn Display) -> RunError {
        RunError::NoGateway { url: self.url.clone(), why: why.to_string() }
    }
}
