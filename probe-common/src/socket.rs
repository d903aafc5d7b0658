//! What the kernel programs keep in a socket of a shard.

use crate::{connections::Mark, stream::Stream};

/// Value of the socket storage `SOCKETS`: it goes when the socket goes. All zeros is a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// As which connection it was counted.
    pub mark: Mark,
    /// Its parser.
    pub stream: Stream,
}
