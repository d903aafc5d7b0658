//! Which features of the probe work.

use crate::kernel::attach::ProgramStatus;
use crate::kernel::feature::Feature;
use crate::probe::Probe;
use crate::signal::connections::ConnectionsMap;

/// The features of a probe.
#[must_use]
pub fn features(probe: &Probe) -> Vec<Feature> {
    let signal = |feature, program: Option<&str>| {
        let needed = |status: &&ProgramStatus| program.map_or(status.required, |name| status.program == name);
        let lacking = probe.programs.iter().filter(needed).find(|status| !status.attached);
        Feature {
            feature,
            enabled: lacking.is_none(),
            reason: lacking.map_or("ok", |status| status.reason),
            remedy: lacking.map(|_| "see programs"),
        }
    };
    let switched = |on: bool, otherwise: Feature, remedy| {
        let off = Feature { enabled: false, reason: "switched_off", remedy: Some(remedy), ..otherwise };
        if on { otherwise } else { off }
    };
    let ok = |feature| Feature { feature, enabled: true, reason: "ok", remedy: None };
    vec![
        signal("traffic", None),
        signal("requests", None),
        signal("keys", None),
        signal("latency", None),
        signal("reconciliation", None),
        signal("connections", Some(ConnectionsMap::PROGRAM)),
        signal("older_connections", Some(ConnectionsMap::PROGRAM_FOR_OLDER)),
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
    ]
}
