//! Parses the addresses of several processes of one kind, or the DNS name of all of them.

use protocol::shard_urls::{ShardUrl, ShardUrls, ShardUrlsError};
use std::fmt;
use std::sync::Arc;

use crate::args::SettingError;
use crate::names::Names;

/// Maximum number of gateways of one lab.
pub const MAX_GATEWAYS: usize = 128;

/// Prefix of a URL whose host name resolves to several processes.
const ALL: &str = "dns+";

/// The processes that a setting lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The environment variable.
    pub setting: &'static str,
    /// Their name in messages, such as `gateways`.
    pub plural: &'static str,
    /// Their maximum number.
    pub max: usize,
}

/// Finds processes in another way than by a list.
pub trait Finder: fmt::Debug + Send + Sync {
    /// Where they are now, in a fixed order.
    ///
    /// # Errors
    /// A short reason when that is not known, or when there are none.
    fn find(&self) -> Result<Vec<ShardUrl>, String>;

    /// The node of the process at `url`, if known.
    fn node(&self, url: &ShardUrl) -> Option<String>;
}

/// The processes as configured.
#[derive(Clone, Debug)]
pub struct Members {
    kind: Kind,
    list: Vec<Named>,
    finder: Option<Arc<dyn Finder>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    url: ShardUrl,
    /// Whether there is a process at every address of the name.
    all: bool,
}

impl Members {
    /// Parses a comma-separated list. `None` means no processes.
    ///
    /// # Errors
    /// Names the setting and the allowed values.
    pub fn parse(kind: Kind, list: Option<&str>) -> Result<Self, SettingError> {
        let Some(list) = list else { return Ok(Self { kind, list: Vec::new(), finder: None }) };
        let Kind { setting, plural, max } = kind;
        let refused = |allowed: String| SettingError::new(setting, list, allowed);
        let parts: Vec<&str> = list.split(',').map(str::trim).collect();
        let plain: Vec<&str> = parts.iter().map(|part| part.strip_prefix(ALL).unwrap_or(part)).collect();
        let urls = ShardUrls::parse(&plain.join(",")).map_err(|error| {
            refused(match error {
                ShardUrlsError::Empty => "http://host:port, several separated by commas".to_owned(),
                ShardUrlsError::Duplicate { url } => {
                    format!("all {plural}, each once; `{url}` is listed twice")
                }
                error @ ShardUrlsError::NotAPlainHttpUrl { .. } => error.to_string(),
            })
        })?;
        if parts.len() > max {
            return Err(refused(format!("at most {max} {plural}")));
        }
        let named = urls.iter().zip(parts);
        let list = named.map(|(url, part)| Named { url: url.clone(), all: part.starts_with(ALL) }).collect();
        Ok(Self { kind, list, finder: None })
    }

    /// Processes that `finder` finds, at most as many as a list may have.
    pub fn found_by(kind: Kind, finder: Arc<dyn Finder>) -> Self {
        Self { kind, list: Vec::new(), finder: Some(finder) }
    }

    /// The node of the process at `url`, if known.
    #[must_use]
    pub fn node(&self, url: &ShardUrl) -> Option<String> {
        self.finder.as_ref()?.node(url)
    }

    /// Whether none is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.finder.is_none()
    }

    /// Whether exactly one is configured, and not by a name that may resolve to several.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self.list.as_slice(), [Named { all: false, .. }])
    }

    /// The first URL of the list.
    #[must_use]
    pub fn first(&self) -> Option<&ShardUrl> {
        self.list.first().map(|named| &named.url)
    }

    /// Resolves all processes. Those of one name are in the order of their addresses.
    ///
    /// # Errors
    /// A short reason when a name has no address, or when there are too many processes.
    pub async fn resolve(&self, names: &Names) -> Result<Vec<ShardUrl>, String> {
        let mut urls = self.finder.as_ref().map_or_else(|| Ok(Vec::new()), |finder| finder.find())?;
        for Named { url, all } in &self.list {
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
        let Kind { plural, max, .. } = self.kind;
        if urls.len() > max {
            return Err(format!("there are {} {plural}; at most {max} are supported", urls.len()));
        }
        Ok(urls)
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Named { url, all }) in self.list.iter().enumerate() {
            write!(f, "{}{}{url}", if at > 0 { "," } else { "" }, if *all { ALL } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAYS: Kind = Kind { setting: "GATEWAY_URL", plural: "gateways", max: MAX_GATEWAYS };

    #[test]
    fn members_are_plain_urls_or_names_of_many() {
        let parse = |list| Members::parse(GATEWAYS, Some(list));
        let several = parse("http://g:8000, dns+http://h:8000").unwrap();
        assert_eq!(several.to_string(), "http://g:8000,dns+http://h:8000");
        assert!(!several.is_one() && parse("http://g:8000").unwrap().is_one());
        assert!(!parse("dns+http://g:8000").unwrap().is_one());
        assert!(Members::parse(GATEWAYS, None).unwrap().is_empty());
        for list in ["", "g:8000", "http://g,", "http://g,http://g", "http://g/stats", "dns+g"] {
            let error = parse(list).unwrap_err().to_string();
            assert!(error.starts_with("GATEWAY_URL=") && error.lines().count() == 1, "{error}");
        }
        let many = |count| (0..count).map(|n| format!("http://g{n}")).collect::<Vec<_>>().join(",");
        let (most, too_many) = (many(128), many(129));
        assert!(parse(&most).is_ok());
        assert!(parse(&too_many).unwrap_err().to_string().ends_with("at most 128 gateways"));
    }

    #[tokio::test]
    async fn a_name_of_many_is_each_of_its_addresses() {
        let parse = |list| Members::parse(GATEWAYS, Some(list)).unwrap();
        let urls = parse("http://elsewhere.invalid:1,dns+http://127.0.0.1:8000");
        let shown: Vec<_> =
            urls.resolve(&Names::default()).await.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://elsewhere.invalid:1", "http://127.0.0.1:8000"]);
        let unknown_host = parse("dns+http://no-such-host.invalid:8000");
        assert!(
            unknown_host
                .resolve(&Names::default())
                .await
                .unwrap_err()
                .starts_with("the name no-such-host.invalid has no address")
        );
    }
}
