//! Parses `GATEWAY_URL`: addresses of gateways, or their DNS name.

use std::fmt;

use protocol::shard_urls::{ShardUrl, ShardUrls, ShardUrlsError};
use service::args::SettingError;
use service::names::Names;

/// Maximum number of gateways. Each is read twice a second.
pub const MAX_GATEWAYS: usize = 64;

/// Prefix of a URL whose host name resolves to several gateways.
const ALL: &str = "dns+";

/// The gateways as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayUrls(Vec<Named>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    url: ShardUrl,
    /// Whether every address of the name is a gateway.
    all: bool,
}

impl GatewayUrls {
    /// Parses a comma-separated list. `None` means no gateways.
    ///
    /// # Errors
    /// Names the setting and the allowed values.
    pub fn parse(list: Option<&str>) -> Result<Self, SettingError> {
        let Some(list) = list else { return Ok(Self::default()) };
        let refused = |allowed: String| SettingError::new("GATEWAY_URL", list, allowed);
        let parts: Vec<&str> = list.split(',').map(str::trim).collect();
        let plain: Vec<&str> = parts.iter().map(|part| part.strip_prefix(ALL).unwrap_or(part)).collect();
        let urls = ShardUrls::parse(&plain.join(",")).map_err(|error| {
            refused(match error {
                ShardUrlsError::Empty => "http://host:port, several separated by commas".to_owned(),
                ShardUrlsError::Duplicate { url } => {
                    format!("every gateway once; `{url}` is listed twice")
                }
                error @ ShardUrlsError::NotAPlainHttpUrl { .. } => error.to_string(),
            })
        })?;
        if parts.len() > MAX_GATEWAYS {
            return Err(refused(format!("at most {MAX_GATEWAYS} gateways")));
        }
        let named = urls.iter().zip(parts);
        Ok(Self(named.map(|(url, part)| Named { url: url.clone(), all: part.starts_with(ALL) }).collect()))
    }

    /// Whether no gateway is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether exactly one gateway is configured, and not by a name that may resolve to several.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self.0.as_slice(), [Named { all: false, .. }])
    }

    /// The first URL of the list.
    #[must_use]
    pub fn first(&self) -> Option<&ShardUrl> {
        self.0.first().map(|named| &named.url)
    }

    /// Resolves all gateways. The gateways of one name are in the order of their addresses.
    ///
    /// # Errors
    /// A short reason when a name has no address, or when there are too many gateways.
    pub async fn resolve(&self, names: &Names) -> Result<Vec<ShardUrl>, String> {
        let mut urls = Vec::new();
        for Named { url, all } in &self.0 {
            if !all {
                urls.push(url.clone());
                continue;
            }
            let mut found = names.resolve(&url.host).await.map_err(|error| error.to_string())?;
            found.sort_unstable();
            urls.extend(found.into_iter().map(|ip| {
                let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                ShardUrl { host, ..url.clone() }
            }));
        }
        if urls.len() > MAX_GATEWAYS {
            return Err(format!("there are {} gateways; at most {MAX_GATEWAYS} are supported", urls.len()));
        }
        Ok(urls)
    }
}

impl fmt::Display for GatewayUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Named { url, all }) in self.0.iter().enumerate() {
            write!(f, "{}{}{url}", if at > 0 { "," } else { "" }, if *all { ALL } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_plain_urls_or_names_of_many() {
        let parse = |list| GatewayUrls::parse(Some(list));
        let several = parse("http://g:8000, dns+http://h:8000").unwrap();
        assert_eq!(several.to_string(), "http://g:8000,dns+http://h:8000");
        assert!(!several.is_one() && parse("http://g:8000").unwrap().is_one());
        assert!(
            !parse("dns+http://g:8000").unwrap().is_one() && GatewayUrls::parse(None).unwrap().is_empty()
        );
        for list in ["", "g:8000", "http://g,", "http://g,http://g", "http://g/stats", "dns+g"] {
            let error = parse(list).unwrap_err().to_string();
            assert!(error.starts_with("GATEWAY_URL=") && error.lines().count() == 1, "{error}");
        }
        let many = (0..65).map(|n| format!("http://g{n}")).collect::<Vec<_>>().join(",");
        assert!(parse(&many).unwrap_err().to_string().ends_with("at most 64 gateways"));
    }

    #[tokio::test]
    async fn a_name_of_many_is_each_of_its_addresses() {
        let urls = GatewayUrls::parse(Some("http://elsewhere.invalid:1,dns+http://127.0.0.1:8000")).unwrap();
        let shown: Vec<_> =
            urls.resolve(&Names::default()).await.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://elsewhere.invalid:1", "http://127.0.0.1:8000"]);
        let unknown_host = GatewayUrls::parse(Some("dns+http://no-such-host.invalid:8000")).unwrap();
        assert!(
            unknown_host
                .resolve(&Names::default())
                .await
                .unwrap_err()
                .starts_with("the name no-such-host.invalid has no address")
        );
    }
}
