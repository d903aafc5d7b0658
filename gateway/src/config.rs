//! The gateway's settings: parsed ([`Args`]) and validated ([`Config`]).

use axum::http::{HeaderValue, Uri};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use protocol::limits::TTL_SECONDS;
use protocol::placement::Scheme;
use protocol::shard_urls::ShardUrls;
use service::args::{ProcessArgs, SettingError};
use service::members::Members;
use service::origin::{Origins, is_http};
use service::traces::args::TraceArgs;
use service::traces::settings::TraceSettings;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::peers;

/// The gateway of the Hot Partition Lab: placement, cache, key statistics
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gateway", version)]
pub struct Args {
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// The shards, http://host:port separated by commas; the position in the list is the shard's id
    #[arg(long, env = "SHARD_URLS", value_name = "URLS")]
    pub shard_urls: String,
    /// Expected number of shards in SHARD_URLS [default: not checked]
    #[arg(long, env = "NUM_SHARDS", value_name = "COUNT")]
    pub num_shards: Option<u32>,
    /// Whether the cache is on at startup
    #[arg(long, env = "CACHE_ENABLED", default_value = "false", default_missing_value = "true", num_args = 0..=1,
          action = clap::ArgAction::Set, value_parser = switch, value_name = "BOOL")]
    pub cache_enabled: bool,
    /// Time to live of cached values in seconds
    #[arg(long, env = "CACHE_TTL_SECONDS", default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(*TTL_SECONDS.start()..=*TTL_SECONDS.end()))]
    pub cache_ttl_seconds: u64,
    /// Largest size of the cache in bytes, including keys and overhead
    #[arg(long, env = "CACHE_MAX_BYTES", default_value_t = 64 * 1024 * 1024, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub cache_max_bytes: u64,
    /// Rule that maps a key to its home shard
    #[arg(long, env = "PLACEMENT", default_value = "modulo", value_name = "SCHEME", value_parser = scheme())]
    pub placement: Scheme,
    /// With PLACEMENT=bounded: how far above its fair share of the requests in flight a shard may be (0.25 = 25 %)
    #[arg(long, env = "BOUNDED_LOAD_EPSILON", default_value_t = 0.25, value_name = "PART", value_parser = epsilon)]
    pub bounded_load_epsilon: f64,
    /// Whether requests are counted by key; false disables hot keys, the verdict and mitigations that need them, to
    /// measure the cost of counting
    #[arg(long, env = "KEY_STATISTICS", default_value = "true", default_missing_value = "true", num_args = 0..=1,
          action = clap::ArgAction::Set, value_parser = switch, value_name = "BOOL")]
    pub key_statistics: bool,
    /// Timeout for connecting to a shard in milliseconds; must be less than UPSTREAM_TIMEOUT_MS
    #[arg(long, env = "CONNECT_TIMEOUT_MS", default_value_t = 1_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub connect_timeout_ms: u64,
    /// Timeout for a shard's complete answer in milliseconds, including the connect time
    #[arg(long, env = "UPSTREAM_TIMEOUT_MS", default_value_t = 5_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub upstream_timeout_ms: u64,
    /// All gateways that share the switches of mitigations with this one, http://host:port separated by commas.
    /// dns+http://host:port stands for a gateway at each address of the name. May include this gateway [default: none]
    #[arg(long, env = "PEER_URL", default_value = "", hide_default_value = true, value_name = "URLS")]
    pub peer_url: String,
    /// URL of the live page; `GET /` redirects to it [default: none]
    #[arg(long, env = "PROBE_PAGE_URL", default_value = "", hide_default_value = true, value_name = "URL")]
    pub probe_page_url: String,
    /// Origins whose pages may call POST /admin/*, scheme://host[:port] separated by commas [default: none]
    #[arg(
        long,
        env = "ADMIN_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    pub admin_origins: String,
    /// The settings that all processes share.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Where to export spans.
    #[command(flatten)]
    pub traces: TraceArgs,
}

/// The validated settings of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: NonZeroUsize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) shards: ShardUrls,
    pub(crate) cache_enabled: bool,
    pub(crate) cache_ttl_seconds: u64,
    pub(crate) cache_max_bytes: u64,
    pub(crate) placement: Scheme,
    pub(crate) bounded_load_epsilon: f64,
    pub(crate) key_statistics: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) upstream_timeout: Duration,
    pub(crate) peers: Members,
    pub(crate) page_url: Option<HeaderValue>,
    pub(crate) admin_origins: Origins,
    pub(crate) traces: TraceSettings,
}

impl TryFrom<Args> for Config {
    type Error = SettingError;

    fn try_from(args: Args) -> Result<Self, SettingError> {
        let shards = ShardUrls::parse(&args.shard_urls)
            .map_err(|err| SettingError::new("SHARD_URLS", &args.shard_urls, err.to_string()))?;
        if let Some(count) = args.num_shards
            && count != shards.count().get()
        {
            let allowed =
                format!("allowed: {}, the number of shards in SHARD_URLS; or leave it unset", shards.count());
            return Err(SettingError::new("NUM_SHARDS", count.to_string(), allowed));
        }
        if args.connect_timeout_ms >= args.upstream_timeout_ms {
            let allowed =
                format!("allowed: less than UPSTREAM_TIMEOUT_MS, which is {}", args.upstream_timeout_ms);
            return Err(SettingError::new(
                "CONNECT_TIMEOUT_MS",
                args.connect_timeout_ms.to_string(),
                allowed,
            ));
        }
        Ok(Self {
            listen: SocketAddr::new(args.process.bind_address, args.port),
            workers: args.process.workers(),
            memory_limit: args.process.memory_limit(),
            shards,
            cache_enabled: args.cache_enabled,
            cache_ttl_seconds: args.cache_ttl_seconds,
            cache_max_bytes: args.cache_max_bytes,
            placement: args.placement,
            bounded_load_epsilon: args.bounded_load_epsilon,
            key_statistics: args.key_statistics,
            connect_timeout: Duration::from_millis(args.connect_timeout_ms),
            upstream_timeout: Duration::from_millis(args.upstream_timeout_ms),
            peers: peers::parse(&args.peer_url)?,
            page_url: page_url(&args.probe_page_url)?,
            admin_origins: Origins::parse(&args.admin_origins)?,
            traces: args.traces.checked("api-gateway")?,
        })
    }
}

fn scheme() -> impl TypedValueParser<Value = Scheme> {
    let values = [
        ("modulo", "md5(key) modulo the number of shards"),
        ("jump", "Jump consistent hashing"),
        ("rendezvous", "Rendezvous (highest random weight) hashing"),
        (
            "bounded",
            "Modulo with bounded load: a read goes to the next shard if its home has too many requests in flight",
        ),
    ];
    PossibleValuesParser::new(values.map(|(name, help)| PossibleValue::new(name).help(help))).map(|name| {
        match name.as_str() {
            "jump" => Scheme::Jump,
            "rendezvous" => Scheme::Rendezvous,
            "bounded" => Scheme::Bounded,
            _ => Scheme::Modulo,
        }
    })
}

/// Parses a boolean in any spelling that the old lab accepts.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("allowed: true or false".into()),
    }
}

fn epsilon(text: &str) -> Result<f64, String> {
    let part = text.parse::<f64>().ok().filter(|part| (0.0..=100.0).contains(part));
    part.ok_or_else(|| "allowed: a number from 0 to 100".into())
}

/// Parses `PROBE_PAGE_URL`. Empty means no page, because a compose file passes an unset `${PROBE_PAGE_URL:-}` as empty
/// text.
fn page_url(text: &str) -> Result<Option<HeaderValue>, SettingError> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_web_url = text.parse::<Uri>().is_ok_and(|uri| is_http(&uri));
    match HeaderValue::from_str(text) {
        Ok(value) if is_web_url => Ok(Some(value)),
        _ => Err(SettingError::new("PROBE_PAGE_URL", text, "an http:// or https:// URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const SHARDS: &str = "--shard-urls=http://127.0.0.1:9000,http://127.0.0.1:9001";

    fn config(args: &[&str]) -> Result<Config, SettingError> {
        Config::try_from(Args::try_parse_from([&["gateway"], args].concat()).unwrap())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = config(&[SHARDS]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
        assert!(
            config.peers.is_empty()
                && !config.cache_enabled
                && config.page_url.is_none()
                && config.admin_origins.is_empty()
        );
        assert_eq!((config.cache_ttl_seconds, config.cache_max_bytes), (60, 64 << 20));
        assert_eq!((config.placement, config.bounded_load_epsilon), (Scheme::Modulo, 0.25));
        assert_eq!((config.connect_timeout.as_millis(), config.upstream_timeout.as_millis()), (1_000, 5_000));
    }

    #[test]
    fn the_switch_takes_what_the_old_lab_took() {
        for (value, on) in [
            ("true", true),
            ("True", true),
            ("on", true),
            ("1", true),
            ("false", false),
            ("off", false),
            ("0", false),
        ] {
            assert_eq!(config(&[SHARDS, "--cache-enabled", value]).unwrap().cache_enabled, on, "{value}");
        }
        assert!(config(&[SHARDS, "--cache-enabled"]).unwrap().cache_enabled);
    }

    #[test]
    fn bad_settings_name_variable_value_and_what_is_allowed() {
        let table: &[(&[&str], &str, &str)] = &[
            (&["--shard-urls="], "SHARD_URLS", "an empty entry"),
            (&["--shard-urls=http://a:1,http://a:1"], "SHARD_URLS", "twice"),
            (&["--shard-urls=https://a:1"], "SHARD_URLS", "http://host:port"),
            (&["--shard-urls=http://a:1/x"], "SHARD_URLS", "no path"),
            (&[SHARDS, "--num-shards=4"], "NUM_SHARDS", "allowed: 2"),
            (
                &[SHARDS, "--connect-timeout-ms=50", "--upstream-timeout-ms=50"],
                "CONNECT_TIMEOUT_MS",
                "less than UPSTREAM_TIMEOUT_MS, which is 50",
            ),
            (&[SHARDS, "--peer-url=http://g/x"], "PEER_URL", "no path"),
            (&[SHARDS, "--peer-url=http://g,dns+http://g"], "PEER_URL", "all gateways, each once"),
            (&[SHARDS, "--probe-page-url=page"], "PROBE_PAGE_URL", "http://"),
            (&[SHARDS, "--admin-origins=*"], "ADMIN_ORIGINS", "http://localhost:9010"),
            (&[SHARDS, "--admin-origins=http://a:1/"], "ADMIN_ORIGINS", "no path"),
            (&[SHARDS, "--admin-origins=http://A:1"], "ADMIN_ORIGINS", "lower case"),
            (&[SHARDS, "--admin-origins=http://a:1,"], "ADMIN_ORIGINS", "commas"),
        ];
        for (args, name, allowed) in table {
            let err = config(args).unwrap_err();
            assert!(err.name == *name && err.allowed.contains(allowed), "{args:?}: {err}");
            assert_eq!(err.to_string().lines().count(), 1);
        }
        for bad in [
            "--cache-ttl-seconds=0",
            "--cache-ttl-seconds=86401",
            "--cache-ttl-seconds=1.5",
            "--cache-enabled=maybe",
            "--cache-max-bytes=0",
            "--placement=maglev",
            "--bounded-load-epsilon=-1",
            "--bounded-load-epsilon=NaN",
            "--connect-timeout-ms=0",
            "--port=65536",
            "--port=abc",
            "--num-shards=x",
        ] {
            let err = Args::try_parse_from(["gateway", SHARDS, bad]).unwrap_err();
            let line = service::args::one_line(&err);
            let option = bad.split('=').next().unwrap_or_default();
            assert!(
                line.contains(option) && line.contains("cannot be used") && line.lines().count() == 1,
                "{line}"
            );
            assert!(line.contains("allowed: ") || line.contains(" is not in "), "{line}");
        }
    }

    #[test]
    fn shards_have_no_default() {
        // The test process may have the variable set, so the test checks the declaration.
        let command = <Args as clap::CommandFactory>::command();
        let shard_urls = command.get_arguments().find(|arg| arg.get_id() == "shard_urls").unwrap();
        assert!(shard_urls.is_required_set() && shard_urls.get_default_values().is_empty());
    }
}
