//! The raw client: decides which bytes go into which segment, and counts answers.

use anyhow::{Context, Result, bail};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use super::heads::{Event, Reader};
use super::namespace::Namespace;
use super::segment::{self, Fault};
use super::server::Server;
use super::socket_option;
use super::tcp_info::{self, Info};

/// Longest wait for an answer, also through a bad network.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader,
    /// Answers received for which no caller has waited yet.
    answers: u64,
    interim_answers: u64,
}

impl Client {
    /// Connects from this process's own network namespace.
    pub(crate) fn connect(addr: SocketAddr) -> Result<Self> {
        Self::on(TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?)
    }

    /// Connects a socket with this option.
    pub(crate) fn connect_with(addr: SocketAddr, (level, name): (i32, i32), value: &[u8]) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket_option::set(socket.as_fd(), level, name, value)?;
        socket.connect(&addr.into()).with_context(|| format!("cannot connect to {addr}"))?;
        Self::on(socket.into())
    }

    fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, reader: Reader::default(), answers: 0, interim_answers: 0 })
    }

    /// The same connection, to be read by another thread.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        Self::on(self.stream.try_clone()?)
    }

    pub(crate) fn connect_in(namespace: &Namespace, addr: SocketAddr) -> Result<Self> {
        namespace.run(|| Self::connect(addr))?
    }

    /// Writes `bytes` in one call: one segment, if they fit into one and nothing is waiting to be sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// Sends one byte of urgent data.
    pub(crate) fn send_urgent(&mut self, byte: u8) -> Result<()> {
        SockRef::from(&self.stream).send_out_of_band(&[byte])?;
        Ok(())
    }

    /// Sends `payload` in a segment that TCP must drop.
    pub(crate) fn send_faulty(&self, payload: &[u8], fault: Fault) -> Result<()> {
        segment::send(&self.stream, payload, fault)
    }

    /// Writes each of `parts` in a separate segment, once the server has read the previous one.
    /// `server` must have no other connection that sends.
    pub(crate) fn send_apart<'a>(
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
    pub(crate) fn answers(&mut self, number: u64) -> Result<()> {
        while self.answers < number {
            self.read()?;
        }
        self.answers -= number;
        Ok(())
    }

    /// Waits for an interim answer (1xx).
    pub(crate) fn interim(&mut self) -> Result<()> {
        while self.interim_answers == 0 {
            self.read()?;
        }
        self.interim_answers -= 1;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 1 << 14];
        let length = self.stream.read(&mut buffer).context("no answer")?;
        if length == 0 {
            bail!("the connection ended before the answer");
        }
        self.reader.feed(&buffer[..length], |event| {
            if let Event::Complete(answer) = event {
                let interim = answer.target.starts_with('1');
                *(if interim { &mut self.interim_answers } else { &mut self.answers }) += 1;
            }
        });
        Ok(())
    }

    /// Sends one request in one segment and waits for its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        self.answers(1)
    }

    /// Waits until the server has closed.
    pub(crate) fn closed(&mut self) -> Result<()> {
        match self.stream.read(&mut [0; 1]).context("no end")? {
            0 => Ok(()),
            _ => bail!("bytes after the last answer"),
        }
    }

    /// Closes the sending side.
    pub(crate) fn shut_down(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) -> Result<()> {
        Ok(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?)
    }

    /// TCP's counters of this end.
    pub(crate) fn info(&self) -> Info {
        tcp_info::of(&self.stream)
    }
}

/// `GET /data/{key}`, with `key` as it appears on the wire.
pub(crate) fn get(key: &str) -> Vec<u8> {
    format!("GET /data/{key} HTTP/1.1\r\nHost: shard\r\n\r\n").into_bytes()
}

/// `GET /data/{key}` on the last request of its connection.
pub(crate) fn get_and_close(key: &str) -> Vec<u8> {
    format!("GET /data/{key} HTTP/1.1\r\nHost: shard\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The head of a `POST /data` for a body of `length` bytes.
pub(crate) fn post_head(length: usize) -> Vec<u8> {
    format!("POST /data HTTP/1.1\r\nHost: shard\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// Like [`post_head`], for a body that waits for `100 Continue`.
pub(crate) fn expecting_post_head(length: usize) -> Vec<u8> {
    format!("POST /data HTTP/1.1\r\nHost: shard\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}

/// `POST /data` with `body`, in one piece.
pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    [post_head(body.len()), body.to_vec()].concat()
}
