//! What the kernel's TCP says of one connection (`TCP_INFO`, `tcp(7)`).

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Figures of one end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Segments with payload that this end has sent, repeated ones included (`tcpi_data_segs_out`).
    pub data_segments_sent: u64,
    /// Segments that have been sent and not acknowledged (`tcpi_unacked`).
    pub unacknowledged: u64,
    /// Segments that this end has sent again (`tcpi_total_retrans`).
    pub segments_sent_again: u64,
    /// Payload bytes that this end has sent again (`tcpi_bytes_retrans`).
    pub repeated_bytes: u64,
}

/// Offsets in `struct tcp_info` of `linux/tcp.h`, which only ever grows at its end.
const UNACKED: usize = 24;
const TOTAL_RETRANS: usize = 100;
const DATA_SEGS_OUT: usize = 156;
const BYTES_RETRANS: usize = 208;
const LENGTH: usize = 216;

/// Asks the kernel; zeros from one too old to say (before 4.19).
#[must_use]
pub fn of(stream: &TcpStream) -> Info {
    let mut bytes = [0_u8; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, and the number of them to `length`.
    #[expect(unsafe_code, reason = "the standard library does not give TCP_INFO")]
    unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        );
    }
    let number = |at: usize, length: usize| {
        let mut number = [0; 8];
        number[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_ne_bytes(number)
    };
    Info {
        data_segments_sent: number(DATA_SEGS_OUT, 4),
        unacknowledged: number(UNACKED, 4),
        segments_sent_again: number(TOTAL_RETRANS, 4),
        repeated_bytes: number(BYTES_RETRANS, 8),
    }
}

/// Has the connection end by a reset when it is closed.
pub fn reset_on_close(stream: &TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the kernel reads one `struct linger`.
    #[expect(unsafe_code, reason = "the standard library does not set SO_LINGER")]
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or_default(),
        );
    }
}

/// Has the next bytes acknowledged at once.
pub fn acknowledge_at_once(stream: &TcpStream) {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int.
    #[expect(unsafe_code, reason = "the standard library does not set TCP_QUICKACK")]
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default(),
        );
    }
}
