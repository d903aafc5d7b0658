//! Reports which features of the probe work.

use protocol::probe_api::{Feature, ProgramStatus};

use crate::probe::Probe;
use crate::signal::connections::ConnectionsMap;

/// The features of a probe. An aggregator has only watches of pods.
#[must_use]
pub fn features(probe: &Probe) -> Vec<Feature> {
    let watches = probe.pods.get().map(Vec::as_slice).unwrap_or_default();
    let watches = watches.iter().map(|(name, found)| found.borrow().feature(name));
    if probe.nodes.lock().is_some() {
        return watches.collect();
    }
    let programs = probe.programs();
    let signal = |feature: &'static str, program: Option<&str>| {
        let needed = |status: &&ProgramStatus| program.map_or(status.required, |name| status.program == name);
        let lacking = programs.iter().filter(needed).find(|status| !status.attached);
        Feature {
            feature: feature.into(),
            enabled: lacking.is_none(),
            reason: lacking.map_or("ok".into(), |status| status.reason.clone()),
            remedy: lacking.map(|_| "see programs".into()),
        }
    };
    let switched = |on: bool, working: Feature, remedy: &'static str| {
        if on {
            return working;
        }
        Feature { enabled: false, reason: "switched_off".into(), remedy: Some(remedy.into()), ..working }
    };
    let ok = |feature: &'static str| Feature {
        feature: feature.into(),
        enabled: true,
        reason: "ok".into(),
        remedy: None,
    };
    let mut features = vec![
        signal("traffic", None),
        signal("requests", None),
        signal("keys", None),
        signal("latency", None),
        signal("reconciliation", None),
        signal("connections", Some(ConnectionsMap::PROGRAM)),
        signal("older_connections", Some(ConnectionsMap::PREEXISTING_PROGRAM)),
        probe.placed.feature(&programs),
        switched(
            probe.switches.rtt,
            signal("rtt", Some(ConnectionsMap::PROGRAM)),
            "start the probe with RTT=on",
        ),
        switched(probe.switches.kernel_log, ok("kernel_log"), "start the probe with KERNEL_LOG=on"),
        probe.statistics.feature(),
        switched(
            probe.counting.pinned.is_some(),
            ok("pin"),
            "start the probe with PIN=/sys/fs/bpf/hot-partition",
        ),
    ];
    features.extend(watches);
    features
}
