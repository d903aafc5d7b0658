//! Killing the probe under load disturbs nobody and leaves nothing attached.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use std::process::Command;
use std::time::Duration;

/// The ids of all BPF programs on cgroups, as bpftool lists them.
fn attached() -> String {
    let output =
        Command::new("bpftool").args(["cgroup", "tree"]).output().expect("bpftool is installed by setup");
    assert!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|l| l.contains("cgroup_inet"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_probe_fails_no_request_leaves_nothing_and_its_successor_counts() {
    if !kernel::available("a_killed_probe_fails_no_request_leaves_nothing_and_its_successor_counts") {
        return;
    }
    let mut lab = Lab::start(Options::default()).await;
    let before = attached();
    lab.start_probe().await;
    assert_ne!(attached(), before, "the probe is attached");
    let load = lab.load_started(&["run", "celebrity", "--duration", "4", "--rate-factor", "4"]);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let (mut probe, _) = lab.probe.take().unwrap();
    probe.signal(libc::SIGKILL);
    probe.ended(Duration::from_secs(5)).await;
    assert_eq!(attached(), before, "nothing stays attached");
    lab.start_probe().await;
    let report = load.report().await;
    assert_eq!(report["errors"], 0, "no request failed");
    assert_eq!(report["answered"], report["sent"]);
    lab.agreed().await;
    let counted: u64 = lab.kernel_requests().await.iter().sum();
    assert!(counted > 0, "the second probe counts");
}
