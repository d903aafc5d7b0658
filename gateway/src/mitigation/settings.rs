//! The switches of `/admin/mitigation`: their values, and the body that changes them.

use protocol::ErrorKind;
use protocol::limits::TTL_SECONDS;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use service::problem::Problem;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::cache;

/// How long a copy may be served past its time to live, in seconds.
const STALE_SECONDS: RangeInclusive<u64> = 1..=3_600;
/// Keys that may be replicated.
const REPLICATED_KEYS: RangeInclusive<u64> = 1..=64;
/// How long a shard's error may be remembered, in milliseconds.
const NEGATIVE_TTL_MS: RangeInclusive<u64> = 10..=60_000;

/// For which keys there is a cache, as the wire names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CacheMode {
    Off,
    All,
    HotOnly,
}

/// Every switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Settings {
    pub(crate) cache: CacheMode,
    pub(crate) ttl_seconds: u64,
    pub(crate) stale_while_revalidate: bool,
    pub(crate) stale_seconds: u64,
    pub(crate) negative_caching: bool,
    pub(crate) negative_ttl_ms: u64,
    /// Shards that hold each hot key.
    pub(crate) replication: u64,
    pub(crate) replicated_keys: u64,
    /// Whether the gateway switches `cache` and `replication` itself; shown with what it chose.
    #[serde(skip)]
    pub(crate) auto: bool,
}

impl Settings {
    /// Those of a gateway that starts.
    pub(crate) fn at_start(cache_enabled: bool, ttl_seconds: u64) -> Self {
        Self {
            cache: if cache_enabled { CacheMode::All } else { CacheMode::Off },
            ttl_seconds,
            stale_while_revalidate: false,
            stale_seconds: 10,
            negative_caching: false,
            negative_ttl_ms: 500,
            replication: 1,
            replicated_keys: 8,
            auto: false,
        }
    }

    /// How long errors are remembered, if at all.
    pub(crate) fn of_negatives(&self) -> Option<Duration> {
        self.negative_caching.then(|| Duration::from_millis(self.negative_ttl_ms))
    }

    /// Those of the cache among them.
    pub(crate) fn of_cache(&self) -> cache::Settings {
        cache::Settings {
            mode: match self.cache {
                CacheMode::Off => cache::Mode::Off,
                CacheMode::All => cache::Mode::All,
                CacheMode::HotOnly => cache::Mode::HotOnly,
            },
            ttl: Duration::from_secs(self.ttl_seconds),
            stale: self.stale_while_revalidate.then(|| Duration::from_secs(self.stale_seconds)),
        }
    }
}

/// What a body asks for; what is missing keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) cache: Option<CacheMode>,
    pub(crate) ttl_seconds: Option<u64>,
    pub(crate) stale_while_revalidate: Option<bool>,
    pub(crate) stale_seconds: Option<u64>,
    pub(crate) negative_caching: Option<bool>,
    pub(crate) negative_ttl_ms: Option<u64>,
    pub(crate) replication: Option<u64>,
    pub(crate) replicated_keys: Option<u64>,
    pub(crate) auto: Option<bool>,
}

impl Change {
    /// Reads the body of `POST /admin/mitigation` in front of `shards` shards; fields it does not know are ignored.
    ///
    /// # Errors
    /// 400 that names the field, its value and what is allowed.
    pub(crate) fn parse(body: &[u8], shards: u64) -> Result<Self, Problem> {
        let fields = object(body, r#"{"cache":"hot_only","ttl_seconds":60}"#)?;
        Ok(Self {
            cache: fields.word("cache", "off, all or hot_only")?,
            ttl_seconds: fields.integer("ttl_seconds", TTL_SECONDS)?,
            stale_while_revalidate: fields.switch("stale_while_revalidate")?,
            stale_seconds: fields.integer("stale_seconds", STALE_SECONDS)?,
            negative_caching: fields.switch("negative_caching")?,
            negative_ttl_ms: fields.integer("negative_ttl_ms", NEGATIVE_TTL_MS)?,
            replication: fields.integer("replication", 1..=shards)?,
            replicated_keys: fields.integer("replicated_keys", REPLICATED_KEYS)?,
            auto: fields.switch("auto")?,
        })
    }

    /// Reads the body of `POST /admin/cache`, which knows `enabled` and `ttl_seconds` alone.
    ///
    /// # Errors
    /// As [`Change::parse`].
    pub(crate) fn parse_cache(body: &[u8]) -> Result<Self, Problem> {
        let fields = object(body, r#"{"enabled":true,"ttl_seconds":60}"#)?;
        let mode = |enabled| if enabled { CacheMode::All } else { CacheMode::Off };
        Ok(Self {
            cache: fields.switch("enabled")?.map(mode),
            ttl_seconds: fields.integer("ttl_seconds", TTL_SECONDS)?,
            ..Self::default()
        })
    }

    /// Whether `auto` ends with this: who sets what it would set means that.
    pub(crate) fn ends_auto(&self) -> bool {
        let by_hand = self.cache.is_some() || self.replication.is_some();
        self.auto == Some(false) || (by_hand && self.auto.is_none())
    }

    /// `settings` with this change.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        set(&mut settings.cache, self.cache.as_ref());
        set(&mut settings.ttl_seconds, self.ttl_seconds.as_ref());
        set(&mut settings.stale_while_revalidate, self.stale_while_revalidate.as_ref());
        set(&mut settings.stale_seconds, self.stale_seconds.as_ref());
        set(&mut settings.negative_caching, self.negative_caching.as_ref());
        set(&mut settings.negative_ttl_ms, self.negative_ttl_ms.as_ref());
        set(&mut settings.replication, self.replication.as_ref());
        set(&mut settings.replicated_keys, self.replicated_keys.as_ref());
        settings.auto = !self.ends_auto() && self.auto.unwrap_or(settings.auto);
    }
}

/// The fields of a body.
struct Fields(Map<String, Value>);

fn object(body: &[u8], example: &str) -> Result<Fields, Problem> {
    let fields = serde_json::from_slice(body);
    fields.map(Fields).map_err(|err| bad(format!("the body must be an object such as {example}: {err}")))
}

impl Fields {
    fn field<T>(
        &self,
        name: &str,
        allowed: &str,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(refused(name, value, allowed)),
        }
    }

    fn word<T: for<'a> Deserialize<'a>>(&self, name: &str, allowed: &str) -> Result<Option<T>, Problem> {
        self.field(name, allowed, |value| T::deserialize(value).ok())
    }

    fn switch(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.field(name, "true or false", Value::as_bool)
    }

    fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let allowed = format!("an integer from {} to {}", range.start(), range.end());
        match self.field(name, &allowed, Value::as_u64)? {
            Some(number) if !range.contains(&number) => Err(refused(name, &number.into(), &allowed)),
            number => Ok(number),
        }
    }
}

/// The longest value that is repeated to who sent it, in characters.
const SHOWN: usize = 40;

fn refused(name: &str, value: &Value, allowed: &str) -> Problem {
    let text = value.to_string();
    let shown: String = text.chars().take(SHOWN).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    bad(format!("`{name}` must be {allowed}, and is {shown}{cut}"))
}

fn bad(detail: String) -> Problem {
    Problem::new(ErrorKind::BadBody, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_keep_their_values_and_unknown_ones_are_ignored() {
        let before = Settings::at_start(true, 60);
        let after = |body: &str| {
            let mut settings = before.clone();
            Change::parse(body.as_bytes(), 4).unwrap().apply(&mut settings);
            settings
        };
        assert_eq!(after("{}"), before);
        assert_eq!(after(r#"{"more":[1],"hot_keys":["k"]}"#), before);
        assert_eq!(after(r#"{"cache":"off"}"#), Settings { cache: CacheMode::Off, ..before.clone() });
        let changed = after(
            r#"{"cache":"hot_only","ttl_seconds":1,"stale_while_revalidate":true,"stale_seconds":3600,
                "negative_caching":true,"negative_ttl_ms":10,"replication":4,"replicated_keys":64,"auto":true}"#,
        );
        assert_eq!(
            changed,
            Settings {
                cache: CacheMode::HotOnly,
                ttl_seconds: 1,
                stale_while_revalidate: true,
                stale_seconds: 3_600,
                negative_caching: true,
                negative_ttl_ms: 10,
                replication: 4,
                replicated_keys: 64,
                auto: true,
            }
        );
    }

    #[test]
    fn the_old_switch_is_the_same_one() {
        let parsed = |body: &str| {
            let change = Change::parse_cache(body.as_bytes()).unwrap();
            (change.cache, change.ttl_seconds)
        };
        assert_eq!(parsed("{}"), (None, None));
        assert_eq!(parsed(r#"{"enabled":false,"cache":"all"}"#), (Some(CacheMode::Off), None));
        assert_eq!(parsed(r#"{"ttl_seconds":86400}"#), (None, Some(86_400)));
        let both = r#"{"enabled":true,"ttl_seconds":1,"more":[]}"#;
        assert_eq!(parsed(both), (Some(CacheMode::All), Some(1)));
    }

    #[test]
    fn anything_else_is_refused_with_field_value_and_what_is_allowed() {
        let old = |body: &str| Change::parse_cache(body.as_bytes()).unwrap_err().body;
        let new = |body: &str| Change::parse(body.as_bytes(), 4).unwrap_err().body;
        for refuse in [old, new] {
            for (body, says) in [
                ("", "must be an object"),
                ("[]", "must be an object"),
                ("null", "must be an object"),
                ("true", "must be an object"),
                ("{", "must be an object"),
                (r#"{"ttl_seconds":0}"#, "`ttl_seconds` must be an integer from 1 to 86400, and is 0"),
                (r#"{"ttl_seconds":86401}"#, "from 1 to 86400, and is 86401"),
                (r#"{"ttl_seconds":-1}"#, "from 1 to 86400, and is -1"),
                (r#"{"ttl_seconds":2.0}"#, "an integer"),
                (r#"{"ttl_seconds":1e3}"#, "an integer"),
                (r#"{"ttl_seconds":"60"}"#, "and is \"60\""),
                (r#"{"ttl_seconds":null}"#, "and is null"),
            ] {
                let problem = refuse(body);
                let told = problem.kind == ErrorKind::BadBody && problem.detail.contains(says);
                assert!(told, "{body}: {problem:?}");
            }
        }
        for body in [r#"{"enabled":"true"}"#, r#"{"enabled":1}"#, r#"{"enabled":null}"#] {
            assert!(old(body).detail.contains("`enabled` must be true or false, and is"), "{body}");
        }
        for (body, says) in [
            (r#"{"cache":"on"}"#, "`cache` must be off, all or hot_only, and is \"on\""),
            (r#"{"cache":true}"#, "and is true"),
            (r#"{"cache":null}"#, "and is null"),
            (r#"{"stale_while_revalidate":"yes"}"#, "`stale_while_revalidate` must be true or false"),
            (r#"{"negative_caching":0}"#, "`negative_caching` must be true or false, and is 0"),
            (r#"{"negative_ttl_ms":9}"#, "`negative_ttl_ms` must be an integer from 10 to 60000, and is 9"),
            (r#"{"replication":5}"#, "`replication` must be an integer from 1 to 4, and is 5"),
            (r#"{"replication":0}"#, "from 1 to 4, and is 0"),
            (r#"{"replicated_keys":65}"#, "`replicated_keys` must be an integer from 1 to 64, and is 65"),
            (r#"{"auto":{"enabled":true}}"#, "`auto` must be true or false, and is {\"enabled\":true}"),
            (r#"{"stale_seconds":0}"#, "`stale_seconds` must be an integer from 1 to 3600, and is 0"),
        ] {
            assert!(new(body).detail.contains(says), "{body}: {:?}", new(body));
        }
        let long = new(&format!(r#"{{"cache":"{}"}}"#, "ü".repeat(500)));
        assert!(long.detail.chars().count() < 100, "{long:?}");
    }
}
