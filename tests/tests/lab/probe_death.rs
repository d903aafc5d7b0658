//! Tests that killing the probe under load has no effects.
//!
//! No request may fail, and no program may stay attached.

use lab_tests::build::sized;
use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use lab_tests::poll;
use lab_tests::process::{Signal, TestProcess as _};
use std::process::Command;
use std::time::Duration;

/// The ids of the BPF programs that a process has open.
fn programs_of(pid: u32) -> Vec<u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
    infos
        .filter_map(|info| info.lines().find_map(|l| l.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect()
}

/// The ids of all BPF programs attached to cgroups, from bpftool.
fn attached() -> Vec<u64> {
    let output =
        Command::new("bpftool").args(["cgroup", "tree"]).output().expect("bpftool is installed by setup");
    assert!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    listing.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_probe_fails_no_request_leaves_nothing_and_its_successor_counts() {
    if !kernel::available("a_killed_probe_fails_no_request_leaves_nothing_and_its_successor_counts") {
        return;
    }
    let mut lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    let mut probe = lab.probe.take().unwrap();
    let ours = programs_of(probe.pid());
    let found = ours.iter().filter(|id| attached().contains(id)).count();
    assert!(found >= 2, "both directions are attached: {ours:?} of {:?}", attached());
    let mut load =
        lab.load_started(&["saturate", "--connections", "16", "--requests", sized("60000", "400000")]);
    let busy = poll::until(Duration::from_secs(20), || async {
        if lab.received().await[0] > 500 { Ok(()) } else { Err("no load yet".to_owned()) }
    });
    busy.await.unwrap();
    probe.signal(Signal::KILL);
    probe.ended(Duration::from_secs(5)).await;
    let gone = poll::until(Duration::from_secs(5), || async {
        let left: Vec<u64> = attached().into_iter().filter(|id| ours.contains(id)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("still attached: {left:?}")) }
    });
    gone.await.unwrap();
    lab.start_probe();
    assert!(load.is_running(), "the second probe was started under load");
    let report = load.report().await.unwrap();
    assert_eq!(report.errors, 0, "no request failed");
    assert_eq!(report.answered, report.sent);
    lab.agreed().await;
    let counted: u64 = lab.kernel_requests().await.iter().sum();
    assert!(counted > 0, "the second probe counts");
}
