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
    pub(super) const fn sides(self, peers: Peers) -> &'static [Side] {
        match (peers, self) {
            (Peers::Servers, Self::Proxied) => &[Side::Gateway, Side::Nginx, Side::Haproxy],
            (Peers::Servers, Self::Cached) => &[Side::Gateway, Side::Nginx, Side::Varnish],
            (Peers::Release, _) => &[Side::Gateway, Side::Release],
        }
    }
}

/// What the gateway is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// The other servers.
    Servers,
    /// The gateway of cargo's profile `release`.
    Release,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The lab's gateway.
    Gateway,
    /// The same, built with cargo's profile `release`.
    Release,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Varnish.
    Varnish,
}

impl Side {
    /// Returns the name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Release => "gateway of profile release",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Varnish => "Varnish",
        }
    }

    /// Returns the name of its program.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Gateway | Self::Release => "gateway",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnishd",
        }
    }

    /// Whether it is a build of the gateway.
    pub(super) const fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Release)
    }

    /// Whether the server can run here. The gateway is always built.
    pub(super) fn is_installed(self) -> bool {
        self.is_gateway() || programs::find(self.program()).is_some()
    }
}
