//! The gateway over real sockets, in front of stub shards that fail and wait as told.
//!
//! | module | what it shows |
//! |---|---|
//! | `rows` | every call of the contract's table |
//! | `placing` | which shard is asked for a key, and how the key is spelled on the wire |
//! | `caching` | hits and misses, time to live, switch, reset, bound |
//! | `stampede` | one fetch for any number of readers, whatever happens to it |
//! | `writing` | a write leaves no older copy behind |
//! | `mitigating` | the switches, and the cache for hot keys alone |
//! | `replicating` | copies of hot keys: where reads go, and that no copy answers with an older value |
//! | `failing` | what a shard can do wrong, and which calls are repeated |
//! | `refusing` | bad input: status and kind, nothing sent, nothing counted |
//! | `origins` | what pages of other origins may do |
//! | `measuring` | names, labels and sums of the metrics |
//! | `judging` | the verdict: balanced, a celebrity, a shard that is down; the counts that several gateways add up |
//! | `living` | start, drain, exit codes |
//!
//! `bench` starts a gateway and speaks to it, `stub` is the shard.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

mod bench;
mod caching;
mod failing;
mod judging;
mod living;
mod measuring;
mod mitigating;
mod origins;
mod placing;
mod refusing;
mod replicating;
mod rows;
mod stampede;
mod stub;
mod writing;
