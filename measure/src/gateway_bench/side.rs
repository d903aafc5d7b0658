//! The compared servers.

use lab::programs;

/// The way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPath {
    /// Every request goes to a shard.
    Proxied,
    /// The server's cache answers.
    Cached,
}

impl TrafficPath {
    pub(super) const ALL: [Self; 2] = [Self::Proxied, Self::Cached];

    /// Returns the name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxied => "proxied",
            Self::Cached => "cached",
        }
    }

    /// Returns the gateway and its peers. The gateway is first.
    pub(super) const fn sides(self) -> [Side; 3] {
        match self {
            Self::Proxied => [Side::Gateway, Side::Nginx, Side::Haproxy],
            Self::Cached => [Side::Gateway, Side::Nginx, Side::Varnish],
        }
    }
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The lab's gateway.
    Gateway,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Varnish.
    Varnish,
}

impl Side {
    pub(super) const PEERS: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Varnish];

    /// Returns the name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Varnish => "Varnish",
        }
    }

    /// Returns the name of its program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnishd",
        }
    }

    /// Whether the server can run here. The gateway is always built.
    pub(super) fn is_installed(self) -> bool {
        self == Self::Gateway || programs::find(self.program()).is_some()
    }
}
