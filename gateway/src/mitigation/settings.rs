//! The switches of `/admin/mitigation`: values and request bodies.

use protocol::ErrorKind;
use protocol::body::{CacheMode, MitigationChange, MitigationSettings};
use protocol::limits::TTL_SECONDS;
use serde::Deserialize;
use serde_json::{Map, Value};
use service::problem::Problem;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::cache::CacheSettings;
use crate::metrics::MITIGATIONS;

/// How long a copy may be served past its time to live, in seconds.
const STALE_SECONDS: RangeInclusive<u64> = 1..=3_600;
/// Number of keys that may be replicated.
const REPLICATED_KEYS: RangeInclusive<u64> = 1..=64;
/// How long a shard's error may be remembered, in milliseconds.
const NEGATIVE_TTL_MS: RangeInclusive<u64> = 10..=60_000;

/// The name of the last reset among the settings of other gateways.
pub(super) const RESET: &str = "reset";

/// The names of all settings.
pub(super) const NAMES: [&str; 9] = [
    "cache",
    "ttl_seconds",
    "stale_while_revalidate",
    "stale_seconds",
    "negative_caching",
    "negative_ttl_ms",
    "replication",
    "replicated_keys",
    "auto",
];

/// The settings of all mitigations, and whether `auto` is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    pub(crate) settings: MitigationSettings,
    /// Whether the gateway itself sets `cache` and `replication`.
    pub(crate) auto: bool,
}

impl Switches {
    /// The settings at startup.
    pub(crate) fn at_start(cache_enabled: bool, ttl_seconds: u64) -> Self {
        let settings = MitigationSettings {
            cache: if cache_enabled { CacheMode::All } else { CacheMode::Off },
            ttl_seconds,
            stale_while_revalidate: false,
            stale_seconds: 10,
            negative_caching: false,
            negative_ttl_ms: 500,
            replication: 1,
            replicated_keys: 8,
        };
        Self { settings, auto: false }
    }

    pub(crate) fn for_cache(&self) -> CacheSettings {
        let settings = &self.settings;
        CacheSettings {
            mode: settings.cache,
            ttl: Duration::from_secs(settings.ttl_seconds),
            stale: settings.stale_while_revalidate.then(|| Duration::from_secs(settings.stale_seconds)),
            negative: settings.negative_caching.then(|| Duration::from_millis(settings.negative_ttl_ms)),
        }
    }

    /// The mitigations that are on, in the order of [`MITIGATIONS`].
    pub(super) fn on(&self) -> [bool; MITIGATIONS.len()] {
        let settings = &self.settings;
        [
            settings.cache == CacheMode::All,
            settings.cache == CacheMode::HotOnly,
            settings.stale_while_revalidate,
            settings.negative_caching,
            settings.replication > 1,
            self.auto,
        ]
    }

    /// Applies a change with all that it [implies](explicit).
    pub(super) fn apply(&mut self, change: &MitigationChange) {
        fn set<T: Copy>(to: &mut T, from: Option<T>) {
            *to = from.unwrap_or(*to);
        }
        let settings = &mut self.settings;
        set(&mut settings.cache, change.cache);
        set(&mut settings.ttl_seconds, change.ttl_seconds);
        set(&mut settings.stale_while_revalidate, change.stale_while_revalidate);
        set(&mut settings.stale_seconds, change.stale_seconds);
        set(&mut settings.negative_caching, change.negative_caching);
        set(&mut settings.negative_ttl_ms, change.negative_ttl_ms);
        set(&mut settings.replication, change.replication);
        set(&mut settings.replicated_keys, change.replicated_keys);
        set(&mut self.auto, change.auto);
    }
}

/// A requested change with all that it implies. A value that `auto` controls ends `auto`.
pub(super) fn explicit(change: &MitigationChange) -> MitigationChange {
    MitigationChange { auto: change.auto.or_else(|| sets_by_hand(change).then_some(false)), ..change.clone() }
}

/// Whether this change sets a value that `auto` controls.
pub(super) fn sets_by_hand(change: &MitigationChange) -> bool {
    change.cache.is_some() || change.replication.is_some()
}

/// Parses the body of `POST /admin/mitigation`, with `shards` as the largest replication. Unknown fields are ignored.
///
/// # Errors
/// 400 with the field, its value and the allowed values.
pub(crate) fn parse(body: &[u8], shards: u64) -> Result<MitigationChange, Problem> {
    change_of(&object(body, r#"{"cache":"hot_only","ttl_seconds":60}"#)?, shards)
}

/// Validates settings by name, and a reset among them.
///
/// # Errors
/// See [`parse`].
pub(super) fn checked(values: Map<String, Value>, shards: u64) -> Result<MitigationChange, Problem> {
    let fields = Fields(values);
    fields.field(RESET, "true", |value| value.as_bool().filter(|reset| *reset))?;
    change_of(&fields, shards)
}

fn change_of(fields: &Fields, shards: u64) -> Result<MitigationChange, Problem> {
    Ok(MitigationChange {
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

/// Parses the body of `POST /admin/cache`. Its only fields are `enabled` and `ttl_seconds`.
///
/// # Errors
/// See [`parse`].
pub(crate) fn parse_cache(body: &[u8]) -> Result<MitigationChange, Problem> {
    let fields = object(body, r#"{"enabled":true,"ttl_seconds":60}"#)?;
    let mode = |enabled| if enabled { CacheMode::All } else { CacheMode::Off };
    Ok(MitigationChange {
        cache: fields.switch("enabled")?.map(mode),
        ttl_seconds: fields.integer("ttl_seconds", TTL_SECONDS)?,
        ..MitigationChange::default()
    })
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

/// Longest value that an error message repeats, in characters.
const SHOWN: usize = 40;

fn refused(name: &str, value: &Value, allowed: &str) -> Problem {
    let text = value.to_string();
    let shown: String = text.chars().take(SHOWN).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    bad(format!("`{name}` must be {allowed}, not {shown}{cut}"))
}

fn bad(detail: String) -> Problem {
    Problem::new(ErrorKind::BadBody, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_keep_their_values_and_unknown_ones_are_ignored() {
        let before = Switches::at_start(true, 60);
        let after = |body: &str| {
            let mut settings = before.clone();
            settings.apply(&parse(body.as_bytes(), 4).unwrap());
            settings
        };
        assert_eq!(after("{}"), before);
        assert_eq!(after(r#"{"more":[1],"hot_keys":["k"]}"#), before);
        let off = MitigationSettings { cache: CacheMode::Off, ..before.settings.clone() };
        assert_eq!(after(r#"{"cache":"off"}"#), Switches { settings: off, auto: false });
        let changed = after(
            r#"{"cache":"hot_only","ttl_seconds":1,"stale_while_revalidate":true,"stale_seconds":3600,
                "negative_caching":true,"negative_ttl_ms":10,"replication":4,"replicated_keys":64,"auto":true}"#,
        );
        assert_eq!(
            changed.settings,
            MitigationSettings {
                cache: CacheMode::HotOnly,
                ttl_seconds: 1,
                stale_while_revalidate: true,
                stale_seconds: 3_600,
                negative_caching: true,
                negative_ttl_ms: 10,
                replication: 4,
                replicated_keys: 64,
            }
        );
        assert!(changed.auto);
    }

    #[test]
    fn the_old_switch_is_the_same_one() {
        let parsed = |body: &str| {
            let change = parse_cache(body.as_bytes()).unwrap();
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
        let old = |body: &str| parse_cache(body.as_bytes()).unwrap_err().body;
        let new = |body: &str| parse(body.as_bytes(), 4).unwrap_err().body;
        for refuse in [old, new] {
            for (body, expected) in [
                ("", "must be an object"),
                ("[]", "must be an object"),
                ("null", "must be an object"),
                ("true", "must be an object"),
                ("{", "must be an object"),
                (r#"{"ttl_seconds":0}"#, "`ttl_seconds` must be an integer from 1 to 86400, not 0"),
                (r#"{"ttl_seconds":86401}"#, "from 1 to 86400, not 86401"),
                (r#"{"ttl_seconds":-1}"#, "from 1 to 86400, not -1"),
                (r#"{"ttl_seconds":2.0}"#, "an integer"),
                (r#"{"ttl_seconds":1e3}"#, "an integer"),
                (r#"{"ttl_seconds":"60"}"#, "not \"60\""),
                (r#"{"ttl_seconds":null}"#, "not null"),
            ] {
                let problem = refuse(body);
                let is_named = problem.kind == ErrorKind::BadBody && problem.detail.contains(expected);
                assert!(is_named, "{body}: {problem:?}");
            }
        }
        for body in [r#"{"enabled":"true"}"#, r#"{"enabled":1}"#, r#"{"enabled":null}"#] {
            assert!(old(body).detail.contains("`enabled` must be true or false, not"), "{body}");
        }
        for (body, expected) in [
            (r#"{"cache":"on"}"#, "`cache` must be off, all or hot_only, not \"on\""),
            (r#"{"cache":true}"#, "not true"),
            (r#"{"cache":null}"#, "not null"),
            (r#"{"stale_while_revalidate":"yes"}"#, "`stale_while_revalidate` must be true or false"),
            (r#"{"negative_caching":0}"#, "`negative_caching` must be true or false, not 0"),
            (r#"{"negative_ttl_ms":9}"#, "`negative_ttl_ms` must be an integer from 10 to 60000, not 9"),
            (r#"{"replication":5}"#, "`replication` must be an integer from 1 to 4, not 5"),
            (r#"{"replication":0}"#, "from 1 to 4, not 0"),
            (r#"{"replicated_keys":65}"#, "`replicated_keys` must be an integer from 1 to 64, not 65"),
            (r#"{"auto":{"enabled":true}}"#, "`auto` must be true or false, not {\"enabled\":true}"),
            (r#"{"stale_seconds":0}"#, "`stale_seconds` must be an integer from 1 to 3600, not 0"),
        ] {
            assert!(new(body).detail.contains(expected), "{body}: {:?}", new(body));
        }
        let long = new(&format!(r#"{{"cache":"{}"}}"#, "ü".repeat(500)));
        assert!(long.detail.chars().count() < 100, "{long:?}");
    }
}
