//! A connection to one node. It sends bytes as given and reads replies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use store::reply::{Decoder, Reply};

use crate::accuracy::tcp_info;

/// Timeout of one read.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("a node does not take commands")
    }

    /// Reads so many replies. Push messages are not counted.
    pub(crate) fn replies(&mut self, number: usize) -> Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(number);
        let mut buffer = vec![0; 1 << 16];
        while replies.len() < number {
            if let Some(reply) = self.decoder.next_reply()? {
                replies.push(reply);
                continue;
            }
            let length = self.stream.read(&mut buffer).context("a node does not answer")?;
            ensure!(length > 0, "a node closed the connection");
            self.decoder.feed(buffer.get(..length).unwrap_or_default());
        }
        Ok(replies)
    }

    /// Sends commands and reads their replies.
    pub(crate) fn exchange(&mut self, commands: &[u8], number: usize) -> Result<Vec<Reply>> {
        self.send(commands)?;
        self.replies(number)
    }

    /// Sends one command and reads its reply.
    pub(crate) fn call(&mut self, words: &[&str]) -> Result<Reply> {
        let mut replies = self.exchange(&command(words), 1)?;
        replies.pop().context("no reply")
    }

    /// Sends one command and drops its reply, a bulk string of any length. Returns the length.
    pub(crate) fn skip_bulk(&mut self, command: &[u8]) -> Result<u64> {
        self.send(command)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = std::str::from_utf8(&head)?.trim_end();
        let length: u64 = text.strip_prefix('$').context("no bulk string")?.parse()?;
        let skipped = std::io::copy(&mut (&self.stream).take(length + 2), &mut std::io::sink())?;
        ensure!(skipped == length + 2, "a node closed the connection within a reply");
        Ok(length)
    }

    /// Payload bytes that TCP sent twice.
    pub(crate) fn repeated_bytes(&self) -> u64 {
        tcp_info::of(&self.stream).repeated_bytes
    }
}

/// A command as clients send it.
pub(crate) fn command<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}
