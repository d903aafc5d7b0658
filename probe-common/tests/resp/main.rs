//! Tests the parser of commands against a plain reference, at random splits.
//!
//! - `reference`: reads all bytes of a connection at once, as Redis does
//! - `splits`: the parser stages the same, however the bytes are divided

#![expect(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod reference;
mod splits;
