//! Which probe is asked: one that runs, or one attached in this process for as long as the command takes.

use std::process::ExitCode;
use std::time::Duration;

use protocol::shard_urls::ShardUrls;
use service::args::SettingError;
use service::process::{StartError, complain};
use service::server::Started;

use super::args::OriginArgs;
use super::client::Client;
use crate::config::Config;

/// Where a probe listens if nothing else is said.
const USUAL: &str = "http://127.0.0.1:9010";

/// How long an own probe may take to let go.
const GRACE: Duration = Duration::from_secs(2);

/// A probe that can be asked.
pub struct Origin {
    /// `http://host:port`.
    pub base: String,
    own: Option<Started>,
}

impl Origin {
    /// The probe these options mean. Call it before there are other threads: attaching gives up privileges, which are
    /// a thread's own.
    ///
    /// # Errors
    /// When an option cannot be used, or a probe is to be attached and cannot.
    pub fn find(args: &OriginArgs) -> Result<Self, StartError> {
        if let Some(url) = &args.url {
            return Ok(Self { base: plain(url)?, own: None });
        }
        let Some(shard_urls) = &args.shard_urls else {
            return Ok(Self { base: USUAL.to_owned(), own: None });
        };
        let config = Config::alone(shard_urls, args.gateway_url.as_deref(), args.cgroup.clone())?;
        if usual_watches(&config.shards)? {
            return Ok(Self { base: USUAL.to_owned(), own: None });
        }
        let own = config.build()?.start()?;
        Ok(Self { base: format!("http://{}", own.local_addr()), own: Some(own) })
    }

    /// In a few words, for people.
    #[must_use]
    pub fn name(&self) -> String {
        if self.own.is_some() { "attached for this command".to_owned() } else { self.base.clone() }
    }

    /// Lets go of the kernel, if this was an own probe.
    pub fn end(self) {
        if let Some(own) = self.own {
            drop(own.stop(GRACE));
        }
    }
}

/// Whether a probe listens at the usual place and watches just these shards.
fn usual_watches(shards: &ShardUrls) -> Result<bool, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wanted: Vec<String> = shards.iter().map(|url| format!("{}:{}", url.host, url.port)).collect();
    let client = Client::new(USUAL.to_owned()).map_err(|error| StartError::Other(error.to_string()))?;
    let watched = runtime.block_on(client.shards());
    Ok(watched.is_ok_and(|watched| watched.shards.iter().map(|shard| &shard.address).eq(&wanted)))
}

fn plain(url: &str) -> Result<String, SettingError> {
    let one = ShardUrls::parse(url).ok().filter(|urls| urls.count().get() == 1);
    one.and_then(|urls| urls.iter().next().map(ToString::to_string))
        .ok_or_else(|| SettingError::new("--url", url, "give one http://host:port, without a path"))
}

/// Says why a command cannot begin; gives its exit code.
pub(super) fn refuse(error: &StartError) -> ExitCode {
    complain(&error.to_string());
    if matches!(error, StartError::Setting(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Why there is no answer, and what to do where no probe was named.
pub(super) fn advice(problem: &str, args: &OriginArgs) -> String {
    if args.url.is_some() || args.shard_urls.is_some() {
        return problem.to_owned();
    }
    format!(
        "{problem}; start one (probe run), name another (--url), or give --shard-urls to attach for this command"
    )
}
