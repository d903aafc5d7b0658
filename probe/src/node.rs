//! Reports one node's counts to an aggregator.
//!
//! [`report`] makes the document, [`form`] converts its counts in both directions.

pub(crate) mod form;
pub(crate) mod report;
