//! Defines all requests that a client ever sends to a store.

use crate::credentials::Credentials;

/// A request. There are no others, so the store's data cannot be read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Selects RESP3, logs in, and returns server and version.
    Hello(Option<Credentials>),
    /// Logs in on servers without `HELLO`.
    Auth(Credentials),
    /// Reads the store's counts. Redis before 7 accepts one section.
    Info(InfoSections),
    /// Reads names, flags and key positions of all commands.
    Command,
    /// Reads the shards of a cluster (Redis 7).
    ClusterShards,
    /// Reads the shards of a cluster (Redis 6).
    ClusterSlots,
    /// Reads the node's own id.
    ClusterMyId,
}

/// Which sections of `INFO` are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InfoSections {
    /// All sections, for servers before Redis 7.
    #[default]
    All,
    /// The needed sections only.
    Needed,
}

/// The sections with the fields of [`Info`](crate::info::Info).
const NEEDED: [&str; 7] =
    ["server", "clients", "stats", "replication", "commandstats", "errorstats", "cluster"];

impl Request {
    /// The command as an operator writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Auth(_) => "AUTH",
            Self::Info(_) => "INFO",
            Self::Command => "COMMAND",
            Self::ClusterShards => "CLUSTER SHARDS",
            Self::ClusterSlots => "CLUSTER SLOTS",
            Self::ClusterMyId => "CLUSTER MYID",
        }
    }

    /// The command's name in lower case, without a subcommand.
    #[must_use]
    pub const fn command(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Auth(_) => "auth",
            Self::Info(_) => "info",
            Self::Command => "command",
            Self::ClusterShards | Self::ClusterSlots | Self::ClusterMyId => "cluster",
        }
    }

    /// The rule that allows the request in an ACL.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Hello(_) => "+hello",
            Self::Auth(_) => "+auth",
            Self::Info(_) => "+info",
            Self::Command => "+command",
            Self::ClusterShards => "+cluster|shards",
            Self::ClusterSlots => "+cluster|slots",
            Self::ClusterMyId => "+cluster|myid",
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut words: Vec<&str> = self.name().split(' ').collect();
        match self {
            Self::Hello(None) => words.push("3"),
            Self::Hello(Some(login)) => words.extend(["3", "AUTH", login.user(), login.password()]),
            Self::Auth(login) if login.names_user() => words.extend([login.user(), login.password()]),
            Self::Auth(login) => words.push(login.password()),
            Self::Info(InfoSections::All) => words.push("all"),
            Self::Info(InfoSections::Needed) => words.extend(NEEDED),
            Self::Command | Self::ClusterShards | Self::ClusterSlots | Self::ClusterMyId => {}
        }
        encode(&words)
    }
}

/// The bytes of a command on the wire: an array of bulk strings.
#[must_use]
pub fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_encoded_as_arrays_of_bulk_strings() {
        assert_eq!(Request::Command.encode(), b"*1\r\n$7\r\nCOMMAND\r\n");
        assert_eq!(Request::ClusterShards.encode(), b"*2\r\n$7\r\nCLUSTER\r\n$6\r\nSHARDS\r\n");
        assert_eq!(Request::Info(InfoSections::All).encode(), b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n");
        let login = Credentials::new(None, "a b\r\n").unwrap();
        let expected = b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$5\r\na b\r\n\r\n";
        assert_eq!(Request::Hello(Some(login.clone())).encode(), expected);
        assert_eq!(Request::Auth(login).encode(), b"*2\r\n$4\r\nAUTH\r\n$5\r\na b\r\n\r\n");
    }
}
