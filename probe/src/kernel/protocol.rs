//! Defines the protocols whose programs the object contains.

/// A protocol of shards. Only its programs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 of the lab's shards.
    #[default]
    Http,
    /// RESP of Redis and Valkey.
    Resp,
}
