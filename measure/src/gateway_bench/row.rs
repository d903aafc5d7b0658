//! The rows: the base row, and rows that differ from it in one thing.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use super::side::TrafficPath;

/// The keys of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// The first key.
    One,
    /// So many keys with the same probability.
    Uniform(u32),
    /// So many keys by Zipf's law with exponent 0.99.
    Zipf(u32),
}

impl Keys {
    /// Returns the number of keys.
    pub(super) const fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Uniform(count) | Self::Zipf(count) => count,
        }
    }
}

/// Returns the name of a key. All names have the same length.
pub(super) fn key(number: u32) -> String {
    format!("item-{number:08}")
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// One key with a value of 1 KiB, 64 connections
    Base,
    /// 20,000 uniform keys
    #[value(name = "20k-keys")]
    UniformKeys,
    /// 1,000,000 keys by Zipf's law with exponent 0.99
    #[value(name = "zipf-1m-keys")]
    ZipfKeys,
    /// A value of 100 bytes
    #[value(name = "100-bytes")]
    SmallValue,
    /// A value of 60 KiB
    #[value(name = "60-kib")]
    LargeValue,
    /// One connection
    #[value(name = "1-connection")]
    OneConnection,
    /// 512 connections
    #[value(name = "512-connections")]
    ManyConnections,
    /// POST in place of GET, proxied only
    Post,
}

impl Row {
    /// Returns the number of rows.
    pub(super) fn count() -> usize {
        Self::value_variants().len()
    }

    /// Returns the name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns what the row measures.
    pub fn about(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    pub(super) const fn keys(self) -> Keys {
        match self {
            Self::UniformKeys => Keys::Uniform(20_000),
            Self::ZipfKeys => Keys::Zipf(1_000_000),
            _ => Keys::One,
        }
    }

    pub(super) const fn value_bytes(self) -> usize {
        match self {
            Self::SmallValue => 100,
            Self::LargeValue => 60 * 1024,
            _ => 1_024,
        }
    }

    pub(super) const fn connections(self) -> u32 {
        match self {
            Self::OneConnection => 1,
            Self::ManyConnections => 512,
            _ => 64,
        }
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::Post)
    }

    /// A cache has no part in a write.
    pub(super) const fn paths(self) -> &'static [TrafficPath] {
        match self {
            Self::Post => &[TrafficPath::Proxied],
            _ => &TrafficPath::ALL,
        }
    }

    /// Whether latencies are measured too.
    pub(super) const fn has_latencies(self) -> bool {
        matches!(self, Self::Base)
    }

    /// Whether each round has servers of its own. With many keys filling the caches would take longer than measuring.
    pub(super) const fn restarts(self) -> bool {
        !matches!(self, Self::ZipfKeys)
    }

    /// Checks that this machine has memory for the keys: once in every shard, once in every cache.
    ///
    /// # Errors
    /// When it has not.
    pub(super) fn ensure_memory(self) -> Result<()> {
        /// A value of 1 KiB takes about 15 KiB in all: four shards, and pages of 4 KiB in nginx's cache.
        const BYTES_A_KEY: u64 = 16 * 1_024;
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let (free, needed) =
            (kibibytes.unwrap_or_default() >> 10, (u64::from(self.keys().count()) * BYTES_A_KEY) >> 20);
        let name = self.name();
        ensure!(
            free > needed,
            "the row {name} needs {needed} MiB of memory, {free} are free: use --rows without it"
        );
        Ok(())
    }

    /// Returns the request for the key `number`.
    pub(super) fn request(self, number: u32) -> Vec<u8> {
        if self.writes() {
            return write(number, self.value_bytes());
        }
        format!("GET /data/{} HTTP/1.1\r\nHost: bench\r\n\r\n", key(number)).into_bytes()
    }
}

/// Returns the request that writes the key `number`.
pub(super) fn write(number: u32, value_bytes: usize) -> Vec<u8> {
    let body = format!("{{\"key\":\"{}\",\"value\":{}}}", key(number), value(value_bytes));
    let length = body.len();
    format!(
        "POST /data HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns a value, an object of so many bytes.
pub(super) fn value(bytes: usize) -> String {
    const FRAME: usize = r#"{"data":""}"#.len();
    format!("{{\"data\":\"{}\"}}", "x".repeat(bytes.saturating_sub(FRAME)))
}

#[cfg(test)]
mod tests {
    use super::{Row, value};

    #[test]
    fn a_value_has_its_size_as_text() {
        assert_eq!(value(13), r#"{"data":"xx"}"#);
        assert_eq!(value(Row::LargeValue.value_bytes()).len(), 61_440);
    }
}
