//! Sends a command to the owner of its slot and follows redirections.

use protocol::body::AnswerFault;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use store::reply::{Decoder, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster::Cluster;
use crate::client::is_open;

/// Timeout for connection and answer together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ_BYTES: usize = 4 << 10;
/// Redirections of one command, at most.
const MAX_REDIRECTIONS: usize = 5;
/// Precedes a command that a node has redirected with `ASK`.
const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Connections to the nodes of a store, one to each. They are opened when needed and reopened after an error.
#[derive(Default)]
pub struct Connections(BTreeMap<SocketAddr, Link>);

struct Link {
    stream: TcpStream,
    decoder: Decoder,
}

/// Where a node redirects a command to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// Whether the slot has moved for good.
    pub(crate) has_moved: bool,
    /// `None` if the error has a name in place of an address.
    pub(crate) to: Option<SocketAddr>,
}

impl Connections {
    /// Sends the command of a slot. Returns the reply.
    ///
    /// # Errors
    /// `Transport` without a reply, `Status` for an error reply.
    pub(super) async fn command(
        &mut self,
        cluster: &Cluster,
        slot: u16,
        bytes: &[u8],
    ) -> Result<Reply, AnswerFault> {
        let (mut to, mut asking) = (cluster.owner(slot), false);
        for _ in 0..=MAX_REDIRECTIONS {
            let Ok(reply) = self.call(to, bytes, asking).await else {
                // The node may be gone, and a replica in its place.
                cluster.refresh().await;
                return Err(AnswerFault::Transport);
            };
            let Reply::Error(error) = &reply else { return Ok(reply) };
            let redirection = Redirection::parse(error, to.ip()).ok_or(AnswerFault::Status)?;
            cluster.count_redirection();
            if redirection.has_moved {
                cluster.refresh().await;
            }
            asking = !redirection.has_moved;
            to = redirection.to.unwrap_or_else(|| cluster.owner(slot));
        }
        Err(AnswerFault::Status)
    }

    /// Sends a command to one node. An error closes the connection.
    async fn call(&mut self, to: SocketAddr, bytes: &[u8], asking: bool) -> io::Result<Reply> {
        let mut link = self.0.remove(&to).filter(|link| is_open(&link.stream));
        let exchange = async {
            let link = match &mut link {
                Some(link) => link,
                None => link.insert(Link::open(to).await?),
            };
            if asking {
                link.stream.write_all(&[ASKING, bytes].concat()).await?;
                link.reply().await?;
            } else {
                link.stream.write_all(bytes).await?;
            }
            link.reply().await
        };
        let reply = tokio::time::timeout(TIMEOUT, exchange).await??;
        if let Some(link) = link {
            self.0.insert(to, link);
        }
        Ok(reply)
    }
}

impl Link {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut buffer = [0; READ_BYTES];
        loop {
            if let Some(reply) = self.decoder.next_reply().map_err(io::Error::other)? {
                return Ok(reply);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.decoder.feed(&buffer[..count]),
            }
        }
    }
}

impl Redirection {
    /// Parses `MOVED 3999 127.0.0.1:6381` or `ASK …`. Without a host it is the host of the node that answered.
    pub(crate) fn parse(error: &str, asked: IpAddr) -> Option<Self> {
        let mut words = error.split(' ');
        let has_moved = match words.next()? {
            "MOVED" => true,
            "ASK" => false,
            _ => return None,
        };
        let (host, port) = words.nth(1)?.rsplit_once(':')?;
        let host = if host.is_empty() { Some(asked) } else { host.parse().ok() };
        let port = port.parse().ok()?;
        Some(Self { has_moved, to: host.map(|host| SocketAddr::new(host, port)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_parsed() {
        let parse = |error| Redirection::parse(error, IpAddr::from([10, 0, 0, 1]));
        let to = |text: &str, has_moved| Some(Redirection { has_moved, to: text.parse().ok() });
        assert_eq!(parse("MOVED 3999 127.0.0.1:6381"), to("127.0.0.1:6381", true));
        assert_eq!(parse("ASK 3999 127.0.0.1:6381"), to("127.0.0.1:6381", false));
        assert_eq!(parse("MOVED 1 ::1:6381"), to("[::1]:6381", true));
        assert_eq!(parse("MOVED 1 :6381"), to("10.0.0.1:6381", true));
        assert_eq!(parse("MOVED 1 node-3:6381"), to("", true));
        for other in ["", "ERR MOVED", "MOVED", "MOVED 1", "MOVED 1 x", "MOVED 1 a:99999"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
