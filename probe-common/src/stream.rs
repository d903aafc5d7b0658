//! One connection's byte stream: new bytes, retransmissions, gaps.
//!
//! The kernel programs see segments *before* TCP puts them in order, so this keeps the next expected sequence number.
//! In order: parse on. Wholly old: a repeat. Partly old: the old part is skipped. Ahead: a gap; if the bytes skipped
//! by it prove to be body, nothing is lost, otherwise the connection is lost until a segment begins with a method
//! right after an answer.

use crate::{head::Head, requests::Reason, segment::SegmentReader};

/// State of one connection, in the socket's own storage: it goes when the socket goes. All zeros is a new one.
///
/// On loopback one CPU handles the requests and another one the answers. The fields that egress touches come first, in one
/// cache line, to avoid false sharing ([`Socket`](crate::socket::Socket) checks it).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// 1 while a CPU works on this connection. Only the kernel program touches it; 64 bits, as the instruction set's
    /// oldest exchange has.
    pub busy: u64,
    /// When the data request that is being timed came, in nanoseconds of the kernel's monotonic clock; 0 when none is.
    /// Written by the ingress program, taken by the egress program.
    pub request_started: u64,
    /// 1 once an answer's bytes went out after the last bytes that came in. Written by the egress program.
    pub answered: u32,
    /// One of `PHASE_*`.
    phase: u8,
    /// While lost: the [`Reason`]'s number.
    reason: u8,
    /// 1 if every byte of this connection has been followed from its first.
    whole: u8,
    /// Sequence number of the next byte to parse; while lost, the highest seen.
    next: u32,
    /// First sequence number that came too early.
    ahead_from: u32,
    /// The one behind the last that came too early; equal to `ahead_from` when none did.
    ahead_to: u32,
    /// Data requests since the last answer; those of one segment, where several were answered in part.
    unanswered: u32,
    /// Requests that may be without an answer: none, one, or [`SEVERAL`].
    waiting: u8,
    /// 1 when parsing has begun in the middle of the connection, and no request been seen since.
    resumed: u8,
    padding: [u8; 7],
    /// The parser's place in the byte stream.
    pub head: Head,
}

/// More requests at a time than one: which answer is whose cannot be told from here on.
const SEVERAL: u8 = 2;

const PHASE_NEW: u8 = 0;
const PHASE_FOLLOWED: u8 = 1;
const PHASE_LOST: u8 = 2;
/// Refused or answered a last time by the shard: it closes, and reads nothing more.
const PHASE_REFUSED: u8 = 3;

/// What is to be done with a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Parse it from this offset on.
    Parse(u32),
    /// No new byte in it.
    Duplicate,
    /// It cannot be followed.
    Unparsed(Reason),
}

/// Whether payload that begins with these four bytes (lowest first) begins a request.
#[must_use]
#[inline(always)]
pub const fn begins_request(bytes: u32) -> bool {
    const fn is(bytes: u32, method: [u8; 4]) -> bool {
        bytes == u32::from_le_bytes(method)
    }
    is(bytes, *b"GET ")
        || is(bytes, *b"POST")
        || is(bytes, *b"HEAD")
        || is(bytes, *b"PUT ")
        || is(bytes, *b"DELE")
        || is(bytes, *b"OPTI")
        || is(bytes, *b"PATC")
}

impl Stream {
    /// Whether this is a connection's first payload since the probe attached. Then [`open`](Self::open) comes first.
    #[must_use]
    #[inline(always)]
    pub const fn is_new(&self) -> bool {
        self.phase == PHASE_NEW
    }

    /// Begins with a connection. `first` is its first payload byte's sequence number if nothing has been received on
    /// it yet; `None` for a connection older than the probe, whose next segment has the number `sequence`.
    #[inline(always)]
    pub fn open(&mut self, first: Option<u32>, sequence: u32) {
        self.head.restart();
        if let Some(first) = first {
            self.follow(first);
            self.whole = 1;
        } else {
            self.lose(Reason::Joined);
            self.next = sequence;
            // A pause and the middle of a body look the same here: the first segment with a method is taken.
            self.answered = 1;
        }
    }

    /// Begins with a connection whose first byte has the sequence number `first`, and of whose bytes up to `end` nothing
    /// is known.
    #[inline(always)]
    pub fn open_lost(&mut self, first: u32, end: u32, reason: Reason) {
        self.open(Some(first), first);
        self.next = end;
        self.lose(reason);
    }

    /// Whether [`admit`](Self::admit) wants to know the segment's first bytes.
    #[must_use]
    #[inline(always)]
    pub const fn wants_first_bytes(&self) -> bool {
        self.phase == PHASE_LOST
    }

    /// Judges a segment by its sequence number and length (at least 1). `begins_request` says whether its first bytes
    /// are a method; see [`wants_first_bytes`](Self::wants_first_bytes).
    #[inline(always)]
    pub fn admit(&mut self, sequence: u32, length: u32, begins_request: bool) -> Admission {
        let end = sequence.wrapping_add(length);
        if !after(end, self.next) {
            return Admission::Duplicate;
        }
        if self.phase == PHASE_FOLLOWED {
            if !after(sequence, self.next) {
                return Admission::Parse(self.next.wrapping_sub(sequence));
            }
            let missing = sequence.wrapping_sub(self.next);
            if self.head.body >= missing as u64 {
                // The missing bytes are body, which is not parsed: a repeat when they arrive.
                self.head.body -= missing as u64;
                self.next = sequence;
                return Admission::Parse(0);
            }
            return self.ahead(sequence, end);
        }
        if self.phase == PHASE_LOST && self.answered != 0 && begins_request && !after(self.next, sequence) {
            self.follow(sequence);
            self.resumed = 1;
            return Admission::Parse(0);
        }
        self.next = end;
        self.answered = 0;
        Admission::Unparsed(Reason::from_number(self.reason))
    }

    /// Takes the result of reading a segment that was admitted and that ends at `end` (its sequence number plus
    /// its length). Returns why bytes of it were not parsed, if some were not.
    #[inline(always)]
    pub fn finish(&mut self, reader: &SegmentReader, end: u32) -> Option<Reason> {
        self.next = end;
        if self.answered != 0 {
            self.unanswered = 0;
            self.answered = 0;
        }
        self.unanswered = self.unanswered.wrapping_add(reader.tally.get).wrapping_add(reader.tally.set);
        if let Some(reason) = self.head.stopped() {
            let rest = reader.at < reader.end;
            let whole = self.whole != 0;
            self.lose(reason);
            // A connection joined in the middle may have been joined at a wrong place.
            if whole && self.head.is_last() {
                self.phase = PHASE_REFUSED;
            }
            let mends = !matches!(reason, Reason::Malformed | Reason::Target);
            return if mends && !rest { None } else { Some(reason) };
        }
        if !reader.is_done() {
            self.lose(Reason::Budget);
            return Some(Reason::Budget);
        }
        self.close_gap();
        None
    }

    /// Whether a data request that the segment just scanned completed is to be timed. Asked once for each segment,
    /// before [`finish`](Self::finish).
    ///
    /// Only the oldest unanswered one is. Of a pipeline that is the first; and behind a pipeline none, as nothing tells
    /// the last of its answers from the first.
    #[inline(always)]
    pub fn is_timed(&mut self, reader: &SegmentReader) -> bool {
        let (data, control) = (reader.tally.get | reader.tally.set, reader.tally.control);
        if self.answered != 0 && self.waiting < SEVERAL {
            self.waiting = 0;
        }
        if data | control == 0 {
            return false;
        }
        let oldest = self.waiting == 0 && self.resumed == 0;
        let several = reader.tally.get.wrapping_add(reader.tally.set).wrapping_add(control) > 1;
        self.resumed = 0;
        self.waiting = if self.waiting == 0 && !several { 1 } else { SEVERAL };
        // With control requests in the same segment it is not known which came first.
        oldest && control == 0
    }

    /// The client has left: how many data requests the shard may not have read. With one request at a time those
    /// without an answer; of a pipeline answered in part, all of its last segment.
    #[inline(always)]
    pub fn aborted(&mut self) -> u32 {
        let all = self.unanswered;
        self.unanswered = 0;
        if self.answered != 0 && all <= 1 { 0 } else { all }
    }

    /// Gives a connection up for now: after an error of the driver.
    #[inline(always)]
    pub fn lose(&mut self, reason: Reason) {
        if self.ahead_from != self.ahead_to && after(self.ahead_to, self.next) {
            self.next = self.ahead_to;
        }
        self.ahead_from = self.next;
        self.ahead_to = self.next;
        self.phase = PHASE_LOST;
        self.reason = reason as u8;
        self.answered = 0;
        self.whole = 0;
    }

    #[inline(always)]
    fn follow(&mut self, sequence: u32) {
        self.phase = PHASE_FOLLOWED;
        self.head.restart();
        self.next = sequence;
        self.ahead_from = sequence;
        self.ahead_to = sequence;
    }

    /// A segment came too early. The first and the last of such bytes are remembered, whatever is missing between.
    #[inline(always)]
    fn ahead(&mut self, sequence: u32, end: u32) -> Admission {
        if self.ahead_from == self.ahead_to {
            self.ahead_from = sequence;
            self.ahead_to = end;
        }
        if after(self.ahead_from, sequence) {
            self.ahead_from = sequence;
        }
        if after(end, self.ahead_to) {
            self.ahead_to = end;
        }
        Admission::Unparsed(Reason::Gap)
    }

    /// The bytes before a gap's end have come. Those that came too early were not parsed: harmless if they are body.
    #[inline(always)]
    fn close_gap(&mut self) {
        if self.ahead_from == self.ahead_to {
            return;
        }
        if after(self.ahead_to, self.next) {
            let unseen = self.ahead_to.wrapping_sub(self.next);
            if self.head.body >= unseen as u64 {
                self.head.body -= unseen as u64;
                self.next = self.ahead_to;
            } else if after(self.ahead_from, self.next) {
                return;
            } else {
                self.lose(Reason::Gap);
            }
        }
        self.ahead_from = self.next;
        self.ahead_to = self.next;
    }
}

/// Whether sequence number `a` comes after `b` (RFC 9293, section 3.4: numbers wrap around).
#[inline(always)]
const fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
