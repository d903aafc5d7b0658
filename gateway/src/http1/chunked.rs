//! Decodes the transfer coding `chunked` (RFC 9112, section 7.1).

use bytes::{Buf, BytesMut};

/// Longest line of a chunk's size, and of a trailer.
const LINE_MAX_BYTES: usize = 1_024;
/// Largest number of trailers.
const MAX_TRAILERS: usize = 100;

/// The position in a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    /// Bytes of the present chunk that have not arrived.
    left: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Size,
    Data,
    /// The line break after a chunk.
    End,
    /// The lines after the last chunk. This many were read.
    Trailers(usize),
}

impl Chunked {
    /// Takes what has arrived from `buffer` and adds the decoded bytes to `out`. Returns whether the body is complete.
    ///
    /// # Errors
    /// A short reason, if the coding is not valid.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool, &'static str> {
        loop {
            match self.place {
                Place::Size => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        buffer.advance(length);
                        self.left = size;
                        self.place = if size == 0 { Place::Trailers(0) } else { Place::Data };
                    }
                    Ok(httparse::Status::Partial) if buffer.len() <= LINE_MAX_BYTES => return Ok(false),
                    _ => return Err("an invalid size of a chunk"),
                },
                Place::Data => {
                    let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
                    out.extend_from_slice(&buffer[..length]);
                    buffer.advance(length);
                    self.left -= length as u64;
                    if self.left > 0 {
                        return Ok(false);
                    }
                    self.place = Place::End;
                }
                Place::End => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.place = Place::Size;
                    }
                    None if b"\r\n".starts_with(buffer) => return Ok(false),
                    _ => return Err("no line break after a chunk"),
                },
                Place::Trailers(read) => {
                    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
                        return if buffer.len() <= LINE_MAX_BYTES {
                            Ok(false)
                        } else {
                            Err("a long trailer")
                        };
                    };
                    let is_empty = buffer[..end].trim_ascii_end().is_empty();
                    buffer.advance(end + 1);
                    match (is_empty, read) {
                        (true, _) => return Ok(true),
                        (false, MAX_TRAILERS..) => return Err("too many trailers"),
                        (false, _) => self.place = Place::Trailers(read + 1),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the text in pieces of `step` bytes. Returns body and rest.
    fn decoded(text: &str, step: usize) -> Result<Option<(String, usize)>, &'static str> {
        let (mut chunked, mut buffer, mut out) = (Chunked::default(), BytesMut::new(), Vec::new());
        let mut pieces = text.as_bytes().chunks(step);
        while let Some(piece) = pieces.next() {
            buffer.extend_from_slice(piece);
            if chunked.decode(&mut buffer, &mut out)? {
                let rest = buffer.len() + pieces.map(<[u8]>::len).sum::<usize>();
                return Ok(Some((String::from_utf8(out).unwrap(), rest)));
            }
        }
        Ok(None)
    }

    #[test]
    fn bodies_are_the_same_however_they_arrive() {
        let text = "5;x=y\r\nhello\r\nA\r\n, chunked!\r\n0\r\nTrailer: t\r\n\r\nrest";
        for step in 1..=text.len() {
            assert_eq!(decoded(text, step).unwrap(), Some(("hello, chunked!".into(), 4)), "step {step}");
        }
        assert_eq!(decoded(&text[..text.len() - 6], 3).unwrap(), None);
    }

    #[test]
    fn invalid_codings_are_refused() {
        let long = format!("1;{}", "x".repeat(2 * LINE_MAX_BYTES));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILERS + 1));
        for text in ["x\r\n", "1\r\nab\r\n", "fffffffffffffffff\r\n", &long, &trailers] {
            assert!(decoded(text, 1).is_err(), "{text}");
        }
    }
}
