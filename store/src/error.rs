//! Defines why a store cannot be read, each with its remedy.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reply::ReplyError;
use crate::request::Request;

/// Why a node cannot be read. Each message is one line that names the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A name has no address.
    #[error("{reason}; check the host")]
    NoAddress {
        /// The name, and why it has none.
        reason: String,
    },
    /// Nothing accepts connections at the address.
    #[error("no connection to {address}: {reason}; check host and port, and that the store runs")]
    NoConnection {
        /// The node's address.
        address: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// The connection ended before the answer.
    #[error("{address} closed the connection during {request}; check the store's log")]
    Closed {
        /// The node's address.
        address: SocketAddr,
        /// The request without an answer.
        request: &'static str,
    },
    /// The connection ended before the first byte of an answer.
    #[error(
        "{address} closed the connection without a reply to {request}: the port may speak TLS or another protocol; \
         give the store's plain port"
    )]
    ClosedUnanswered {
        /// The node's address.
        address: SocketAddr,
        /// The request without an answer.
        request: &'static str,
    },
    /// The answer did not arrive in time.
    #[error("{address} did not reply to {request} within {} s; check its load and the port", limit.as_secs())]
    TooSlow {
        /// The node's address.
        address: SocketAddr,
        /// The request without an answer.
        request: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// The port speaks another protocol.
    #[error("{address} speaks {protocol}, not the Redis protocol; give the store's plain port")]
    OtherProtocol {
        /// The node's address.
        address: SocketAddr,
        /// The protocol as far as it is recognised.
        protocol: String,
    },
    /// The answer cannot be decoded.
    #[error(
        "{address} replied to {request} with bytes that cannot be decoded ({reason}); report the server's version"
    )]
    Undecodable {
        /// The node's address.
        address: SocketAddr,
        /// The request.
        request: &'static str,
        /// The decoder's reason.
        reason: ReplyError,
    },
    /// The server requires a password.
    #[error(
        "{address} requires a password: set STORE_PASSWORD or STORE_PASSWORD_FILE, and STORE_USER for an ACL user"
    )]
    PasswordRequired {
        /// The node's address.
        address: SocketAddr,
    },
    /// The server refuses user or password.
    #[error("{address} rejected the password of user {user:?}: check STORE_USER and STORE_PASSWORD")]
    WrongPassword {
        /// The node's address.
        address: SocketAddr,
        /// The user.
        user: String,
    },
    /// The user may not send the request.
    #[error("{address} denies {request} to this user: grant it with `ACL SETUSER NAME {rule}`")]
    Denied {
        /// The node's address.
        address: SocketAddr,
        /// The request.
        request: &'static str,
        /// The ACL rule that allows it.
        rule: &'static str,
    },
    /// The server does not support the request.
    #[error("{address} does not support {request}: it is older than Redis 5, or the command is renamed")]
    Unknown {
        /// The node's address.
        address: SocketAddr,
        /// The request.
        request: &'static str,
    },
    /// The server answers with another error.
    #[error("{address} replied to {request} with the error {error:?}; check the store's log")]
    Refused {
        /// The node's address.
        address: SocketAddr,
        /// The request.
        request: &'static str,
        /// The server's error.
        error: String,
    },
    /// The answer lacks what it must have.
    #[error("{address} replied to {request} without {what}; report the server's version")]
    Unexpected {
        /// The node's address.
        address: SocketAddr,
        /// The request.
        request: &'static str,
        /// The missing part.
        what: &'static str,
    },
}

impl StoreError {
    /// The error for bytes that are no reply.
    pub(crate) fn decoding(address: SocketAddr, request: &'static str, reason: ReplyError) -> Self {
        match reason {
            ReplyError::OtherProtocol { first } => {
                Self::OtherProtocol { address, protocol: protocol_of(&first) }
            }
            reason => Self::Undecodable { address, request, reason },
        }
    }

    /// The error for an error reply.
    pub(crate) fn replied(address: SocketAddr, request: &Request, error: &str) -> Self {
        let (kind, name) = (error.split(' ').next().unwrap_or_default(), request.name());
        match kind {
            "NOAUTH" => Self::PasswordRequired { address },
            "WRONGPASS" => Self::WrongPassword { address, user: user_of(request) },
            "NOPERM" => Self::Denied { address, request: name, rule: request.rule() },
            _ if error.contains("invalid password") || error.contains("without any password configured") => {
                Self::WrongPassword { address, user: user_of(request) }
            }
            _ if error.starts_with("ERR unknown command") || error.contains("nknown subcommand") => {
                Self::Unknown { address, request: name }
            }
            _ => {
                let error: String = error.chars().filter(|one| !one.is_control()).take(200).collect();
                Self::Refused { address, request: name, error }
            }
        }
    }

    /// Whether the request does not exist or is not allowed, while others may work.
    #[must_use]
    pub const fn is_about_request(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Unknown { .. } | Self::Refused { .. })
    }
}

fn user_of(request: &Request) -> String {
    match request {
        Request::Hello(Some(login)) | Request::Auth(login) => login.user().to_owned(),
        _ => "default".to_owned(),
    }
}

/// The protocol that begins with these bytes.
fn protocol_of(first: &[u8]) -> String {
    let known = [(&b"HTTP/"[..], "HTTP"), (b"\x15\x03", "TLS"), (b"ERROR", "memcached"), (b"SSH-", "SSH")];
    let found = known.iter().find(|(bytes, _)| first.starts_with(bytes) || bytes.starts_with(first));
    let other =
        || format!("a protocol that begins with \"{}\"", first.get(..8).unwrap_or(first).escape_ascii());
    found.map_or_else(other, |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_line_with_the_address() {
        let address = SocketAddr::from(([127, 0, 0, 1], 6379));
        let replied = |error| StoreError::replied(address, &Request::Command, error).to_string();
        assert!(replied("NOPERM this user has no permissions").contains("+command"));
        assert!(replied("ERR unknown command 'COMMAND'").contains("renamed"));
        assert!(replied("NOAUTH Authentication required.").contains("STORE_PASSWORD"));
        assert!(replied("ERR a\nb").contains("\"ERR ab\""));
        for first in [&b"HTTP/1.1 400"[..], b"\x15\x03\x03\x00", b"ERROR\r\n", b"\x00\x01"] {
            let reason = ReplyError::OtherProtocol { first: first.to_vec() };
            let error = StoreError::decoding(address, "HELLO", reason).to_string();
            assert!(error.starts_with("127.0.0.1:6379 speaks ") && error.lines().count() == 1, "{error}");
        }
    }
}
