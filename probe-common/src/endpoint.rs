//! A shard's address, port and network namespace: the entries of `SHARDS`.

/// Key of the map `SHARDS`. The value is a [`Listener`].
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

    /// Returns the endpoint as whole words, which programs build and compare with fewer instructions than bytes.
    #[must_use]
    #[inline(always)]
    pub const fn words(self) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.address;
        [
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            // The kernel programs are little-endian, so the port comes first and the padding follows.
            self.port as u64,
        ]
    }
}

/// The cookie of a network namespace that is not known. The kernel's cookies begin at 1.
pub const UNKNOWN_NAMESPACE: u64 = 0;

/// Value of the map `SHARDS`: the shard that listens at the endpoint, in one network namespace.
///
/// Sockets of two namespaces can have the same address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Cookie of the network namespace. [`UNKNOWN_NAMESPACE`] admits sockets of every namespace.
    pub namespace: u64,
    /// The shard's number.
    pub shard: u32,
    /// 1 if the programs record the endpoint's new connections in `ACCEPTED`, else 0.
    pub is_recorded: u32,
}

impl Listener {
    /// Returns a shard's listener in any network namespace.
    #[must_use]
    pub const fn anywhere(shard: u32) -> Self {
        Self { namespace: UNKNOWN_NAMESPACE, shard, is_recorded: 0 }
    }

    /// Whether a socket at the endpoint may be the shard's, by the cookie of the socket's namespace.
    #[must_use]
    #[inline(always)]
    pub const fn may_own(&self, namespace: u64) -> bool {
        self.namespace == namespace || self.namespace == UNKNOWN_NAMESPACE || namespace == UNKNOWN_NAMESPACE
    }
}

/// Key of the map `ACCEPTED`: client and server of a connection. The value is the cookie of the server's namespace.
pub type ConnectionKey = [[u64; 3]; 2];

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

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, integers only, no padding.
unsafe impl aya::Pod for Listener {}
