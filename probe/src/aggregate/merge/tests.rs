//! Tests the sums with simulated probes: growth, restarts, moves, duplicates.

use proptest::prelude::*;
use protocol::probe_api::{ByDirection, NodeConnections, NodeDetails, NodeKeys, NodeRequests, NodeShard};

use super::*;

/// A probe with one shard's requests, and the address that it watches.
#[derive(Clone, Debug)]
struct Probe {
    kernel: &'static str,
    since: f64,
    shards: BTreeMap<u32, (Option<&'static str>, u64)>,
    keys: Vec<(String, u64, u64)>,
    is_complete: bool,
}

impl Probe {
    fn new(kernel: &'static str, since: f64) -> Self {
        Self { kernel, since, shards: BTreeMap::new(), keys: Vec::new(), is_complete: true }
    }

    fn with(mut self, shard: u32, address: &'static str, requests: u64) -> Self {
        self.shards.insert(shard, (Some(address), requests));
        self
    }

    fn report(&self, whole: bool) -> NodeReport {
        let shards = self.shards.iter().map(|(id, (address, requests))| NodeShard {
            shard_id: *id,
            addresses: address.iter().map(ToString::to_string).collect(),
            requests: NodeRequests { get: *requests, arrived: requests + 1, ..NodeRequests::default() },
            details: whole.then(|| NodeDetails {
                packets: ByDirection { receive: 2 * requests, transmit: *requests },
                connections: Some(NodeConnections {
                    opened: *requests,
                    closed: 1,
                    ..NodeConnections::default()
                }),
                keys: NodeKeys { complete: self.is_complete, keys: self.keys.clone() },
                ..NodeDetails::default()
            }),
            ..NodeShard::default()
        });
        NodeReport {
            kernel: self.kernel.to_owned(),
            counting_since: self.since,
            shards: shards.collect(),
            ..NodeReport::default()
        }
    }
}

struct World {
    merged: Merged,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self { merged: Merged::new(2), now: Duration::ZERO }
    }

    fn round(&mut self, probes: &[&Probe]) -> Vec<Watchers> {
        self.now += Duration::from_secs(1);
        let reports: Vec<NodeReport> = probes.iter().map(|probe| probe.report(true)).collect();
        self.merged.observe(self.now, &reports.iter().collect::<Vec<_>>())
    }

    fn gets(&self, shard: u32) -> u64 {
        self.merged.shard(shard).unwrap().requests().get
    }

    fn keys(&self) -> Vec<(String, u64, u64)> {
        let table = self.merged.shard(0).unwrap().keys.table();
        let keys = table.top(usize::MAX).into_iter();
        keys.map(|key| (key.key, key.requests, key.error)).collect()
    }
}

fn grow(probe: &mut Probe, shard: u32, requests: u64) {
    probe.shards.get_mut(&shard).unwrap().1 += requests;
}

#[test]
fn figures_of_faulty_probes_saturate() {
    let mut world = World::new();
    let most = u64::MAX / 2;
    let probes = [("a", "10.0.0.1:9000"), ("b", "10.0.0.2:9000"), ("c", "10.0.0.3:9000")]
        .map(|(kernel, address)| Probe::new(kernel, 1.0).with(0, address, most));
    world.round(&probes.each_ref());
    assert_eq!(world.merged.shard(0).unwrap().open().0, u64::MAX);
}

#[test]
fn sums_begin_at_0_and_follow_the_growth() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 1_000);
    let watchers = world.round(&[&probe]);
    assert_eq!(watchers[0], Watchers { reports: vec![0], is_baseline: true });
    assert_eq!(watchers[1], Watchers::default());
    assert_eq!(world.gets(0), 0);
    grow(&mut probe, 0, 7);
    assert_eq!(world.round(&[&probe])[0], Watchers { reports: vec![0], is_baseline: false });
    let sum = world.merged.shard(0).unwrap();
    assert_eq!((sum.requests().get, sum.traffic.receive.packets), (7, 14));
    // What is open now or undecided is no growth.
    assert_eq!((sum.connections.unwrap().opened, sum.open(), sum.requests().undecided()), (7, (1_006, 0), 1));
}

#[test]
fn a_shard_whose_counts_a_probe_has_dropped_begins_at_0_when_it_comes_back() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 1_000);
    world.round(&[&probe]);
    grow(&mut probe, 0, 7);
    world.round(&[&probe]);
    // It moves away, and its counts stay.
    probe.shards.insert(0, (None, 1_008));
    world.round(&[&probe]);
    assert_eq!(world.gets(0), 8);
    probe.shards.clear();
    world.round(&[&probe]);
    probe = probe.with(0, "10.0.0.2:9000", 5);
    assert_eq!(world.round(&[&probe])[0], Watchers { reports: vec![0], is_baseline: false });
    assert_eq!(world.gets(0), 13);
}

#[test]
fn a_report_of_requests_alone_adds_them_and_nothing_twice() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 1_000);
    // Without a first whole report there is no baseline.
    assert_eq!(world.merged.observe(world.now, &[&probe.report(false)])[0], Watchers::default());
    world.round(&[&probe]);
    grow(&mut probe, 0, 5);
    assert_eq!(world.merged.observe(world.now, &[&probe.report(false)])[0].reports, [0]);
    assert_eq!(world.gets(0), 5);
    world.round(&[&probe]);
    let sum = world.merged.shard(0).unwrap();
    assert_eq!((sum.requests().get, sum.traffic.transmit.packets), (5, 5));
}

#[test]
fn a_restarted_probe_adds_nothing_at_first() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 50);
    world.round(&[&probe]);
    grow(&mut probe, 0, 5);
    world.round(&[&probe]);
    let mut next = Probe::new("k", 2.0).with(0, "10.0.0.1:9000", 400);
    assert!(world.round(&[&next])[0].is_baseline);
    assert_eq!(world.gets(0), 5);
    grow(&mut next, 0, 3);
    assert!(!world.round(&[&next])[0].is_baseline);
    assert_eq!(world.gets(0), 8);
}

#[test]
fn a_silent_probe_adds_its_growth_when_it_answers_again_unless_it_is_forgotten() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 50);
    world.round(&[&probe]);
    assert_eq!(world.round(&[])[0], Watchers::default());
    grow(&mut probe, 0, 30);
    assert_eq!(world.round(&[&probe])[0], Watchers { reports: vec![0], is_baseline: false });
    assert_eq!(world.gets(0), 30);
    world.now += REMEMBERED;
    world.round(&[]);
    grow(&mut probe, 0, 1_000);
    assert!(world.round(&[&probe])[0].is_baseline);
    assert_eq!(world.gets(0), 30);
}

#[test]
fn a_shard_that_moves_is_neither_lost_nor_counted_twice() {
    let mut world = World::new();
    let mut old = Probe::new("a", 1.0).with(0, "10.0.0.1:9000", 100);
    let mut new = Probe::new("b", 2.0).with(1, "10.0.1.1:9000", 10);
    world.round(&[&old, &new]);
    grow(&mut old, 0, 20);
    world.round(&[&old, &new]);
    // Both claim it for a moment, each with requests of its own.
    grow(&mut old, 0, 3);
    new = new.with(0, "10.0.1.2:9000", 4);
    let both = world.round(&[&old, &new]);
    assert_eq!((both[0].reports.len(), both[0].is_baseline), (2, false));
    assert_eq!(world.gets(0), 27);
    // The last requests on the old node are seen after it no longer watches the shard.
    grow(&mut old, 0, 2);
    old.shards.get_mut(&0).unwrap().0 = None;
    grow(&mut new, 0, 5);
    assert_eq!(world.round(&[&old, &new])[0].reports, [1]);
    assert_eq!(world.gets(0), 34);
    // It moves back: the counts there go on from where they were.
    old.shards.get_mut(&0).unwrap().0 = Some("10.0.0.7:9000");
    new.shards.get_mut(&0).unwrap().0 = None;
    grow(&mut old, 0, 6);
    assert_eq!(world.round(&[&old, &new])[0], Watchers { reports: vec![0], is_baseline: false });
    assert_eq!(world.gets(0), 40);
}

#[test]
fn of_two_probes_with_the_same_packets_one_is_added() {
    let mut world = World::new();
    let mut one = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 100);
    let mut other = Probe::new("k", 2.0).with(0, "10.0.0.1:9000", 40);
    world.round(&[&one, &other]);
    for _ in 0..3 {
        grow(&mut one, 0, 10);
        grow(&mut other, 0, 10);
        assert_eq!(world.round(&[&other, &one])[0].reports, [1], "the one that was added before stays");
    }
    assert_eq!(world.gets(0), 30);
    // The first one ends, and the second has the packets since its last report.
    grow(&mut one, 0, 5);
    grow(&mut other, 0, 5);
    assert_eq!(world.round(&[&other])[0], Watchers { reports: vec![0], is_baseline: false });
    assert_eq!(world.gets(0), 35);
    // The first one answers again, and ends up alone: the second has counted that time already.
    grow(&mut one, 0, 5);
    grow(&mut other, 0, 5);
    assert_eq!(world.round(&[&one, &other])[0].reports, [1]);
    assert_eq!(world.gets(0), 40);
    grow(&mut one, 0, 5);
    assert!(!world.round(&[&one])[0].is_baseline);
    assert_eq!(world.gets(0), 45);
}

#[test]
fn what_another_probe_has_counted_meanwhile_is_not_added() {
    let mut world = World::new();
    let mut one = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 100);
    let mut other = Probe::new("k", 2.0).with(0, "10.0.0.1:9000", 40);
    world.round(&[&one, &other]);
    grow(&mut other, 0, 50);
    world.round(&[&other]);
    assert_eq!(world.gets(0), 50);
    // The first one has counted the same 50 while it was silent.
    grow(&mut one, 0, 50);
    assert!(world.round(&[&one])[0].is_baseline);
    assert_eq!(world.gets(0), 50);
}

#[test]
fn the_same_probe_found_twice_is_one() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 100);
    world.round(&[&probe, &probe]);
    grow(&mut probe, 0, 10);
    assert_eq!(world.round(&[&probe, &probe])[0].reports, [0]);
    assert_eq!(world.gets(0), 10);
}

#[test]
fn keys_have_exact_growth_and_a_bound_of_what_is_unknown() {
    let mut world = World::new();
    let key = |name: &str, requests, error| (name.to_owned(), requests, error);
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 1_000);
    probe.keys = vec![key("hot", 900, 0), key("warm", 100, 0)];
    world.round(&[&probe]);
    assert_eq!(world.keys(), [key("hot", 0, 0), key("warm", 0, 0)]);
    // The list is complete, so a new key has grown from 0.
    grow(&mut probe, 0, 30);
    probe.keys = vec![key("hot", 920, 0), key("warm", 103, 0), key("new", 7, 0)];
    world.round(&[&probe]);
    assert_eq!(world.keys(), [key("hot", 20, 0), key("new", 7, 0), key("warm", 3, 0)]);
    // From now on it is not complete, so the growth of a key that appears is unknown.
    grow(&mut probe, 0, 10);
    probe.is_complete = false;
    probe.keys = vec![key("hot", 930, 0)];
    world.round(&[&probe]);
    grow(&mut probe, 0, 100);
    probe.keys = vec![key("hot", 940, 0), key("late", 80, 2)];
    world.round(&[&probe]);
    let keys = world.keys();
    assert_eq!(keys[0], key("hot", 40, 0));
    assert!(keys.contains(&key("late", 0, 82)), "{keys:?}");
    // A key that was not listed for long does not grow by all of it at once.
    for _ in 0..12 {
        world.round(&[&probe]);
    }
    probe.keys = vec![key("hot", 940, 0), key("warm", 500, 0)];
    grow(&mut probe, 0, 400);
    world.round(&[&probe]);
    let warm = world.keys().into_iter().find(|(key, ..)| key == "warm").unwrap();
    assert!(warm.1 == 3 && warm.2 >= 397, "{warm:?}");
}

#[test]
fn merged_keys_are_bounded() {
    let mut world = World::new();
    let mut probe = Probe::new("k", 1.0).with(0, "10.0.0.1:9000", 0);
    probe.is_complete = false;
    for round in 0..100_u64 {
        probe.keys =
            (0..64).map(|n| (format!("{round}-{n}"), 1, 0)).chain([("hot".into(), 9 * round, 0)]).collect();
        grow(&mut probe, 0, 73);
        world.round(&[&probe]);
    }
    let keys = world.keys();
    assert!(keys.len() <= keys::CAPACITY, "{}", keys.len());
    assert_eq!(keys[0], ("hot".to_owned(), 9 * 99, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Grow(u64),
    Move(usize),
    Restart(usize),
    Silent(usize),
    Back(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..100_u64).prop_map(Step::Grow),
        1 => (0..3_usize).prop_map(Step::Move),
        1 => (0..3_usize).prop_map(Step::Restart),
        1 => (0..3_usize).prop_map(Step::Silent),
        1 => (0..3_usize).prop_map(Step::Back),
    ]
}

proptest! {
    /// One shard on three nodes. The sum never falls and is never more than was sent. Without a restart it is all that
    /// was sent, once all probes answer.
    #[test]
    fn sums_never_fall_and_are_never_more_than_was_sent(steps in prop::collection::vec(step(), 1..60)) {
        let kernels = ["a", "b", "c"];
        let addresses = ["10.0.0.1:1", "10.0.1.1:1", "10.0.2.1:1"];
        let mut world = World::new();
        let mut probes: Vec<Probe> = kernels.iter().map(|kernel| Probe::new(kernel, 1.0)).collect();
        probes[0] = probes[0].clone().with(0, addresses[0], 500);
        world.round(&probes.iter().collect::<Vec<_>>());
        let mut silent = [false; 3];
        let (mut sent, mut last, mut home) = (0, 0, 0);
        let has_restart = steps.iter().any(|step| matches!(step, Step::Restart(_)));
        for (at, step) in (2_u32..).zip(steps) {
            match step {
                Step::Grow(n) => {
                    grow(&mut probes[home], 0, n);
                    sent += n;
                }
                Step::Move(to) => {
                    probes[home].shards.get_mut(&0).unwrap().0 = None;
                    probes[to].shards.entry(0).or_insert((None, 0)).0 = Some(addresses[to]);
                    home = to;
                }
                Step::Restart(probe) => {
                    let on = probes[probe].shards.get(&0).map(|(on, _)| (*on, 0));
                    probes[probe] = Probe::new(kernels[probe], f64::from(at));
                    probes[probe].shards.extend(on.map(|on| (0, on)));
                }
                Step::Silent(probe) => silent[probe] = true,
                Step::Back(probe) => silent[probe] = false,
            }
            let all = probes.iter().zip(silent);
            world.round(&all.filter(|(_, silent)| !silent).map(|(probe, _)| probe).collect::<Vec<_>>());
            let sum = world.gets(0);
            prop_assert!(sum >= last, "{last} fell to {sum}");
            prop_assert!(sum <= sent, "{sum} of {sent}");
            last = sum;
        }
        world.round(&probes.iter().collect::<Vec<_>>());
        prop_assert!(has_restart || world.gets(0) == sent, "{} of {sent}", world.gets(0));
    }
}
