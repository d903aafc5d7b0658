//! One connection with the kernel program's state, fed segment by segment.

use probe_common::http::{SegmentReader, Stream, begins_request};
use probe_common::key::KeyText;
use probe_common::requests::Reason;
use probe_common::requests::Tally;
use probe_common::stream::Admission;

use crate::oracle;

/// Steps for a segment, as many as in the kernel program.
pub(crate) const STEPS: u32 = 1 << 17;

pub(crate) struct Connection {
    pub(crate) stream: Stream,
    reader: SegmentReader,
    pub(crate) tally: Tally,
    /// The key of each read.
    keys: Vec<KeyText>,
    pub(crate) duplicates: u32,
    /// Number of timed requests.
    pub(crate) timed: u32,
    pub(crate) unparsed: Vec<Reason>,
    /// Sequence number of the next [`Connection::append`].
    next: u32,
    steps: u32,
}

impl Connection {
    /// Returns a connection seen from its first byte, which has this sequence number.
    pub(crate) fn from_start(first: u32) -> Self {
        let mut connection = Self::empty(first);
        connection.stream.open(Some(first), first);
        connection
    }

    /// Returns a connection older than the probe.
    pub(crate) fn joined(next: u32) -> Self {
        let mut connection = Self::empty(next);
        connection.stream.open(None, next);
        connection
    }

    fn empty(next: u32) -> Self {
        // Garbage in the window: no result may depend on an earlier segment's bytes.
        let mut reader = SegmentReader::EMPTY;
        reader.words.fill(0x0a0d_0a0d_2f54_4547);
        let (stream, tally) = (Stream::default(), Tally::default());
        Self {
            stream,
            reader,
            tally,
            keys: Vec::new(),
            duplicates: 0,
            timed: 0,
            unparsed: Vec::new(),
            next,
            steps: STEPS,
        }
    }

    pub(crate) fn with_steps(mut self, steps: u32) -> Self {
        self.steps = steps;
        self
    }

    /// Reads a segment that arrives in order.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        let sequence = self.next;
        self.next = sequence.wrapping_add(payload.len() as u32);
        self.segment(sequence, payload);
    }

    /// Reads a segment with this sequence number.
    pub(crate) fn segment(&mut self, sequence: u32, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let length = payload.len() as u32;
        let begins = self.stream.wants_first_bytes()
            && payload.first_chunk().is_some_and(|bytes| begins_request(u32::from_le_bytes(*bytes)));
        match self.stream.admit(sequence, length, None, begins) {
            Admission::Duplicate => self.duplicates += 1,
            Admission::Unparsed(reason) => self.unparsed.push(reason),
            Admission::Parse(skip) => {
                self.reader.begin(skip, length);
                let keys = &mut self.keys;
                self.reader.read(&mut self.stream.head, payload, self.steps, |key| keys.push(*key));
                self.tally.get += self.reader.tally.get;
                self.tally.set += self.reader.tally.set;
                self.tally.control += self.reader.tally.control;
                self.timed += u32::from(self.stream.is_timed(&self.reader));
                self.unparsed.extend(self.stream.finish(&self.reader, sequence.wrapping_add(length)));
            }
        }
    }

    /// Sends bytes of a response.
    pub(crate) fn answer(&mut self) {
        self.stream.answered = 1;
    }

    /// Whether the reads had exactly these keys, in this order.
    pub(crate) fn has_keys(&self, expected: &[Vec<u8>]) -> bool {
        self.keys.len() == expected.len()
            && self.keys.iter().zip(expected).all(|(key, sent)| oracle::is(key, sent))
    }

    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        (self.tally.get, self.tally.set, self.tally.control)
    }
}

/// Returns the counts of a stream in one segment.
pub(crate) fn counts(stream: &[u8]) -> (u32, u32, u32) {
    let mut connection = Connection::from_start(1);
    connection.append(stream);
    connection.counts()
}
