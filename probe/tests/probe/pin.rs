//! Tests pinned sets: the kernel counts on between probes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use aya::maps::{Array, Map, MapData};
use probe_common::pinned::Mark;
use serde_json::Value;

use crate::bpffs::Bpffs;
use crate::harness::{TIMEOUT, privileges};
use crate::process::{
    ENOUGH, Reachable, Running, command, error_line, exchange, own_programs, run, with_capabilities,
};
use crate::shard::Shard;

fn arguments<'a>(urls: &'a str, folder: &'a Path) -> [&'a str; 7] {
    ["run", "--port", "0", "--shard-urls", urls, "--pin", folder.to_str().unwrap()]
}

fn start(shard: &Shard, folder: &Path) -> Running {
    Running::follow(&mut command(&arguments(&shard.url(), folder)))
}

fn unpin(folder: &Path) -> Output {
    run(&["unpin", folder.to_str().unwrap()])
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn first_shard(probe: &Running) -> Value {
    probe.json("/api/shards")["shards"][0].clone()
}

fn requests(probe: &Running) -> (u64, u64) {
    let shard = first_shard(probe);
    assert!(shard["unparsed"].as_object().unwrap().values().all(|count| count == 0), "{shard}");
    (shard["requests"]["get"].as_u64().unwrap(), shard["requests"]["set"].as_u64().unwrap())
}

fn pinned(probe: &Running) -> Value {
    probe.json("/status")["counting"]["pinned"].clone()
}

/// Waits until none of these programs is loaded.
fn await_unloaded(programs: &[u32]) {
    let deadline = Instant::now() + TIMEOUT;
    while aya::programs::loaded_programs().flatten().any(|program| programs.contains(&program.id())) {
        assert!(Instant::now() < deadline, "programs {programs:?} are still loaded");
        std::thread::yield_now();
    }
}

/// A connection that stays open across probes.
struct Lasting(TcpStream);

impl Lasting {
    fn to(shard: &Shard) -> Self {
        Self(TcpStream::connect(shard.addr).unwrap())
    }

    fn send(&mut self, part: &str) {
        self.0.write_all(part.as_bytes()).unwrap();
    }

    fn answer(&mut self) {
        let mut answer = BufReader::new(&self.0);
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(answer.read_line(&mut line).unwrap() > 0);
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        answer.read_exact(&mut vec![0; length]).unwrap();
    }

    fn exchange(&mut self) {
        self.send("GET /data/lasting HTTP/1.1\r\nhost: shard\r\n\r\n");
        self.answer();
    }
}

#[test]
fn the_kernel_counts_on_while_no_probe_runs() {
    if !privileges("the_kernel_counts_on_while_no_probe_runs") {
        return;
    }
    let (bpffs, shard) = (Bpffs::mount(), Shard::start(0));
    let folder = bpffs.folder();
    let mut probe = start(&shard, &folder);
    let mut lasting = Lasting::to(&shard);
    exchange(&shard, 10);
    lasting.exchange();
    // The head is incomplete when the probe stops.
    lasting.send("GET /data/lasting HT");
    assert_eq!(requests(&probe), (11, 1));
    let fresh = pinned(&probe);
    assert_eq!((&fresh["adopted"], &fresh["removed_because"]), (&false.into(), &Value::Null), "{fresh}");
    let since = probe.json("/status")["counting"]["since"].as_f64().unwrap();
    let (code, log) = probe.stop();
    assert!(code == Some(0) && log.contains("the kernel continues to count"), "{log}");

    exchange(&shard, 20);
    lasting.send("TP/1.1\r\nhost: shard\r\n\r\n");
    lasting.answer();
    lasting.exchange();

    probe = start(&shard, &folder);
    assert_eq!(requests(&probe), (11 + 22, 1 + 2));
    exchange(&shard, 30);
    lasting.exchange();
    assert_eq!(requests(&probe), (33 + 31, 3 + 3));
    let status = probe.json("/status");
    let adopted = &status["counting"]["pinned"];
    assert_eq!((&adopted["adopted"], &adopted["adoptions"]), (&true.into(), &1.into()), "{adopted}");
    assert_eq!(
        (&adopted["gap_seconds"], &adopted["programs_changed"]),
        (&0.0.into(), &false.into()),
        "{adopted}"
    );
    assert_eq!(status["counting"]["since"].as_f64().unwrap().to_bits(), since.to_bits());
    assert_eq!(status["privileges"]["effective"], "0000000000000000");
    // Each probe takes its own baseline.
    let compare = &probe.json("/api/compare")["shards"][0];
    assert_eq!((&compare["difference"], &compare["agrees"]), (&0.into(), &true.into()), "{compare}");
    let metrics = probe.text("/metrics");
    for line in [
        "kernel_shard_requests_total{operation=\"get\",shard_id=\"0\"} 64",
        "probe_restart_gap_seconds 0",
        "probe_feature_enabled{feature=\"pin\",reason=\"ok\"} 1",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }

    // A killed probe leaves the same set.
    probe.child.kill().unwrap();
    probe.child.wait().unwrap();
    exchange(&shard, 5);
    // As if the set came from another build of the programs.
    change_mark(&folder, |mark| mark.object += 1);
    let probe = start(&shard, &folder);
    assert_eq!(requests(&probe), (64 + 5, 6 + 1));
    // Four rounds read `user-0` once each. The lasting connection read its key four times.
    let keys = probe.json("/api/keys?limit=100")["shards"][0]["keys"].clone();
    for key in ["user-0", "lasting"] {
        let row = keys.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
        assert_eq!((&row["requests"], &row["error"]), (&4.into(), &0.into()), "{keys}");
    }
    let pinned = pinned(&probe);
    assert_eq!((&pinned["adoptions"], &pinned["programs_changed"]), (&2.into(), &true.into()), "{pinned}");
}

#[test]
fn three_capabilities_are_enough_to_pin() {
    if !privileges("three_capabilities_are_enough_to_pin") {
        return;
    }
    let copy = Reachable::new("pin");
    let (bpffs, shard) = (Bpffs::mount(), Shard::start(0));
    let (url, folder) = (shard.url(), bpffs.folder());
    let start = || Running::follow(&mut with_capabilities(copy.path(), ENOUGH, &arguments(&url, &folder)));
    let probe = start();
    exchange(&shard, 10);
    assert_eq!(probe.stop().0, Some(0));
    exchange(&shard, 10);
    let probe = start();
    assert_eq!(requests(&probe), (20, 2));
    assert_eq!(pinned(&probe)["gap_seconds"], 0.0);
}

/// Changes the mark of a pinned set.
fn change_mark(folder: &Path, change: impl FnOnce(&mut Mark)) {
    let data = MapData::from_pin(folder.join("probe-maps/PINNED")).unwrap();
    let mut map = Array::<_, Mark>::try_from(Map::from_map_data(data).unwrap()).unwrap();
    let mut mark = map.get(&0, 0).unwrap();
    change(&mut mark);
    map.set(0, mark, 0).unwrap();
}

fn swap(folder: &Path, one: &str, other: &str) {
    let (one, other, third) = (folder.join(one), folder.join(other), folder.join("third"));
    std::fs::rename(&one, &third).unwrap();
    std::fs::rename(&other, &one).unwrap();
    std::fs::rename(&third, &other).unwrap();
}

#[test]
fn a_set_that_does_not_fit_is_removed_and_said_in_one_line() {
    if !privileges("a_set_that_does_not_fit_is_removed_and_said_in_one_line") {
        return;
    }
    let (bpffs, shard) = (Bpffs::mount(), Shard::start(0));
    let folder = bpffs.folder();
    type Tampering = fn(&Path);
    let cases: [(Tampering, &str); 7] = [
        (|folder| change_mark(folder, |mark| mark.layout = 5), "it has layout 5, this probe has "),
        (|folder| change_mark(folder, |mark| mark.complete = 0), "it is incomplete"),
        (|folder| change_mark(folder, |mark| mark.shards += 1), "it counts for another list of shards"),
        (|folder| std::fs::remove_file(folder.join("probe-maps/PINNED")).unwrap(), "it has no identity"),
        (|folder| swap(folder, "probe-maps/TRAFFIC", "probe-maps/SHARDS"), "its map "),
        (
            |folder| {
                std::fs::rename(folder.join("probe-maps/READERS"), folder.join("probe-maps/OLD")).unwrap();
            },
            "its map READERS is None",
        ),
        (
            |folder| std::fs::remove_file(folder.join("probe-links/egress")).unwrap(),
            "its link egress is missing",
        ),
    ];
    let mut probe = start(&shard, &folder);
    for (tampering, why) in cases {
        exchange(&shard, 10);
        assert_eq!(requests(&probe), (10, 1), "{why}");
        let before = own_programs(probe.child.id());
        assert_eq!(probe.stop().0, Some(0));
        tampering(&folder);
        probe = start(&shard, &folder);
        await_unloaded(&before);
        let pinned = pinned(&probe);
        assert!(pinned["removed_because"].as_str().unwrap().starts_with(why), "{why}: {pinned}");
        assert_eq!(pinned["adopted"], false);
        assert_eq!(requests(&probe), (0, 0), "{why}");
        assert!(
            probe.started.lines().any(|line| line.contains(why) && line.contains("starts from zero")),
            "{why}"
        );
    }
}

#[test]
fn programs_of_other_shards_are_not_gone_on_with() {
    if !privileges("programs_of_other_shards_are_not_gone_on_with") {
        return;
    }
    let (bpffs, one, other) = (Bpffs::mount(), Shard::start(0), Shard::start(0));
    let folder = bpffs.folder();
    let probe = start(&one, &folder);
    exchange(&one, 10);
    assert_eq!(probe.stop().0, Some(0));
    let probe = start(&other, &folder);
    exchange(&one, 10);
    exchange(&other, 30);
    assert_eq!(requests(&probe), (30, 3));
    assert_eq!(pinned(&probe)["removed_because"], "it counts for another list of shards");
}

#[test]
fn where_a_program_cannot_be_replaced_in_place_the_gap_is_measured() {
    if !privileges("where_a_program_cannot_be_replaced_in_place_the_gap_is_measured") {
        return;
    }
    let (bpffs, shard) = (Bpffs::mount(), Shard::start(0));
    let folder = bpffs.folder();
    let probe = start(&shard, &folder);
    exchange(&shard, 10);
    assert_eq!(probe.stop().0, Some(0));
    // The kernel does not replace a link's program by one of another type.
    swap(&folder, "probe-links/ingress", "probe-links/socket_events");
    let probe = start(&shard, &folder);
    let pinned = pinned(&probe);
    let gap = pinned["gap_seconds"].as_f64().unwrap();
    assert!(pinned["adopted"] == true && gap > 0.0 && gap < TIMEOUT.as_secs_f64(), "{pinned}");
    // The JSON parser may be off by the last bit of a sum of times.
    let exact = |text: &str, name: &str| {
        let (_, rest) = text.split_once(name).unwrap();
        rest[..rest.find([',', '}', '\n']).unwrap()].parse::<f64>().unwrap()
    };
    let reported = exact(&probe.text("/status"), "\"gap_seconds\":");
    let exported = exact(&probe.text("/metrics"), "\nprobe_restart_gap_seconds ");
    assert_eq!(exported.to_bits(), reported.to_bits());
    assert!(probe.started.contains("the kernel cannot replace it in place"), "{}", probe.started);
    exchange(&shard, 10);
    assert_eq!(requests(&probe), (20, 2));
    assert_eq!(probe.stop().0, Some(0));
    exchange(&shard, 10);
    let probe = start(&shard, &folder);
    assert_eq!(requests(&probe), (30, 3));
    assert_eq!(self::pinned(&probe)["gap_seconds"], 0.0);
}

#[test]
fn unpin_ends_the_counting_and_removes_everything() {
    if !privileges("unpin_ends_the_counting_and_removes_everything") {
        return;
    }
    let (bpffs, shard) = (Bpffs::mount(), Shard::start(0));
    let folder = bpffs.folder();
    let probe = start(&shard, &folder);
    let programs = own_programs(probe.child.id());
    assert!(programs.len() >= 3, "{programs:?}");

    // A set in use is refused, to `unpin` and to another probe.
    let refused = unpin(&folder);
    assert_eq!(refused.status.code(), Some(1));
    assert!(error_line(&refused).contains("is in use by another probe: stop that probe first"));
    let second = run(&arguments(&shard.url(), &folder));
    assert_eq!(second.status.code(), Some(1));
    assert!(error_line(&second).contains("is in use by another probe"));
    exchange(&shard, 10);
    assert_eq!(requests(&probe), (10, 1));

    assert_eq!(probe.stop().0, Some(0));
    assert!(aya::programs::loaded_programs().flatten().any(|program| program.id() == programs[0]));
    let links = std::fs::read_dir(folder.join("probe-links")).unwrap().count();
    let maps = std::fs::read_dir(folder.join("probe-maps")).unwrap().count();
    let removed = unpin(&folder);
    assert_eq!(removed.status.code(), Some(0));
    let line = stdout(&removed);
    assert!(
        line.starts_with(&format!("removed {}: {links} links (egress, ingress, ", folder.display()))
            && line.contains(&format!(", {maps} maps (")),
        "{line}"
    );
    assert!(!folder.exists());
    await_unloaded(&programs);

    // The second time there is nothing to remove. An incomplete set is removed like a complete one.
    let nothing = unpin(&folder);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(stdout(&nothing).contains("the folder does not exist"));
    let probe = start(&shard, &folder);
    let programs = own_programs(probe.child.id());
    assert_eq!(probe.stop().0, Some(0));
    for gone in ["probe-maps/PINNED", "probe-maps/SHARDS", "probe-links/ingress"] {
        std::fs::remove_file(folder.join(gone)).unwrap();
    }
    assert!(stdout(&unpin(&folder)).contains(&format!(": {} links (egress, ", links - 1)));
    assert!(!folder.exists());
    await_unloaded(&programs);

    // The folder `foreign` is not part of the set. It stays, and the command reports it.
    let probe = start(&shard, &folder);
    assert_eq!(probe.stop().0, Some(0));
    std::fs::create_dir(folder.join("foreign")).unwrap();
    let left = unpin(&folder);
    assert_eq!(left.status.code(), Some(1));
    assert!(error_line(&left).contains("cannot be removed"), "{}", error_line(&left));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_pinned_in_is_one_line() {
    if !privileges("a_folder_that_cannot_be_pinned_in_is_one_line") {
        return;
    }
    let bpffs = Bpffs::mount();
    let root = bpffs.0.to_str().unwrap();
    for (folder, code, expected) in [
        ("/tmp", 1, "is not on a bpffs: mount one (sudo mount -t bpf bpf /sys/fs/bpf)"),
        ("/no/such/folder", 1, "is not on a bpffs"),
        (root, 1, "is the root of a bpffs, which all programs share"),
        (&format!("{root}/v1.2"), 1, "names in a bpffs have no dots"),
        (&format!("{root}/not/there"), 1, "is not on a bpffs"),
        ("", 2, "PIN"),
    ] {
        let urls = "http://127.0.0.1:9";
        for arguments in
            [&["run", "--port", "0", "--shard-urls", urls, "--pin", folder][..], &["unpin", folder]]
        {
            let output = run(arguments);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}");
            let line = error_line(&output);
            assert!(line.contains(expected) || arguments[0] == "unpin" && code == 2, "{arguments:?}: {line}");
        }
    }
    let check = run(&["check", "--shard-urls", "http://127.0.0.1:9", "--pin", "/tmp"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(stdout(&check).contains("FAIL pin: the folder /tmp is not on a bpffs"));
    let check = run(&["check", "--shard-urls", "http://127.0.0.1:9", "--pin", &format!("{root}/set")]);
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    // The check created nothing.
    assert!(!bpffs.folder().exists());
}
