//! Follows one connection: new bytes, bytes that TCP has accepted, and out-of-order segments.
//!
//! The kernel programs see a segment *before* TCP checks it and puts it in order. TCP's `rcv_nxt` shows what TCP has
//! accepted before that segment. The parser follows the segments as they arrive, and takes a snapshot wherever TCP has
//! accepted everything. A segment that starts again at the snapshot replaces what was parsed since: TCP has dropped
//! that. Where TCP is ahead of the parser, or bytes are missing that are not body, the connection is lost until TCP is
//! idle and a segment begins with a request.

use crate::{
    protocol::{Parser, Protocol},
    requests::{Reason, Tally},
    segment::SegmentReader,
};

/// State of one connection, in the socket storage, which the kernel frees with the socket. All zeros is a new state.
///
/// The fields that egress accesses come first ([`Socket`](crate::socket::Socket) explains why).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream<P: Protocol> {
    /// 1 while a CPU works on this connection. Only the kernel program accesses it. It has 64 bits, because the oldest
    /// exchange instruction has 64.
    pub busy: u64,
    /// Arrival time of the timed data request, in nanoseconds of the kernel's monotonic clock; 0 if none is timed.
    /// Written by the ingress program, taken by the egress program.
    pub request_started: u64,
    /// 1 once a final answer's bytes were sent after the last received bytes. Written by the egress program.
    pub answered: u8,
    /// 1 once an answer was the connection's last. Written by the egress program.
    pub closing: u8,
    /// 1 while the parser is inside a request's body.
    pub in_body: u8,
    padding: [u8; 5],
    /// Requests that have arrived and are not known to be dropped.
    pub arrived: Arrived,
    /// One of `PHASE_*`.
    phase: u8,
    /// While lost: the [`Reason`]'s number.
    reason: u8,
    /// 1 if every byte of this connection has been followed from its first.
    whole: u8,
    /// Requests that may be without an answer: none, one, or [`SEVERAL`].
    waiting: u8,
    /// 1 if parsing began in the middle of the connection and no request has been seen since.
    resumed: u8,
    /// 1 if the snapshot is a request's first byte, and [`Self::snapshot`] is not used.
    snapshot_is_boundary: u8,
    /// 1 if the snapshot is valid.
    has_snapshot: u8,
    /// `whole` at the snapshot.
    snapshot_whole: u8,
    /// `waiting` at the snapshot.
    snapshot_waiting: u8,
    /// 1 if the connection was lost at the snapshot, and [`Self::snapshot`] is not used.
    snapshot_is_lost: u8,
    unused: [u8; 2],
    /// Sequence number of the next byte to parse; while lost, the highest seen.
    next: u32,
    /// First sequence number of bytes that arrived early.
    ahead_from: u32,
    /// End of the bytes that arrived early; equal to `ahead_from` if there are none.
    ahead_to: u32,
    /// Start of the missing bytes of a body, which may still arrive.
    hole_from: u32,
    /// End of those bytes.
    hole_to: u32,
    /// Sequence number of the snapshot.
    snapshot_at: u32,
    /// `arrived` at the snapshot.
    snapshot_arrived: Arrived,
    /// The parser's place in the byte stream.
    pub head: P::Head,
    /// The same at the snapshot.
    snapshot: P::Head,
}

/// Requests of a connection: their number, and in the upper half how many of them are not data requests. In one word,
/// so that the egress program reads both at once.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived(u64);

/// Several requests at a time. From then on answers cannot be matched with requests.
const SEVERAL: u8 = 2;

const PHASE_NEW: u8 = 0;
const PHASE_FOLLOWED: u8 = 1;
const PHASE_LOST: u8 = 2;
/// The shard has refused a request or sent its last answer. It closes and reads nothing more.
const PHASE_REFUSED: u8 = 3;

/// How to handle a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Parse it from this offset on.
    Parse(u32),
    /// It has no new byte.
    Duplicate,
    /// It cannot be parsed.
    Unparsed(Reason),
}

impl Arrived {
    /// Requests of every kind.
    #[must_use]
    #[inline(always)]
    pub const fn requests(self) -> u32 {
        self.0 as u32
    }

    /// Requests that are not data requests.
    #[must_use]
    #[inline(always)]
    pub const fn controls(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Adds the requests of a segment.
    #[must_use]
    #[inline(always)]
    const fn plus(self, tally: Tally) -> Self {
        let requests =
            self.requests().wrapping_add(tally.get).wrapping_add(tally.set).wrapping_add(tally.control);
        Self((self.controls().wrapping_add(tally.control) as u64) << 32 | requests as u64)
    }
}

impl<P: Protocol> Stream<P> {
    /// Whether this is a connection's first payload since the probe attached. Then call [`open`](Self::open) first.
    #[must_use]
    #[inline(always)]
    pub const fn is_new(&self) -> bool {
        self.phase == PHASE_NEW
    }

    /// Starts a connection. `first` is its first payload byte's sequence number if nothing has been received on
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
            // A pause cannot be distinguished from the middle of a body. The first segment with a method is accepted.
            self.answered = 1;
        }
    }

    /// Starts a connection whose first byte has the sequence number `first`. Its bytes up to `end` are unknown.
    #[inline(always)]
    pub fn open_lost(&mut self, first: u32, end: u32, reason: Reason) {
        self.open(Some(first), first);
        self.next = end;
        self.lose(reason);
    }

    /// Whether [`admit`](Self::admit) uses the segment's first bytes.
    #[must_use]
    #[inline(always)]
    pub const fn wants_first_bytes(&self) -> bool {
        self.phase == PHASE_LOST
    }

    /// Restores the snapshot if the segment starts there again, because TCP has accepted nothing after it. Returns
    /// whether it did. Then discard what is pending before [`admit`](Self::admit).
    #[inline(always)]
    pub fn roll_back(&mut self, sequence: u32, length: u32, accepted: u32) -> bool {
        let end = sequence.wrapping_add(length);
        let is_repeat = self.has_snapshot != 0
            && self.snapshot_at == accepted
            && after(self.next, accepted)
            && !after(sequence, accepted)
            && after(end, accepted);
        if !is_repeat || self.is_in_hole(sequence, end) {
            return false;
        }
        if self.snapshot_is_lost != 0 {
            self.phase = PHASE_LOST;
            self.answered = 1;
        } else {
            if self.snapshot_is_boundary != 0 {
                self.head.restart();
            } else {
                self.head = self.snapshot;
            }
            self.in_body = (self.head.body() > 0) as u8;
            self.phase = PHASE_FOLLOWED;
        }
        self.next = accepted;
        (self.whole, self.waiting) = (self.snapshot_whole, self.snapshot_waiting);
        self.arrived = self.snapshot_arrived;
        (self.ahead_from, self.ahead_to) = (accepted, accepted);
        (self.hole_from, self.hole_to) = (accepted, accepted);
        true
    }

    /// Records the bytes that TCP has accepted, before a segment is [admitted](Self::admit).
    #[inline(always)]
    pub fn accept(&mut self, accepted: u32) {
        if self.phase != PHASE_FOLLOWED {
            return;
        }
        if self.next == accepted {
            self.take_snapshot(accepted);
            self.snapshot_is_lost = 0;
            self.snapshot_is_boundary = self.head.is_at_first_byte() as u8;
            if self.snapshot_is_boundary == 0 {
                self.snapshot = self.head;
            }
        } else if after(accepted, self.next) {
            // TCP is ahead of the parser. Bytes of a body do not matter.
            let missed = accepted.wrapping_sub(self.next);
            if self.head.may_miss() >= missed as u64 {
                self.head.miss(missed);
                self.next = accepted;
            } else {
                self.lose(Reason::Gap);
                self.next = accepted;
            }
        }
    }

    /// Keeps the state at a sequence number, except for the parser's.
    #[inline(always)]
    fn take_snapshot(&mut self, accepted: u32) {
        self.has_snapshot = 1;
        self.snapshot_at = accepted;
        self.snapshot_arrived = self.arrived;
        (self.snapshot_whole, self.snapshot_waiting) = (self.whole, self.waiting);
    }

    /// Judges a segment by its sequence number and length (at least 1). `begins_request` is true if its first bytes
    /// are a method; see [`wants_first_bytes`](Self::wants_first_bytes). `accepted` is TCP's `rcv_nxt`, if it is known.
    #[inline(always)]
    pub fn admit(
        &mut self,
        sequence: u32,
        length: u32,
        accepted: Option<u32>,
        begins_request: bool,
    ) -> Admission {
        let end = sequence.wrapping_add(length);
        if self.phase == PHASE_LOST {
            // Bytes that TCP has already accepted are not new. Otherwise compare with the next byte of the stream.
            let from = match accepted {
                Some(accepted) => accepted,
                None => self.next,
            };
            if !after(end, from) {
                return Admission::Duplicate;
            }
            let is_next = sequence == from || accepted.is_none() && after(sequence, from);
            if is_next && self.answered != 0 && begins_request {
                self.follow(sequence);
                self.resumed = 1;
                // TCP may still drop this segment. Then the connection is lost again.
                self.take_snapshot(sequence);
                self.snapshot_is_lost = 1;
                return Admission::Parse(0);
            }
        } else {
            if !after(end, self.next) || self.is_in_hole(sequence, end) {
                return Admission::Duplicate;
            }
            if self.phase == PHASE_FOLLOWED {
                if !after(sequence, self.next) {
                    return Admission::Parse(self.next.wrapping_sub(sequence));
                }
                let missing = sequence.wrapping_sub(self.next);
                if self.head.may_miss() >= missing as u64 {
                    // Only body bytes are missing. They count as repeated when they arrive.
                    self.head.miss(missing);
                    if self.hole_from == self.hole_to {
                        self.hole_from = self.next;
                    }
                    self.hole_to = sequence;
                    self.next = sequence;
                    return Admission::Parse(0);
                }
                return self.ahead(sequence, end);
            }
        }
        self.next = end;
        self.answered = 0;
        Admission::Unparsed(Reason::from_number(self.reason))
    }

    /// Stores the result of reading a segment that was admitted and that ends at `end` (its sequence number plus
    /// its length). Returns the reason if some of its bytes were not parsed.
    #[inline(always)]
    pub fn finish(&mut self, reader: &SegmentReader<P>, end: u32) -> Option<Reason> {
        self.next = end;
        self.answered = 0;
        self.arrived = self.arrived.plus(reader.tally);
        self.in_body = (self.head.body() > 0) as u8;
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

    /// Whether to time a data request that the current segment completed. Call it once for each segment, before
    /// [`finish`](Self::finish).
    ///
    /// Only the oldest unanswered request is timed. In a pipeline that is the first. After a pipeline none is timed,
    /// because its first and last answers cannot be distinguished.
    #[inline(always)]
    pub fn is_timed(&mut self, reader: &SegmentReader<P>) -> bool {
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
        // With control requests in the same segment, the order is unknown.
        oldest && control == 0
    }

    /// Whether the next byte is the first of a request.
    #[must_use]
    #[inline(always)]
    pub fn is_at_boundary(&self) -> bool {
        self.phase == PHASE_FOLLOWED && self.head.is_at_first_byte()
    }

    /// The shard reads nothing more, as its answer announced.
    #[inline(always)]
    pub fn refuse(&mut self) {
        self.lose(Reason::Closed);
        self.phase = PHASE_REFUSED;
    }

    /// Marks a connection as lost after an error of the driver.
    #[inline(always)]
    pub fn lose(&mut self, reason: Reason) {
        if self.ahead_from != self.ahead_to && after(self.ahead_to, self.next) {
            self.next = self.ahead_to;
        }
        self.ahead_from = self.next;
        self.ahead_to = self.next;
        self.hole_from = self.next;
        self.hole_to = self.next;
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
        self.hole_from = sequence;
        self.hole_to = sequence;
        self.has_snapshot = 0;
    }

    /// Whether all of these bytes belong to a body and were missing.
    #[inline(always)]
    const fn is_in_hole(&self, sequence: u32, end: u32) -> bool {
        self.hole_from != self.hole_to && !after(self.hole_from, sequence) && !after(end, self.hole_to)
    }

    /// A segment arrived early. Only the first and the last early bytes are stored, even if bytes between them are
    /// missing.
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

    /// The gap is closed. Bytes that arrived early were not parsed, which is harmless if they belong to a body.
    #[inline(always)]
    fn close_gap(&mut self) {
        if self.ahead_from == self.ahead_to {
            return;
        }
        if after(self.ahead_to, self.next) {
            let unseen = self.ahead_to.wrapping_sub(self.next);
            if self.head.may_miss() >= unseen as u64 {
                self.head.miss(unseen);
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
