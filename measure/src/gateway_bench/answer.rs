//! The end of an answer in the bytes of a connection.

use anyhow::{Context as _, Result};

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
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("an answer's head")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let body: usize = length.with_context(|| format!("an answer without a length: {text}"))?;
        let answer = Self { status: status.context("an answer without a status")?, head: end + 4, body };
        Ok((bytes.len() >= answer.head + body).then_some(answer))
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
