//! Tests the parsers of commands and replies against plain references, at random splits.
//!
//! - `reference`: reads all bytes of a connection at once, as Redis does
//! - `splits`: the parser stages the same, however the bytes are divided
//! - `reply_reference`, `replies`: the same for replies
//! - `first_bytes`: where a lost connection is followed again
//! - `pairing`: which reply is for which command

mod first_bytes;
mod pairing;
mod reference;
mod replies;
mod reply_reference;
mod splits;
