//! A shard's address and port: the key of `SHARDS`.

/// Key of the map `SHARDS`. The value is the shard's number as `u32`.
///
/// The key needs both address and port. A published container port is a second socket with the same port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv6 address in network byte order. IPv4 addresses are v4-mapped (`::ffff:a.b.c.d`).
    pub address: [u8; 16],
    /// Port in host byte order.
    pub port: u16,
    /// Always 0, because the kernel compares keys byte by byte.
    pub padding: u16,
}

impl Endpoint {
    /// Returns the endpoint of an IPv6 (or v4-mapped) address in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn v6(address: [u8; 16], port: u16) -> Self {
        Self { address, port, padding: 0 }
    }

    /// Returns the v4-mapped endpoint of an IPv4 address in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn v4(address: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = address;
        Self::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port)
    }
}

#[cfg(feature = "user")]
impl From<core::net::SocketAddr> for Endpoint {
    fn from(address: core::net::SocketAddr) -> Self {
        match address.ip() {
            core::net::IpAddr::V4(ip) => Self::v4(ip.octets(), address.port()),
            core::net::IpAddr::V6(ip) => Self::v6(ip.octets(), address.port()),
        }
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, integers only, padding explicit.
unsafe impl aya::Pod for Endpoint {}
