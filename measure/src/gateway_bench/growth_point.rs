//! The points of the growth measurement.

use super::figures::Slice;
use super::origin::SHARDS;
use super::side::Side;

/// Connections with a request in flight, in every point.
pub(super) const ACTIVE: u32 = 64;

/// Keys in all points of the other axes.
pub(super) const KEYS: u32 = 20_000;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Shards,
    Keys,
    Connections,
}

impl Axis {
    pub(super) const ALL: [Self; 3] = [Self::Shards, Self::Keys, Self::Connections];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Shards => "shards",
            Self::Keys => "keys",
            Self::Connections => "connections",
        }
    }

    /// Returns the sizes, ascending. The first is the one that the others are compared with.
    const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Shards => &[4, 64, 256],
            Self::Keys => &[1_000, 10_000, 100_000, 1_000_000],
            Self::Connections => &[64, 1_000, 10_000],
        }
    }

    /// Returns the servers. The peers show the cost of more processes alone.
    pub(super) const fn sides(self) -> &'static [Side] {
        match self {
            Self::Shards => &[Side::Gateway, Side::Nginx, Side::Haproxy],
            Self::Keys | Self::Connections => &[Side::Gateway],
        }
    }
}

/// The slices of one size of one server.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) axis: Axis,
    pub(super) side: Side,
    pub(super) size: u32,
    /// One element a round.
    pub(super) slices: Vec<Slice>,
}

impl Point {
    /// Returns all points of the servers that are installed, without slices. The smallest size of an axis and server comes
    /// first.
    pub(super) fn all() -> Vec<Self> {
        let sides = |axis: Axis| {
            axis.sides().iter().filter(|side| side.is_installed()).map(move |side| (axis, *side))
        };
        let sized = |(axis, side): (Axis, Side)| {
            axis.sizes().iter().map(move |size| Self { axis, side, size: *size, slices: Vec::new() })
        };
        Axis::ALL.into_iter().flat_map(sides).flat_map(sized).collect()
    }

    /// Returns the number of shards.
    pub(super) fn shards(&self) -> u32 {
        self.size_on(Axis::Shards, SHARDS)
    }

    /// Returns the number of keys.
    pub(super) fn keys(&self) -> u32 {
        self.size_on(Axis::Keys, KEYS)
    }

    /// Returns the number of connections.
    pub(super) fn connections(&self) -> u32 {
        self.size_on(Axis::Connections, ACTIVE)
    }

    fn size_on(&self, axis: Axis, otherwise: u32) -> u32 {
        if self.axis == axis { self.size } else { otherwise }
    }
}
