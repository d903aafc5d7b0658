//! Signal `requests`: complete request heads, and unparsed segments by reason.

use core::ops::AddAssign;

/// Why payload was not parsed. The number is the index into [`Requests::unparsed`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The payload's bytes or its socket could not be read.
    Unreadable = 0,
    /// The connection is older than the probe, and no request has begun on it yet.
    Joined = 1,
    /// Earlier bytes are missing: they were lost or reordered.
    Gap = 2,
    /// The request's body is chunked. Parsing resumes when the connection is idle.
    Chunked = 3,
    /// Not HTTP/1.x. The shard also refuses it and closes the connection.
    Malformed = 4,
    /// One segment needs more work than a kernel program may do.
    Budget = 5,
    /// The bytes arrived before the connection was set up and belong to no connection yet.
    Handshake = 6,
    /// Two CPUs handled bytes of one connection at the same time, and one could not get the lock.
    Concurrent = 7,
    /// The request's target is neither a path nor `*`. The parser does not judge how the shard handles it. Parsing
    /// resumes when the connection is idle.
    Target = 8,
    /// Bytes that the shard does not read. They follow the connection's last request or response (`Connection:
    /// close`), or the shard has closed the socket.
    Closed = 9,
    /// The segment has urgent data, which the application does not read in order. Parsing resumes when the connection
    /// is idle.
    Urgent = 10,
    /// More segments wait for TCP's acceptance than can be kept. Parsing resumes when the connection is idle.
    Unconfirmed = 11,
    /// The TCP header could not be found after the IP headers. Counted without a connection.
    Headers = 12,
}

/// Number of reasons.
pub const REASONS: usize = 13;

impl Reason {
    /// All reasons, in the order of their numbers.
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

    /// Returns the reason with this number. An unknown number returns [`Reason::Unreadable`].
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

    /// Returns the reason's name in metrics and JSON.
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

/// Complete requests of one segment, by kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Reads of data: `GET /data/{key}`, or a command that reads keys.
    pub get: u32,
    /// Writes of data: `POST /data`, or a command that writes keys.
    pub set: u32,
    /// All other requests.
    pub control: u32,
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
    /// Data requests whose client closed the connection (FIN, RST) before a response. The shard may never have read
    /// them.
    pub aborted: u64,
    /// Aborted requests that were answered later, or that the shard is known not to have read.
    pub aborted_settled: u64,
    /// Data requests that the shard never read. They followed its last response, or the shard reset the connection.
    pub never_read: u64,
    /// Data requests in all segments that arrived, whether or not TCP accepts them.
    pub arrived: u64,
    /// Data requests in arrived segments that TCP dropped.
    pub dropped: u64,
    /// Segments with unparsed bytes, by [`Reason`].
    pub unparsed: [u64; REASONS],
}

impl Requests {
    /// Returns the data requests that the shard has read or will read: reads and writes together.
    #[must_use]
    pub const fn data(&self) -> u64 {
        self.get.wrapping_add(self.set).saturating_sub(self.never_read)
    }

    /// Returns the data requests in segments that TCP has neither accepted nor dropped. It saturates at 0, because
    /// the CPUs are not read at one instant.
    #[must_use]
    pub const fn undecided(&self) -> u64 {
        self.arrived.saturating_sub(self.dropped).saturating_sub(self.get.wrapping_add(self.set))
    }

    /// Returns the aborted data requests that are not settled.
    #[must_use]
    pub const fn unsettled(&self) -> u64 {
        self.aborted.saturating_sub(self.aborted_settled)
    }
}

/// Adds another CPU's counters.
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
