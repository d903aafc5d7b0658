//! Decodes RESP2 and RESP3 replies within fixed limits.

/// Maximum bytes of one reply. Redis 7 answers `COMMAND` with about 0.2 MB.
pub const MAX_BYTES: usize = 8 << 20;

/// Maximum number of values in one reply.
pub const MAX_VALUES: usize = 1 << 18;

/// Maximum nesting of lists.
pub const MAX_DEPTH: usize = 16;

/// Maximum length of a line: a simple string, an error or a length.
const MAX_LINE: usize = 16 << 10;

/// One decoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple, bulk or verbatim string, a double or a big number.
    Text(Vec<u8>),
    /// An error, such as `NOAUTH Authentication required.`
    Error(String),
    /// An integer or a boolean.
    Integer(i64),
    /// A null of any kind.
    Null,
    /// An array or a set. A map is the list of its keys and values in turn, which is how RESP2 sends it.
    List(Vec<Self>),
}

impl Reply {
    /// The string as text; `None` for other values and for bytes that are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integer, also where it was sent as a string.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => self.text()?.parse().ok(),
        }
    }

    /// The values of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The value of `key` in a map.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Self> {
        let pairs = self.list()?.chunks_exact(2);
        pairs.filter_map(|pair| Some((pair.first()?, pair.get(1)?))).find_map(|(name, value)| {
            let same = name.text().is_some_and(|name| name.eq_ignore_ascii_case(key));
            same.then_some(value)
        })
    }
}

/// Why bytes are no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The first byte is no type of RESP.
    #[error("it begins with {}", shown(first))]
    OtherProtocol {
        /// The first bytes.
        first: Vec<u8>,
    },
    /// A length or number is not valid, or a line does not end where it must.
    #[error("the reply is malformed at byte {at}")]
    Malformed {
        /// Position in the reply.
        at: usize,
    },
    /// A limit is exceeded.
    #[error("the reply exceeds {limit}")]
    TooLarge {
        /// The limit.
        limit: &'static str,
    },
}

/// The first bytes, readable.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.get(..16).unwrap_or(bytes);
    format!("\"{}\"", bytes.escape_ascii())
}

/// Decodes a stream of replies. Each byte of a value is looked at once, however the stream is split.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the current reply begins in `buffer`.
    start: usize,
    /// Bytes of `buffer` that are decoded.
    at: usize,
    /// Bytes of the current reply that have left the buffer.
    before: usize,
    values: usize,
    open: Vec<OpenList>,
}

/// A list that still lacks values.
#[derive(Debug)]
struct OpenList {
    kind: Kind,
    missing: usize,
    values: Vec<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Value,
    /// RESP3 sends it outside of the answers. It answers no request, so it is dropped.
    Push,
    /// RESP3 sends it before a value. It is dropped.
    Attribute,
}

/// What the next bytes are.
enum Step {
    Incomplete,
    Value(Reply),
    Opened,
}

impl Decoder {
    /// Adds received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.before += self.at - self.start;
            (self.start, self.at) = (0, 0);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a part of a reply has been received.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.buffer.len() > self.at || !self.open.is_empty()
    }

    /// The next complete reply, `None` while bytes are missing.
    ///
    /// # Errors
    /// When the bytes are no reply, or a limit is exceeded. The stream cannot be decoded further.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            if self.values > MAX_VALUES {
                return Err(ReplyError::TooLarge { limit: "262,144 values" });
            }
            let mut value = match self.step()? {
                Step::Incomplete if self.size() > MAX_BYTES => {
                    return Err(ReplyError::TooLarge { limit: "8 MiB" });
                }
                Step::Incomplete => return Ok(None),
                Step::Opened => match self.close() {
                    Some(value) => value,
                    None => continue,
                },
                Step::Value(value) => value,
            };
            // A value may complete its list, and that the list around it.
            loop {
                let Some(list) = self.open.last_mut() else {
                    (self.before, self.values) = (0, 0);
                    self.start = self.at;
                    return Ok(Some(value));
                };
                list.values.push(value);
                list.missing -= 1;
                match self.close() {
                    Some(whole) => value = whole,
                    None => break,
                }
            }
        }
    }

    /// Bytes of the current reply so far.
    fn size(&self) -> usize {
        self.before + self.buffer.len() - self.start
    }

    /// Position in the current reply.
    fn position(&self) -> usize {
        self.before + self.at - self.start
    }

    /// Takes the innermost list if it is complete and not dropped.
    fn close(&mut self) -> Option<Reply> {
        let OpenList { kind, values, .. } = self.open.pop_if(|list| list.missing == 0)?;
        (kind == Kind::Value).then_some(Reply::List(values))
    }

    fn malformed<T>(&self) -> Result<T, ReplyError> {
        Err(ReplyError::Malformed { at: self.position() })
    }

    fn step(&mut self) -> Result<Step, ReplyError> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let Some(kind) = rest.first().copied() else { return Ok(Step::Incomplete) };
        if !b"+-:$*_,#!=(%~>|".contains(&kind) {
            if self.open.is_empty() && self.position() == 0 {
                return Err(ReplyError::OtherProtocol { first: rest.to_vec() });
            }
            return self.malformed();
        }
        let line = rest.get(1..).unwrap_or_default();
        let Some(length) = line.iter().take(MAX_LINE).position(|byte| *byte == b'\r') else {
            if line.len() > MAX_LINE {
                return Err(ReplyError::TooLarge { limit: "16 KiB a line" });
            }
            return Ok(Step::Incomplete);
        };
        match line.get(length + 1) {
            None => return Ok(Step::Incomplete),
            Some(b'\n') => {}
            Some(_) => return self.malformed(),
        }
        let head = 1 + length + 2;
        let line = line.get(..length).unwrap_or_default();
        let number = || std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok());
        let value = match kind {
            b'+' | b',' | b'(' => Reply::Text(line.to_vec()),
            b'-' => Reply::Error(String::from_utf8_lossy(line).into_owned()),
            b':' => match number() {
                Some(number) => Reply::Integer(number),
                None => return self.malformed(),
            },
            b'#' if line == b"t" || line == b"f" => Reply::Integer(i64::from(line == b"t")),
            b'_' if line.is_empty() => Reply::Null,
            b'$' | b'!' | b'=' => match number() {
                Some(-1) => Reply::Null,
                Some(length) => return self.bulk(kind, head, length),
                None => return self.malformed(),
            },
            b'*' | b'~' | b'%' | b'>' | b'|' => match number() {
                Some(-1) => Reply::Null,
                Some(count) => return self.list(kind, head, count),
                None => return self.malformed(),
            },
            _ => return self.malformed(),
        };
        self.at += head;
        self.values += 1;
        Ok(Step::Value(value))
    }

    /// A string with its length in front.
    fn bulk(&mut self, kind: u8, head: usize, length: i64) -> Result<Step, ReplyError> {
        let Ok(length) = usize::try_from(length) else { return self.malformed() };
        if length > MAX_BYTES {
            return Err(ReplyError::TooLarge { limit: "8 MiB" });
        }
        let start = self.at + head;
        let Some(text) = self.buffer.get(start..start + length) else { return Ok(Step::Incomplete) };
        match self.buffer.get(start + length..start + length + 2) {
            Some(b"\r\n") => {}
            Some(_) => return self.malformed(),
            None => return Ok(Step::Incomplete),
        }
        let value = match kind {
            b'!' => Reply::Error(String::from_utf8_lossy(text).into_owned()),
            // A verbatim string begins with its format: `txt:`.
            b'=' => Reply::Text(text.get(4..).unwrap_or_default().to_vec()),
            _ => Reply::Text(text.to_vec()),
        };
        self.at = start + length + 2;
        self.values += 1;
        Ok(Step::Value(value))
    }

    fn list(&mut self, kind: u8, head: usize, count: i64) -> Result<Step, ReplyError> {
        let Ok(count) = usize::try_from(count) else { return self.malformed() };
        let missing = if kind == b'%' || kind == b'|' { count.saturating_mul(2) } else { count };
        if self.values.saturating_add(missing) > MAX_VALUES {
            return Err(ReplyError::TooLarge { limit: "262,144 values" });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(ReplyError::TooLarge { limit: "16 nested lists" });
        }
        let kind = match kind {
            b'>' => Kind::Push,
            b'|' => Kind::Attribute,
            _ => Kind::Value,
        };
        self.at += head;
        self.values += 1;
        self.open.push(OpenList { kind, missing, values: Vec::new() });
        Ok(Step::Opened)
    }
}
