//! The gateway over real sockets, in front of stub shards.
//!
//! The stubs fail and delay on demand.
//!
//! | module | what it shows |
//! |---|---|
//! | `rows` | every call of the contract's table |
//! | `placing` | which shard gets a key's requests, and how the key is encoded in the request |
//! | `caching` | hits and misses, time to live, the cache switch, reset, size limit |
//! | `stampede` | one fetch for any number of readers, however the fetch ends |
//! | `writing` | no read returns an older value than the last write |
//! | `mitigating` | the switches, and the cache for hot keys only |
//! | `replicating` | copies of hot keys: where reads go, and that no copy returns an older value |
//! | `breaking` | circuit breakers: what opens them, what closes them |
//! | `failing` | failing shards, and which calls are retried |
//! | `refusing` | bad input: status and kind, nothing sent, nothing counted |
//! | `origins` | permissions of pages of other origins |
//! | `measuring` | names, labels and sums of the metrics |
//! | `judging` | verdicts: balanced, a celebrity, a failed shard; counts that can be summed over gateways |
//! | `sharing` | settings of several gateways |
//! | `starting` | when a gateway is ready, and what it says of shards before that |
//! | `living` | start, drain, exit codes |
//!
//! `bench` starts a gateway and sends requests to it. `stub` is the shard.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

mod bench;
mod breaking;
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
mod sharing;
mod stampede;
mod starting;
mod stub;
mod writing;
