//! Parses `SHARD_URLS`: the shards' base URLs, in order of shard id.

use http::Uri;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::ShardId;
use crate::escape::escaped;

/// The shards' base URLs, in order of shard id; never empty, no duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardUrls(Vec<ShardUrl>);

/// One shard's base URL, `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardUrl {
    /// The position in the list.
    pub id: ShardId,
    /// Host name or address as written (IPv6 in brackets).
    pub host: String,
    /// TCP port; 80 when the URL has none.
    pub port: u16,
}

impl ShardUrl {
    /// The URL of an address.
    #[must_use]
    pub fn at(id: ShardId, address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        Self { id, host, port: address.port() }
    }
}

/// Why a list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardUrlsError {
    /// No URL, or an empty entry between two commas.
    #[error("an empty entry; give http://host:port for every shard, separated by commas")]
    Empty,
    /// Not `http://host[:port]`.
    #[error("`{url}` is not http://host:port (no path, query or user)")]
    NotAPlainHttpUrl {
        /// The entry, with control characters escaped.
        url: String,
    },
    /// The same host and port as an earlier entry.
    #[error("`{url}` is listed twice; every shard needs its own address")]
    Duplicate {
        /// The entry as written.
        url: String,
    },
}

impl ShardUrls {
    /// Parses a comma-separated list.
    ///
    /// # Errors
    /// Returns the first entry that is empty, not a plain HTTP URL, or a duplicate.
    pub fn parse(list: &str) -> Result<Self, ShardUrlsError> {
        let mut urls: Vec<ShardUrl> = Vec::new();
        for (id, text) in (0..).zip(list.split(',').map(str::trim)) {
            let url = parse_one(ShardId(id), text)?;
            if urls.iter().any(|other| other.host == url.host && other.port == url.port) {
                return Err(ShardUrlsError::Duplicate { url: text.into() });
            }
            urls.push(url);
        }
        Ok(Self(urls))
    }

    /// The URL of a list with exactly one.
    #[must_use]
    pub fn only(self) -> Option<ShardUrl> {
        <[ShardUrl; 1]>::try_from(self.0).ok().map(|[url]| url)
    }

    /// The number of shards.
    #[must_use]
    pub fn count(&self) -> NonZeroU32 {
        u32::try_from(self.0.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
    }

    /// The shards in order of id.
    pub fn iter(&self) -> std::slice::Iter<'_, ShardUrl> {
        self.0.iter()
    }

    /// The shard with this id.
    #[must_use]
    pub fn get(&self, id: ShardId) -> Option<&ShardUrl> {
        self.0.get(id.index())
    }
}

impl std::fmt::Display for ShardUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

fn parse_one(id: ShardId, text: &str) -> Result<ShardUrl, ShardUrlsError> {
    if text.is_empty() {
        return Err(ShardUrlsError::Empty);
    }
    let refused = || ShardUrlsError::NotAPlainHttpUrl { url: escaped(text) };
    let uri: Uri = text.parse().map_err(|_| refused())?;
    let authority = uri.authority().ok_or_else(refused)?;
    let plain = uri.scheme_str() == Some("http")
        && !text.contains(['?', '#', '@'])
        && uri.path() == "/"
        && !authority.host().is_empty();
    if !plain {
        return Err(refused());
    }
    // `Authority::port` returns `None` for a port out of range, so the text after the host is parsed.
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => 80,
        Some(port) => port.trim_start_matches(':').parse().map_err(|_| refused())?,
        None => return Err(refused()),
    };
    Ok(ShardUrl { id, host: authority.host().to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_gives_the_ids() {
        let urls = ShardUrls::parse("http://a:9000, http://[::1]:9001/,http://c").unwrap();
        let shown: Vec<String> = urls.iter().map(|url| format!("{} {url}", url.id)).collect();
        assert_eq!(shown, ["0 http://a:9000", "1 http://[::1]:9001", "2 http://c:80"]);
        assert_eq!(urls.count().get(), 3);
    }

    #[test]
    fn bad_lists_are_refused() {
        assert_eq!(ShardUrls::parse(""), Err(ShardUrlsError::Empty));
        assert_eq!(ShardUrls::parse("http://a:1,,http://b:1"), Err(ShardUrlsError::Empty));
        for bad in [
            "a:9000",
            "https://a:9000",
            "http://a:9000/x",
            "http://a:9000/?q",
            "http://u@a:1",
            "http://a:99999",
        ] {
            assert!(
                matches!(ShardUrls::parse(bad), Err(ShardUrlsError::NotAPlainHttpUrl { .. })),
                "{bad}: {:?}",
                ShardUrls::parse(bad)
            );
        }
        let lines = ShardUrls::parse("http://a:1\nb").unwrap_err().to_string();
        assert_eq!(lines, "`http://a:1\\nb` is not http://host:port (no path, query or user)");
        let twice = ShardUrls::parse("http://a:9000,http://A:9000/");
        assert_eq!(twice, Err(ShardUrlsError::Duplicate { url: "http://A:9000/".into() }));
    }
}
