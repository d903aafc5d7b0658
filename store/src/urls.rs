//! Parses the addresses of a store: `redis://host:port`, separated by commas.

use std::fmt;

/// The usual port.
const DEFAULT_PORT: u16 = 6379;

/// The addresses of a store; never empty, no duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrls(Vec<HostPort>);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlsError {
    /// An empty list or entry.
    #[error("an empty entry; give redis://host:port, several separated by commas")]
    Empty,
    /// TLS, whose content the kernel cannot see.
    #[error(
        "{0:?} is encrypted, and the kernel sees only ciphertext; give the store's plain port as redis://host:port"
    )]
    Tls(String),
    /// A user or password in the URL.
    #[error(
        "a user or password in a URL is visible to every user of this machine; set STORE_USER and \
         STORE_PASSWORD, or STORE_PASSWORD_FILE"
    )]
    Login,
    /// Not `redis://host[:port]`.
    #[error("{0:?} is not redis://host:port (no path, query or user)")]
    Malformed(String),
    /// The same address twice.
    #[error("{0:?} is listed twice")]
    Duplicate(String),
}

impl StoreUrls {
    /// Parses a comma-separated list. `valkey://` is the same as `redis://`.
    ///
    /// # Errors
    /// When an entry is empty, malformed, encrypted or a duplicate, or has a user.
    pub fn parse(list: &str) -> Result<Self, UrlsError> {
        let mut all: Vec<HostPort> = Vec::new();
        for text in list.split(',').map(str::trim) {
            let one = parse_one(text)?;
            if all.contains(&one) {
                return Err(UrlsError::Duplicate(text.to_owned()));
            }
            all.push(one);
        }
        Ok(Self(all))
    }

    /// The addresses, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, HostPort> {
        self.0.iter()
    }

    /// The number of addresses.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for StoreUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.0.iter().map(|one| format!("redis://{one}")).collect();
        f.write_str(&urls.join(","))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn parse_one(text: &str) -> Result<HostPort, UrlsError> {
    let malformed = || UrlsError::Malformed(text.to_owned());
    if text.is_empty() {
        return Err(UrlsError::Empty);
    }
    if text.contains('@') {
        return Err(UrlsError::Login);
    }
    if text.starts_with("rediss://") || text.starts_with("valkeys://") {
        return Err(UrlsError::Tls(text.to_owned()));
    }
    let rest =
        text.strip_prefix("redis://").or_else(|| text.strip_prefix("valkey://")).ok_or_else(malformed)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(malformed)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| malformed())?;
            (host, port)
        }
        None => rest.find(':').map_or((rest, ""), |at| rest.split_at(at)),
    };
    let port = match port {
        "" => DEFAULT_PORT,
        port => port
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or_else(malformed)?,
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(malformed());
    }
    Ok(HostPort { host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_both_families_are_taken() {
        let urls = StoreUrls::parse("redis://A:7000, redis://[::1]:7001/,valkey://c").unwrap();
        assert_eq!(urls.to_string(), "redis://a:7000,redis://[::1]:7001,redis://c:6379");
        assert_eq!(urls.count(), 3);
    }

    #[test]
    fn bad_entries_are_refused_with_a_reason() {
        for (bad, part) in [
            ("", "an empty entry"),
            ("redis://a,,redis://b", "an empty entry"),
            ("a:6379", "is not redis://host:port"),
            ("http://a:6379", "is not redis://host:port"),
            ("redis://a:6379/0", "is not redis://host:port"),
            ("redis://a:0", "is not redis://host:port"),
            ("redis://a:99999", "is not redis://host:port"),
            ("redis://[a]:1", "is not redis://host:port"),
            ("redis://", "is not redis://host:port"),
            ("rediss://a", "is encrypted"),
            ("redis://a,redis://A:6379", "is listed twice"),
        ] {
            let error = StoreUrls::parse(bad).unwrap_err().to_string();
            assert!(error.contains(part) && error.lines().count() == 1, "{bad}: {error}");
        }
        let error = StoreUrls::parse("redis://ops:secret@a").unwrap_err().to_string();
        assert!(error.contains("STORE_PASSWORD") && !error.contains("secret"), "{error}");
    }
}
