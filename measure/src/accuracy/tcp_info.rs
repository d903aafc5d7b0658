//! The kernel's TCP counters of one end of a connection (`TCP_INFO`, `tcp(7)`).

use std::net::TcpStream;
use std::os::fd::AsFd;

use super::socket_option;

/// Counters of one end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Segments sent with payload, retransmissions included (`tcpi_data_segs_out`).
    pub data_segments_sent: u64,
    /// Segments sent but not acknowledged (`tcpi_unacked`).
    pub unacknowledged: u64,
    /// Retransmitted segments (`tcpi_total_retrans`).
    pub segments_sent_again: u64,
    /// Retransmitted payload bytes (`tcpi_bytes_retrans`).
    pub repeated_bytes: u64,
}

/// Offsets in `struct tcp_info` of `linux/tcp.h`. New kernels add fields only at its end.
const UNACKED: usize = 24;
const TOTAL_RETRANS: usize = 100;
const DATA_SEGS_OUT: usize = 156;
const BYTES_RETRANS: usize = 208;
const LENGTH: usize = 216;

/// Returns zeros on a kernel before 4.19, which lacks the fields.
#[must_use]
pub fn of(stream: &TcpStream) -> Info {
    let bytes = socket_option::get::<LENGTH>(stream.as_fd(), libc::IPPROTO_TCP, libc::TCP_INFO);
    let bytes = bytes.unwrap_or([0; LENGTH]);
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
