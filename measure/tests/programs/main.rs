//! The measuring programs run and report their results.
//!
//! - `churn`: opened and closed connections are counted exactly and leave no memory behind
//! - `cost`: every watcher is measured, or its absence has a reason
//! - `experiments`: the common basis of all experiments
//! - `objects`: compared kernel objects count every request

mod churn;
mod cost;
mod experiments;
mod objects;
