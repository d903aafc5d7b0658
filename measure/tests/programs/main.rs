//! The measuring programs run, and report what they should.
//!
//! - `churn`: connections that come and go are counted exactly and leave nothing
//! - `cost`: every watcher is measured, or its absence has a reason
//! - `experiments`: what every experiment rests on

mod churn;
mod cost;
mod experiments;
