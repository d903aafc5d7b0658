//! The real kernel object, in this kernel. Each test attaches programs of its own, so they run side by side.
//!
//! - `harness`: privileges, a probe, a server and what was sent to it
//! - `program`: single packets through the programs, without a network
//! - `live`: real connections over loopback

mod harness;
mod live;
mod program;
