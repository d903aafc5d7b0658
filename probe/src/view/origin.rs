//! Finds a running probe, or attaches one for this command.

use std::process::ExitCode;
use std::time::Duration;

use protocol::probe_api::Shards;
use protocol::shard_urls::ShardUrls;
use service::args::SettingError;
use service::process::{StartError, complain};
use service::server::Started;
use tokio::runtime::Runtime;

use super::args::OriginArgs;
use super::client::Client;
use crate::config::Config;

/// The default URL of a probe.
const DEFAULT_URL: &str = "http://127.0.0.1:9010";

/// How long a probe attached by this command may take to stop.
const GRACE: Duration = Duration::from_millis(500);

/// A probe that answers HTTP requests.
pub(crate) struct Origin {
    /// `http://host:port`.
    pub(crate) base: String,
    own: Option<Started>,
}

impl Origin {
    /// Finds or attaches the probe that these options select. Call it before the process has other threads, because
    /// attaching drops privileges, which belong to a thread.
    pub(crate) fn find(args: &OriginArgs) -> Result<Self, StartError> {
        if let Some(url) = &args.url {
            return Ok(Self { base: plain(url)?, own: None });
        }
        let usual = Self { base: DEFAULT_URL.to_owned(), own: None };
        let Some(shard_urls) = &args.shard_urls else { return Ok(usual) };
        let config = Config::alone(shard_urls, args.gateway_url.as_deref(), args.cgroup.clone())?;
        if default_watches(&usual, &config.shards)? {
            return Ok(usual);
        }
        let own = config.build()?.start()?;
        Ok(Self { base: format!("http://{}", own.local_addr()), own: Some(own) })
    }

    /// A client of the probe, and a runtime for it.
    pub(super) fn client(&self) -> Result<(Runtime, Client), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((runtime, Client::new(self.base.clone())?))
    }

    /// A short name for the screen.
    #[cfg(feature = "top")]
    pub(crate) fn name(&self) -> String {
        if self.own.is_some() { "attached for this command".to_owned() } else { self.base.clone() }
    }

    /// Stops the probe if this command attached it.
    pub(crate) fn end(self) {
        if let Some(own) = self.own {
            drop(own.stop(GRACE));
        }
    }
}

/// Runs a command on the probe that the options select. Returns its exit code.
pub(super) fn show(
    args: &OriginArgs,
    command: impl FnOnce(&Origin) -> Result<ExitCode, StartError>,
) -> ExitCode {
    let shown = Origin::find(args).and_then(|origin| {
        let code = command(&origin);
        origin.end();
        code
    });
    shown.unwrap_or_else(|error| {
        complain(&error.to_string());
        if matches!(error, StartError::Setting(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

/// Whether a probe listens at the default URL and watches exactly these shards.
fn default_watches(usual: &Origin, shards: &ShardUrls) -> Result<bool, StartError> {
    let (runtime, client) = usual.client()?;
    let wanted: Vec<String> = shards.iter().map(|url| format!("{}:{}", url.host, url.port)).collect();
    let watched = runtime.block_on(client.get::<Shards>("/api/shards"));
    Ok(watched.is_ok_and(|watched| watched.shards.iter().map(|shard| &shard.address).eq(&wanted)))
}

fn plain(url: &str) -> Result<String, SettingError> {
    let one = ShardUrls::parse(url).ok().and_then(ShardUrls::only);
    one.map(|url| url.to_string())
        .ok_or_else(|| SettingError::new("--url", url, "give one http://host:port, without a path"))
}

/// Adds advice to a problem when no probe was selected.
pub(super) fn advice(problem: &str, args: &OriginArgs) -> String {
    if args.url.is_some() || args.shard_urls.is_some() {
        return problem.to_owned();
    }
    format!(
        "{problem}; start one (probe run), name another (--url), or give --shard-urls to attach for this command"
    )
}
