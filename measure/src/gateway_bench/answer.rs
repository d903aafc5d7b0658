//! The end of an answer in the bytes of a connection.

use anyhow::Result;
use load::client::Head;

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Bytes of the head, with its empty line.
    pub(super) head: usize,
    /// Bytes of the body.
    pub(super) body: usize,
}

impl Answer {
    /// Returns the answer at the start of `bytes`, or `None` while a part is missing.
    ///
    /// # Errors
    /// When the head has no status or no `Content-Length`. All servers of the benchmark send it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(Head { status, body_at, body_len, .. }) = Head::parse(bytes)? else { return Ok(None) };
        let answer = Self { status, head: body_at, body: body_len };
        Ok((bytes.len() >= answer.bytes()).then_some(answer))
    }

    /// Returns the number of bytes.
    pub(super) const fn bytes(self) -> usize {
        self.head + self.body
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_ends_with_its_body() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\nx: y\r\n\r\nabcrest";
        let answer = Answer { status: 200, head: 44, body: 3 };
        assert_eq!(Answer::parse(bytes).unwrap(), Some(answer));
        assert!((0..47).all(|length| Answer::parse(&bytes[..length]).unwrap().is_none()));
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n").is_err());
    }
}
