//! Declares how gateways pass their settings on, and at how many of them a setting holds.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The body of `POST /admin/peers` and its answer: the settings of one gateway that were ever changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerState {
    /// The gateway's number, drawn at its start.
    pub gateway: u64,
    /// The newest change of each setting, by its name in `/admin/mitigation`. `reset` is the last reset.
    pub settings: BTreeMap<String, StampedValue>,
}

/// A value and when it was set. Of two values the one with the later time is newer, then the one of the gateway with the
/// larger number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StampedValue {
    /// The value.
    pub value: Value,
    /// Unix milliseconds. It is later than all times that the gateway had seen.
    pub time_ms: u64,
    /// The gateway that received the change.
    pub gateway: u64,
}

/// `gateways` of the answers to admin calls: at how many gateways the settings hold. Absent without peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// Gateways that have the settings of this answer, this one included.
    pub holding: usize,
    /// All gateways that this one has found, itself included.
    pub known: usize,
    /// The others.
    pub failed: Vec<FailedGateway>,
}

/// A gateway where the settings are not known to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGateway {
    /// Its URL, or the DNS name if that cannot be resolved.
    pub url: String,
    /// The reason.
    pub problem: String,
}
