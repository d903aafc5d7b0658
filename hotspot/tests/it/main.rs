//! Tests the detector and the predictions on simulated lab traffic.
//!
//! - `lab`: the lab's keys, placement and streams, and a detector for them
//! - `false_alarms`: even traffic is never reported as hot
//! - `detection`: hot keys are named at once and followed; Zipf traffic gets the expected state
//! - `detector`: hysteresis, evidence, sentences and JSON of the verdict
//! - `export`: key statistics as Prometheus metrics
//! - `predictions`: the exact figures of the scenarios, before and after each mitigation
//! - `what_if`: the ranking of mitigations for each scenario

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod detection;
mod detector;
mod export;
mod false_alarms;
mod lab;
mod predictions;
mod what_if;
