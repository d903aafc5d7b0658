//! Defines and validates the addresses that the live page calls.

use protocol::probe_api::PageLinks;
use protocol::shard_urls::{ShardUrl, ShardUrls};
use service::args::SettingError;
use service::members::Members;

/// Options for the live page.
#[derive(Clone, Debug, clap::Args)]
pub struct PageArgs {
    /// URL at which a browser reaches the gateway; the live page switches mitigations there [default: the first of GATEWAY_URL]
    #[arg(long, env = "PAGE_GATEWAY_URL", value_name = "URL")]
    pub page_gateway_url: Option<String>,
    /// The URL of the scenario starter (`load serve`) for browsers [default: none]
    #[arg(long, env = "PAGE_SCENARIOS_URL", value_name = "URL")]
    pub page_scenarios_url: Option<String>,
}

impl PageArgs {
    /// The addresses that the live page calls. The gateway is the first one unless another is given.
    pub(crate) fn links(self, gateways: &Members) -> Result<PageLinks, SettingError> {
        let gateway = link("PAGE_GATEWAY_URL", self.page_gateway_url)?;
        Ok(PageLinks {
            gateway: gateway.or_else(|| gateways.first().map(ToString::to_string)),
            scenarios: link("PAGE_SCENARIOS_URL", self.page_scenarios_url)?,
        })
    }
}

/// Validates a URL for browsers and drops a slash at its end. An empty string counts as absent, because compose files
/// pass `${NAME:-}` as an empty string.
fn link(name: &'static str, url: Option<String>) -> Result<Option<String>, SettingError> {
    let url = url.filter(|url| !url.is_empty());
    url.map(|url| one_url(name, &url).map(|url| url.to_string())).transpose()
}

fn one_url(name: &'static str, url: &str) -> Result<ShardUrl, SettingError> {
    let parsed = ShardUrls::parse(url).ok().and_then(ShardUrls::only);
    parsed.ok_or_else(|| SettingError::new(name, url, "give one http://host:port, without a path"))
}
