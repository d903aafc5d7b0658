//! Signal `requests`: complete request heads at a shard, and unparsed segments by reason.

use core::ops::AddAssign;

/// Why payload was not parsed. The number is the index into [`Requests::unparsed`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The payload's bytes, or the socket they belong to, could not be read.
    Unreadable = 0,
    /// The connection is older than the probe and no request has begun on it yet.
    Joined = 1,
    /// Bytes before these are missing: lost or reordered on the way.
    Gap = 2,
    /// The request's body is chunked; parsing goes on when the connection is idle again.
    Chunked = 3,
    /// Not HTTP/1.x: the shard refuses it too, and closes.
    Malformed = 4,
    /// More work in one segment than a kernel program may do.
    Budget = 5,
    /// The bytes came before the connection was set up, and belong to no connection yet.
    Handshake = 6,
    /// Two CPUs had bytes of one connection at the same time, and one did not get its turn.
    Concurrent = 7,
    /// The request's target is neither a path nor `*`: what the shard makes of it is not judged. Parsing goes on when
    /// the connection is idle again.
    Target = 8,
    /// Bytes behind a request or an answer that is the connection's last (`Connection: close`), or to a socket that the shard
    /// has closed: the shard does not read them.
    Closed = 9,
    /// The segment has urgent data, which the application does not read in order. Parsing resumes when the connection is idle.
    Urgent = 10,
    /// More segments wait for TCP than are kept. Parsing resumes when the connection is idle.
    Unconfirmed = 11,
    /// The IP headers could not be followed to TCP's. Counted without a connection.
    Headers = 12,
}

/// How many reasons there are.
pub const REASONS: usize = 13;

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; REASONS] = [
        Self::Unreadable,
        Self::Joined,
        Self::Gap,
        Self::Chunked,
        Self::Malformed,
        Self::Budget,
        Self::Handshake,
        Self::Concurrent,
        Self::Target,
        Self::Closed,
        Self::Urgent,
        Self::Unconfirmed,
        Self::Headers,
    ];

    /// The reason with this number; unknown numbers are [`Reason::Unreadable`].
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Joined,
            2 => Self::Gap,
            3 => Self::Chunked,
            4 => Self::Malformed,
            5 => Self::Budget,
            6 => Self::Handshake,
            7 => Self::Concurrent,
            8 => Self::Target,
            9 => Self::Closed,
            10 => Self::Urgent,
            11 => Self::Unconfirmed,
            12 => Self::Headers,
            _ => Self::Unreadable,
        }
    }

    /// The reason as metrics and JSON write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Joined => "joined",
            Self::Gap => "gap",
            Self::Chunked => "chunked",
            Self::Malformed => "malformed",
            Self::Budget => "budget",
            Self::Handshake => "handshake",
            Self::Concurrent => "concurrent",
            Self::Target => "target",
            Self::Closed => "closed",
            Self::Urgent => "urgent",
            Self::Unconfirmed => "unconfirmed",
            Self::Headers => "headers",
        }
    }
}

/// Value of the per-CPU array `REQUESTS`; the index is the shard. Monotonic since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Complete heads `GET /data/{key}`.
    pub get: u64,
    /// Complete heads `POST /data`.
    pub set: u64,
    /// All other complete heads.
    pub control: u64,
    /// Segments without a new byte: retransmissions.
    pub duplicate_segments: u64,
    /// Data requests whose client left (FIN, RST) before an answer: the shard may never have read them.
    pub aborted: u64,
    /// Of the aborted ones, those that were answered after all, or are known to be never read.
    pub aborted_settled: u64,
    /// Data requests that the shard has never read: they stood behind its last answer, or it has reset the connection.
    pub never_read: u64,
    /// Data requests in segments that have arrived, whether TCP accepts them or not.
    pub arrived: u64,
    /// Of them, those in segments that TCP has dropped.
    pub dropped: u64,
    /// Segments with bytes that were not parsed, by [`Reason`].
    pub unparsed: [u64; REASONS],
}

impl Requests {
    /// Data requests that the shard has read or will read: reads and writes together.
    #[must_use]
    pub const fn data(&self) -> u64 {
        self.get.wrapping_add(self.set).saturating_sub(self.never_read)
    }

    /// Data requests in segments that TCP has neither accepted nor dropped. 0 rather than less, because CPUs are not read
    /// at one instant.
    #[must_use]
    pub const fn undecided(&self) -> u64 {
        self.arrived.saturating_sub(self.dropped).saturating_sub(self.get.wrapping_add(self.set))
    }

    /// Data requests whose client left before an answer, and of which nothing more is known.
    #[must_use]
    pub const fn unsettled(&self) -> u64 {
        self.aborted.saturating_sub(self.aborted_settled)
    }
}

/// Adds another CPU's share.
impl AddAssign<&Self> for Requests {
    fn add_assign(&mut self, other: &Self) {
        self.get = self.get.wrapping_add(other.get);
        self.set = self.set.wrapping_add(other.set);
        self.control = self.control.wrapping_add(other.control);
        self.duplicate_segments = self.duplicate_segments.wrapping_add(other.duplicate_segments);
        self.aborted = self.aborted.wrapping_add(other.aborted);
        self.aborted_settled = self.aborted_settled.wrapping_add(other.aborted_settled);
        self.never_read = self.never_read.wrapping_add(other.never_read);
        self.arrived = self.arrived.wrapping_add(other.arrived);
        self.dropped = self.dropped.wrapping_add(other.dropped);
        for (mine, theirs) in self.unparsed.iter_mut().zip(other.unparsed) {
            *mine = mine.wrapping_add(theirs);
        }
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Requests {}
