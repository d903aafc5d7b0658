//! The detector against simulated traffic, and the predictions against the lab's own placement.
//!
//! - `lab`: the lab's keys, its placement, its streams, and a detector fed second by second
//! - `false_alarms`: even traffic is never called hot
//! - `detection`: celebrities are named at once and followed; Zipf traffic gets the state that theory says
//! - `predictions`: the exact figures of the scenarios, before and after each mitigation
//! - `what_if`: the ranking of mitigations for each scenario

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod detection;
mod false_alarms;
mod lab;
mod predictions;
mod what_if;
