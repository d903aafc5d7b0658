//! Reads HTTP/1.1 messages for the suite, independently of the probe's parser.
//!
//! It follows one byte stream exactly: heads, bodies by `Content-Length`, chunked bodies. It reads requests on the
//! server's side and answers on the client's; for an answer the kind has no meaning.

/// The kind of a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `GET /data/{key}`.
    Get,
    /// `POST /data`.
    Set,
    /// Anything else.
    Control,
}

/// A message's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The kind of request.
    pub(crate) kind: Kind,
    /// The request's target; for an answer, its status.
    pub(crate) target: String,
    /// Whether the sender closes the connection after this message.
    pub(crate) closes: bool,
    /// Whether its body comes only after an interim answer.
    pub(crate) expects: bool,
}

/// An event in the byte stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The last byte of a head: from here on the request counts.
    Head(Message),
    /// The last byte of the message, its body included.
    Complete(Message),
}

#[derive(Debug)]
enum State {
    Head,
    Body { left: u64, message: Message },
    ChunkSize { line: Vec<u8>, message: Message },
    Chunk { left: u64, message: Message },
    Trailer { line: Vec<u8>, message: Message },
}

/// A reader in the middle of a byte stream.
#[derive(Debug)]
pub(crate) struct Reader {
    head: Vec<u8>,
    state: State,
}

impl Default for Reader {
    fn default() -> Self {
        Self { head: Vec::new(), state: State::Head }
    }
}

impl Reader {
    /// Reads `bytes` and calls `event` with each completed head or message, in order.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Event)) {
        while !bytes.is_empty() {
            bytes = self.advance(bytes, &mut event);
        }
    }

    /// Consumes at least one byte, and returns the rest.
    fn advance<'a>(&mut self, bytes: &'a [u8], event: &mut impl FnMut(Event)) -> &'a [u8] {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Head => {
                let Some((byte, rest)) = bytes.split_first() else { return bytes };
                self.head.push(*byte);
                if self.head.ends_with(b"\r\n\r\n") {
                    self.head_ends(event);
                }
                rest
            }
            State::Body { left, message } => {
                let (rest, left) = skip(bytes, left);
                if left == 0 {
                    event(Event::Complete(message));
                } else {
                    self.state = State::Body { left, message };
                }
                rest
            }
            State::ChunkSize { mut line, message } => {
                let Some((byte, rest)) = bytes.split_first() else { return bytes };
                line.push(*byte);
                self.state = if line.ends_with(b"\r\n") {
                    match chunk_size(&line) {
                        0 => State::Trailer { line: Vec::new(), message },
                        // Includes the line end after the data.
                        size => State::Chunk { left: size + 2, message },
                    }
                } else {
                    State::ChunkSize { line, message }
                };
                rest
            }
            State::Chunk { left, message } => {
                let (rest, left) = skip(bytes, left);
                self.state = if left == 0 {
                    State::ChunkSize { line: Vec::new(), message }
                } else {
                    State::Chunk { left, message }
                };
                rest
            }
            State::Trailer { mut line, message } => {
                let Some((byte, rest)) = bytes.split_first() else { return bytes };
                line.push(*byte);
                if line == b"\r\n" {
                    event(Event::Complete(message));
                } else {
                    let line = if line.ends_with(b"\r\n") { Vec::new() } else { line };
                    self.state = State::Trailer { line, message };
                }
                rest
            }
        }
    }

    fn head_ends(&mut self, event: &mut impl FnMut(Event)) {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        self.head.clear();
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let message = Message {
            kind: kind(method, target),
            target: target.to_owned(),
            closes: header("connection") == Some("close"),
            expects: header("expect") == Some("100-continue"),
        };
        event(Event::Head(message.clone()));
        let length = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        if header("transfer-encoding").is_some() {
            self.state = State::ChunkSize { line: Vec::new(), message };
        } else if length > 0 {
            self.state = State::Body { left: length, message };
        } else {
            event(Event::Complete(message));
        }
    }
}

fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (&bytes[used..], left - used as u64)
}

fn chunk_size(line: &[u8]) -> u64 {
    let digits = String::from_utf8_lossy(line);
    u64::from_str_radix(digits.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0)
}

fn kind(method: &str, target: &str) -> Kind {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match (method, path.strip_prefix("/data/")) {
        ("GET", Some(key)) if !key.is_empty() && !key.contains('/') => Kind::Get,
        ("POST", None) if path == "/data" => Kind::Set,
        _ => Kind::Control,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.feed(piece, |event| events.push(event));
        }
        events
    }

    fn heads(bytes: &[u8]) -> Vec<Kind> {
        let kinds = |events: Vec<Event>| {
            events
                .into_iter()
                .filter_map(|event| if let Event::Head(head) = event { Some(head.kind) } else { None })
        };
        let whole: Vec<Kind> = kinds(read(&[bytes])).collect();
        let bytewise: Vec<Kind> = kinds(read(&bytes.chunks(1).collect::<Vec<_>>())).collect();
        assert_eq!(whole, bytewise);
        whole
    }

    #[test]
    fn kinds_are_those_of_the_contract() {
        for (line, expected) in [
            ("GET /data/a", Kind::Get),
            ("GET /data/a?b=/c", Kind::Get),
            ("GET /data/", Kind::Control),
            ("GET /data/a/b", Kind::Control),
            ("GET /stats", Kind::Control),
            ("HEAD /data/a", Kind::Control),
            ("POST /data", Kind::Set),
            ("POST /data/a", Kind::Control),
        ] {
            assert_eq!(heads(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()), [expected], "{line}");
        }
    }

    #[test]
    fn bodies_are_no_heads() {
        let inner = "GET /data/x HTTP/1.1\r\n\r\n";
        let length = inner.len();
        let set = format!("POST /data HTTP/1.1\r\ncontent-LENGTH: {length}\r\n\r\n{inner}{inner}");
        assert_eq!(heads(set.as_bytes()), [Kind::Set, Kind::Get]);
        let chunked = format!(
            "POST /data HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n{inner}"
        );
        assert_eq!(heads(chunked.as_bytes()), [Kind::Set, Kind::Get]);
    }

    #[test]
    fn a_message_is_complete_behind_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let expected =
            Message { kind: Kind::Control, target: "200".to_owned(), closes: true, expects: false };
        let (most, last) = answer.split_at(answer.len() - 1);
        assert_eq!(read(&[most]), [Event::Head(expected.clone())]);
        assert_eq!(read(&[most, last]), [Event::Head(expected.clone()), Event::Complete(expected)]);
    }
}
