//! The raw client: decides which bytes go into which segment, and counts answers.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::heads::{Event, Reader};
use super::namespace::Namespace;
use super::server::Server;
use super::tcp_info::{self, Info};

/// No answer takes longer, even through a bad network.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: Reader,
    /// Answers received and not yet asked for.
    answers: u64,
    sent_bytes: u64,
}

impl Client {
    /// Connects from this process's own network namespace.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reader: Reader::default(), answers: 0, sent_bytes: 0 })
    }

    /// Connects from `namespace`.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect_in(namespace: &Namespace, addr: SocketAddr) -> Result<Self> {
        namespace.run(|| Self::connect(addr))?
    }

    /// Writes `bytes` in one call: one segment, if they fit into one and nothing is waiting to be sent.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")?;
        self.sent_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes each of `parts` as a segment of its own: the next one only when the server has read the one before.
    /// `server` must have no other connection that sends.
    ///
    /// # Errors
    /// When the connection is gone or the server does not read.
    pub fn send_apart<'a>(
        &mut self,
        server: &Server,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<()> {
        for part in parts {
            let wanted = server.counts().read + part.len() as u64;
            self.send(part)?;
            server.until(|counts| counts.read >= wanted)?;
        }
        Ok(())
    }

    /// Waits for `number` answers.
    ///
    /// # Errors
    /// When the connection ends before, or nothing comes for a minute.
    pub fn answers(&mut self, number: u64) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        while self.answers < number {
            let length = self.stream.read(&mut buffer).context("no answer")?;
            if length == 0 {
                bail!("the connection ended before the answer");
            }
            self.reader.feed(&buffer[..length], |event| {
                if matches!(event, Event::Complete(_)) {
                    self.answers += 1;
                }
            });
        }
        self.answers -= number;
        Ok(())
    }

    /// Sends one request in one segment and waits for its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`answers`](Self::answers).
    pub fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        self.answers(1)
    }

    /// Waits until the server has closed.
    ///
    /// # Errors
    /// When it does not, or sends something.
    pub fn closed(&mut self) -> Result<()> {
        match self.stream.read(&mut [0; 1]).context("no end")? {
            0 => Ok(()),
            _ => bail!("bytes behind the last answer"),
        }
    }

    /// What TCP says of this end.
    #[must_use]
    pub fn info(&self) -> Info {
        tcp_info::of(&self.stream)
    }
}

/// `GET /data/{key}`; `key` as it is to be on the wire.
#[must_use]
pub fn get(key: &str) -> Vec<u8> {
    format!("GET /data/{key} HTTP/1.1\r\nHost: shard\r\n\r\n").into_bytes()
}

/// The head of a `POST /data` for a body of `length` bytes.
#[must_use]
pub fn post_head(length: usize) -> Vec<u8> {
    format!("POST /data HTTP/1.1\r\nHost: shard\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// `POST /data` with `body`, in one piece.
#[must_use]
pub fn post(body: &[u8]) -> Vec<u8> {
    [post_head(body.len()), body.to_vec()].concat()
}
