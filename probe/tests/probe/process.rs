//! Tests the probe's binary from start to stop.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use protocol::probe_api::PreflightFinding;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{TIMEOUT, privileges};
use crate::shard::Shard;

/// A user without any privilege (`nobody`).
const NOBODY: u32 = 65_534;

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probe"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A copy of the binary that every user can execute; removed at the end.
pub(crate) struct Reachable {
    path: PathBuf,
    _folder: TempDir,
}

impl Reachable {
    /// `name` is unique to the test. Another process writes the copy. A descriptor of this process could be inherited
    /// by another test's child, and a file that is open for writing cannot be executed.
    pub(crate) fn new(name: &str) -> Self {
        let others_may_enter = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix(name).permissions(others_may_enter).tempdir().unwrap();
        let copy = folder.path().join("probe");
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_probe")]).arg(&copy);
        assert!(install.status().unwrap().success());
        Self { path: copy, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn error_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// A running probe of one shard.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) base: String,
    log: BufReader<std::process::ChildStderr>,
    /// The log up to readiness.
    pub(crate) started: String,
}

impl Running {
    pub(crate) fn start(shard: &Shard) -> Self {
        let probe = Self::follow(&mut command(&["run", "--port", "0", "--shard-urls", &shard.url()]));
        probe.settled();
        probe
    }

    /// The shard's comparison once its verdict has no allowance or is a disagreement. The probe may be ready before:
    /// the shard may not have answered within a second, or the counts may not have been quiet for long enough.
    pub(crate) fn settled(&self) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let one = self.json("/api/compare")["shards"][0].clone();
            if one["agrees"] == false || (one["agrees"] == true && one["bound"] == 0) {
                return one;
            }
            assert!(Instant::now() < deadline, "{one}");
        }
    }

    pub(crate) fn follow(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let base = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the probe ended: {seen}");
            if let Some((_, addr)) = line.trim().split_once("ready addr=") {
                break format!("http://{addr}");
            }
            seen += &line;
        };
        Self { child, base, log, started: seen }
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        ureq::get(format!("{}{path}", self.base)).call().unwrap().body_mut().read_json().unwrap()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        ureq::get(format!("{}{path}", self.base)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// Stops the probe. Returns the exit code and the rest of its log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the probe has already stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn exchange(shard: &Shard, requests: u32) {
    let agent = ureq::Agent::new_with_defaults();
    for n in 0..requests {
        agent
            .get(format!("{}/data/user-{n}", shard.url()))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        if n % 10 == 0 {
            let body = r#"{"key":"user-1","value":{}}"#;
            agent
                .post(format!("{}/data", shard.url()))
                .send(body)
                .unwrap()
                .body_mut()
                .read_to_string()
                .unwrap();
        }
    }
}

#[test]
fn a_bad_setting_is_one_line_and_exit_code_2() {
    for (arguments, expected) in [
        (&["run"][..], "SHARD_URLS (--shard-urls) is required"),
        (&["run", "--shard-urls", "ftp://a"], "SHARD_URLS=\"ftp://a\" cannot be used"),
        (&["check", "--shard-urls", ""], "cannot be used"),
        (&["run", "--shard-urls", "http://a", "--kernel-log", "loud"], "KERNEL_LOG (--kernel-log)=\"loud\""),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error_line(&output).contains(expected), "{arguments:?}: {}", error_line(&output));
    }
}

#[test]
fn a_cgroup_that_is_none_is_one_line_and_exit_code_1() {
    if !privileges("a_cgroup_that_is_none_is_one_line_and_exit_code_1") {
        return;
    }
    let output = run(&["run", "--port", "0", "--shard-urls", "http://127.0.0.1:9", "--cgroup", "/tmp"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("CGROUP=/tmp is not a cgroup v2 folder: leave CGROUP unset"));
}

#[test]
fn without_privileges_there_is_one_line_and_exit_code_1() {
    if !privileges("without_privileges_there_is_one_line_and_exit_code_1") {
        return;
    }
    // The build folder may not be accessible to another user.
    let copy = Reachable::new("unprivileged");
    let nobody = |verb| {
        let mut command = Command::new(copy.path());
        command
            .args([verb, "--port", "0", "--shard-urls", "http://127.0.0.1:9"])
            .env_clear()
            .stdin(Stdio::null());
        command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap()
    };
    let (ran, checked) = (nobody("run"), nobody("check"));
    assert_eq!(ran.status.code(), Some(1));
    let line = error_line(&ran);
    assert!(line.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON") && line.contains("root"), "{line}");
    assert_eq!(checked.status.code(), Some(1));
    let findings = String::from_utf8(checked.stdout).unwrap();
    let lacking = "FAIL privileges: this process lacks CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run the probe";
    assert!(findings.contains(lacking), "{findings}");
    assert!(findings.contains("ok   cgroup v2: /"), "{findings}");
}

/// The capabilities that the probe needs.
pub(crate) const ENOUGH: &str = "+bpf,+net_admin,+perfmon";

/// Runs the probe as a user with only these capabilities, from a copy that this user can execute.
pub(crate) fn with_capabilities(copy: &Path, capabilities: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    let user = NOBODY.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(format!("--inh-caps=-all,{capabilities}")).arg(format!("--ambient-caps=-all,{capabilities}"));
    command.arg(copy).args(arguments).current_dir("/").stdin(Stdio::null());
    command
}

#[test]
fn three_capabilities_are_enough_and_two_are_not() {
    if !privileges("three_capabilities_are_enough_and_two_are_not") {
        return;
    }
    let copy = Reachable::new("three-capabilities");
    let shard = Shard::start(0);
    let arguments = ["run", "--port", "0", "--shard-urls", &shard.url()];
    for (two, missing) in [
        ("+bpf,+net_admin", "CAP_PERFMON"),
        ("+bpf,+perfmon", "CAP_NET_ADMIN"),
        ("+net_admin,+perfmon", "CAP_BPF"),
    ] {
        let output = with_capabilities(copy.path(), two, &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{two}");
        let line = error_line(&output);
        assert!(line.contains(&format!("this process lacks {missing}: ")), "{two}: {line}");
    }
    let probe = Running::follow(&mut with_capabilities(copy.path(), ENOUGH, &arguments));
    probe.settled();
    let status = probe.json("/status");
    assert_eq!(status["programs"][0]["program"], "ingress", "{status}");
    assert!(
        status["programs"].as_array().unwrap().iter().all(|program| program["attached"] == true),
        "{status}"
    );
    let shards = probe.json("/api/shards");
    assert!(shards["shards"][0]["connections"]["opened"].is_u64(), "{shards}");
    assert_eq!(status["privileges"]["dropped"], true);
    exchange(&shard, 50);
    let compare = &probe.settled();
    assert_eq!((&compare["kernel"], &compare["difference"]), (&55.into(), &0.into()), "{compare}");
    assert_eq!(probe.stop().0, Some(0));
}

#[test]
fn check_passes_where_the_probe_runs() {
    if !privileges("check_passes_where_the_probe_runs") {
        return;
    }
    let output = run(&["check"]);
    let findings = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{findings}");
    assert!(
        findings.lines().count() == 5 && findings.lines().all(|line| line.starts_with("ok")),
        "{findings}"
    );
    assert!(
        findings.contains("ok   programs: the kernel accepts ingress, egress, socket_events"),
        "{findings}"
    );
    let output = run(&["check", "--json", "--shard-urls", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(0));
    let json: Vec<PreflightFinding> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert!(json.len() == 5 && json.iter().all(|finding| finding.passed), "{json:?}");
}

#[test]
fn check_fails_where_only_the_load_itself_is_refused() {
    let test = "check_fails_where_only_the_load_itself_is_refused";
    if !privileges(test) {
        return;
    }
    // Root of a user namespace has every capability in it, but not in the initial namespace, where the kernel checks.
    let inside = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", program]).args(arguments).stdin(Stdio::null());
        command.output()
    };
    if !inside("true", &[]).is_ok_and(|output| output.status.success()) {
        return println!("SKIPPED {test}: no user namespaces here");
    }
    let output =
        inside(env!("CARGO_BIN_EXE_probe"), &["check", "--shard-urls", "http://127.0.0.1:9"]).unwrap();
    let findings = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{findings}");
    assert!(findings.contains("ok   privileges: "), "{findings}");
    let refusal = "FAIL programs: the kernel refuses eBPF to this process (making maps: ";
    assert!(findings.contains(refusal) && findings.contains("outside of user namespaces"), "{findings}");
}

#[test]
fn the_probe_counts_what_the_shard_counts_without_privileges_and_stops_cleanly() {
    if !privileges("the_probe_counts_what_the_shard_counts_without_privileges_and_stops_cleanly") {
        return;
    }
    let shard = Shard::start(500);
    let probe = Running::start(&shard);
    exchange(&shard, 100);
    let compare = &probe.settled();
    assert_eq!((&compare["kernel"], &compare["app"]), (&110.into(), &110.into()), "{compare}");
    assert_eq!(
        (&compare["difference"], &compare["bound"], &compare["agrees"]),
        (&0.into(), &0.into(), &true.into())
    );

    let status = probe.json("/status");
    assert!(
        status["programs"].as_array().unwrap().iter().all(|program| program["attached"] == true),
        "{status}"
    );
    assert_eq!(
        (&status["privileges"]["dropped"], &status["privileges"]["no_new_privileges"]),
        (&true.into(), &true.into())
    );
    // Verify the threads' real capabilities, not only those in `/status`.
    for task in std::fs::read_dir(format!("/proc/{}/task", probe.child.id())).unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(text.contains(&format!("{set}:\t0000000000000000")), "{set} in {text}");
        }
    }

    let (code, log) = probe.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("last reading shard=0 get=100 set=10") && log.contains("detached"), "{log}");
}

#[test]
fn a_restarted_shard_gets_a_new_baseline() {
    if !privileges("a_restarted_shard_gets_a_new_baseline") {
        return;
    }
    let shard = Shard::start(0);
    let probe = Running::start(&shard);
    exchange(&shard, 20);
    let first = probe.settled();
    assert_eq!((&first["kernel"], &first["agrees"]), (&22.into(), &true.into()), "{first}");
    let addr = shard.addr;
    shard.stop();
    assert_eq!(probe.json("/api/compare")["shards"][0]["agrees"], Value::Null);
    let shard = Shard::start_at(addr, 0);
    let new = probe.settled();
    assert_eq!((&new["agrees"], &new["difference"]), (&true.into(), &0.into()), "{new}");
    assert!(new["since"].as_f64() > first["since"].as_f64(), "{new}");
    exchange(&shard, 30);
    let now = probe.settled();
    assert_eq!(
        (&now["kernel"], &now["app"], &now["agrees"]),
        (&33.into(), &33.into(), &true.into()),
        "{now}"
    );
}

#[test]
fn a_killed_probe_leaves_nothing_attached() {
    if !privileges("a_killed_probe_leaves_nothing_attached") {
        return;
    }
    let shard = Shard::start(0);
    let mut probe = Running::start(&shard);
    let programs = own_programs(probe.child.id());
    assert_eq!(programs.len(), 4);
    probe.child.kill().unwrap();
    probe.child.wait().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while aya::programs::loaded_programs().flatten().any(|program| programs.contains(&program.id())) {
        assert!(Instant::now() < deadline, "programs {programs:?} are still loaded");
        std::thread::yield_now();
    }
    exchange(&shard, 1);
}

/// The ids of the programs that a process holds, from its file descriptors.
pub(crate) fn own_programs(pid: u32) -> Vec<u32> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let ids = fds.filter_map(|fd| {
        let text = std::fs::read_to_string(fd.ok()?.path()).ok()?;
        if !text.contains("prog_type") {
            return None;
        }
        text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    });
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
