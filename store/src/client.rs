//! Connects to one node and sends requests, one at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::credentials::Credentials;
use crate::error::StoreError;
use crate::reply::{Decoder, Reply};
use crate::request::{InfoSections, Request};
use crate::topology::Topology;
use crate::urls::HostPort;

/// Time limit of a connection, and of each request.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes read at once.
const READ_BYTES: usize = 32 << 10;

/// A connection to one node. After an error, drop it and connect again.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
    decoder: Decoder,
    sections: InfoSections,
    sent: Sent,
}

/// What was sent to a node. It is part of the node's own counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes.
    pub bytes: u64,
    /// Commands by name, in lower case.
    pub calls: BTreeMap<&'static str, u64>,
}

impl Sent {
    /// Adds what another connection has sent.
    pub fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        for (name, calls) in &other.calls {
            *self.calls.entry(name).or_default() += calls;
        }
    }

    /// The calls of one command.
    #[must_use]
    pub fn calls_of(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or_default()
    }
}

impl Client {
    /// Connects, selects RESP3 where the server has it, and logs in.
    ///
    /// # Errors
    /// When the address does not accept, is no store, or refuses the credentials.
    pub async fn connect(address: SocketAddr, login: Option<&Credentials>) -> Result<Self, StoreError> {
        let no_connection = |reason| StoreError::NoConnection { address, reason };
        let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await;
        let late = || no_connection(format!("none within {} s", TIMEOUT.as_secs()));
        let stream = connected.map_err(|_| late())?.map_err(|error| no_connection(plain(&error)))?;
        let mut client = Self {
            stream,
            address,
            decoder: Decoder::default(),
            sections: InfoSections::default(),
            sent: Sent::default(),
        };
        client.begin(login).await?;
        Ok(client)
    }

    /// Both ends of the connection: this one and the node's.
    #[must_use]
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.stream.local_addr().ok()?, self.stream.peer_addr().ok()?))
    }

    /// The node's address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which sections [`Request::Info`] should have on this server.
    #[must_use]
    pub const fn sections(&self) -> InfoSections {
        self.sections
    }

    /// What has been sent so far.
    #[must_use]
    pub const fn sent(&self) -> &Sent {
        &self.sent
    }

    async fn begin(&mut self, login: Option<&Credentials>) -> Result<(), StoreError> {
        match self.call(Request::Hello(login.cloned())).await {
            Ok(hello) => {
                // A server that supports HELLO is Redis 6 or later. Only 7 accepts several sections.
                let version = hello.field("version").and_then(Reply::text).unwrap_or_default();
                let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
                if major.is_some_and(|major| major >= 7) {
                    self.sections = InfoSections::Needed;
                }
                Ok(())
            }
            // Before Redis 6 there is no HELLO. Some proxies do not have it either.
            Err(StoreError::Unknown { .. } | StoreError::Refused { .. }) => match login {
                Some(login) => self.call(Request::Auth(login.clone())).await.map(drop),
                None => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    /// Sends a request and returns its reply.
    ///
    /// # Errors
    /// When the connection fails, the answer is late or no reply, or it is an error.
    pub async fn call(&mut self, request: Request) -> Result<Reply, StoreError> {
        let (address, name) = (self.address, request.name());
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(&request)).await;
        let late = StoreError::TooSlow { address, request: name, limit: TIMEOUT };
        match answered.unwrap_or(Err(late))? {
            Reply::Error(error) => Err(StoreError::replied(address, &request, &error)),
            reply => Ok(reply),
        }
    }

    /// Reads the cluster's nodes, by the command of Redis 7 or that of Redis 6. `asked` is this node.
    ///
    /// # Errors
    /// As [`call`](Self::call), and when the answer has no node.
    pub async fn topology(&mut self, asked: &HostPort) -> Result<Topology, StoreError> {
        let (found, request) = match self.call(Request::ClusterShards).await {
            Ok(reply) => (Topology::of_shards(&reply, asked), "CLUSTER SHARDS"),
            Err(StoreError::Unknown { .. } | StoreError::Refused { .. }) => {
                (Topology::of_slots(&self.call(Request::ClusterSlots).await?, asked), "CLUSTER SLOTS")
            }
            Err(error) => return Err(error),
        };
        let found = found.filter(|topology| !topology.nodes.is_empty());
        found.ok_or(StoreError::Unexpected { address: self.address, request, what: "any node" })
    }

    async fn exchange(&mut self, request: &Request) -> Result<Reply, StoreError> {
        let (address, name) = (self.address, request.name());
        let closed = |_: io::Error| StoreError::Closed { address, request: name };
        let bytes = request.encode();
        self.sent.bytes += bytes.len() as u64;
        *self.sent.calls.entry(request.command()).or_default() += 1;
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            self.stream.writable().await.map_err(closed)?;
            match self.stream.try_write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(closed(error)),
            }
        }
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let decoded = self.decoder.next_reply();
            if let Some(reply) = decoded.map_err(|reason| StoreError::decoding(address, name, reason))? {
                return Ok(reply);
            }
            let unanswered = || {
                if self.decoder.is_inside() {
                    StoreError::Closed { address, request: name }
                } else {
                    StoreError::ClosedUnanswered { address, request: name }
                }
            };
            self.stream.readable().await.map_err(closed)?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(unanswered()),
                Ok(count) => self.decoder.feed(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(unanswered()),
            }
        }
    }
}

/// The system's reason without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_ascii_lowercase()
}
