//! Tests the parser of commands against a plain reference, at random splits.
//!
//! - `reference`: reads all bytes of a connection at once, as Redis does
//! - `splits`: the parser stages the same, however the bytes are divided

mod reference;
mod splits;
