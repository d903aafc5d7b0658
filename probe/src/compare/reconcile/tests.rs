//! Tests the ledger with a simulated shard, load and clock.

use probe_common::requests::Reason;
use protocol::probe_api::CauseKind;

use super::*;

/// Requests reach the socket first, and the application after `delay`.
struct World {
    now: Duration,
    kernel: u64,
    app: u64,
    started_at: f64,
    active: u64,
    on_their_way: VecDeque<(Duration, u64)>,
    aborted: u64,
    /// Requests that were answered although the application did not count them.
    answered_uncounted: u64,
    repeated: u64,
    unparsed: [u64; REASONS],
    ledger: Ledger,
}

impl World {
    /// A shard that has already counted `app` requests.
    fn new(app: u64) -> Self {
        Self {
            now: Duration::from_secs(100),
            kernel: 0,
            app,
            started_at: 1.0,
            active: 0,
            on_their_way: VecDeque::new(),
            aborted: 0,
            answered_uncounted: 0,
            repeated: 0,
            unparsed: [0; REASONS],
            ledger: Ledger::default(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some((_, count)) = self.on_their_way.pop_front_if(|(due, _)| *due <= self.now) {
            self.app += count;
        }
    }

    fn send(&mut self, count: u64, delay: Duration) {
        self.kernel += count;
        self.on_their_way.push_back((self.now + delay, count));
    }

    /// Takes a bracket. `moves` requests reach the socket after the application's reading.
    fn look(&mut self, moves: u64) -> Comparison {
        let (from, kernel_before) = (self.now, self.kernel);
        let app = AppReading {
            requests_received: self.app,
            started_at: self.started_at,
            active_requests: self.active,
        };
        self.send(moves, Duration::from_millis(3));
        self.pass(Duration::from_millis(1));
        self.ledger.observe(&Bracket {
            from,
            to: self.now,
            kernel_before,
            kernel_after: self.kernel,
            undecided: 0,
            aborted: self.aborted,
            // The shards answer every request that they count.
            answered: self.app + self.answered_uncounted,
            repeated: self.repeated,
            unparsed: self.unparsed,
            app: Ok(app),
            unix_seconds: self.now.as_secs_f64(),
        })
    }

    /// Sends load for a while. Takes one bracket a second, as the loop does, always with requests in flight.
    fn load(&mut self, seconds: u32, a_second: u64) -> Vec<Comparison> {
        let mut seen = Vec::new();
        for _ in 0..seconds {
            for step in 0..100 {
                // Uneven rates and delays, so that no bracket falls on a convenient moment.
                self.send(a_second / 100 + step % 3, Duration::from_millis(7 * (step % 5)));
                self.pass(Duration::from_millis(10));
            }
            seen.push(self.look(2));
        }
        seen
    }

    /// Takes brackets without load until the verdict is final.
    fn settle(&mut self) -> Comparison {
        self.pass(Duration::from_secs(1));
        let mut last = self.look(0);
        for _ in 0..12 {
            self.pass(Duration::from_millis(50));
            last = self.look(0);
        }
        last
    }
}

#[track_caller]
fn assert_firm(comparison: &Comparison, difference: i64) {
    assert_eq!(
        (comparison.difference, comparison.bound, comparison.agrees),
        (Some(difference), Some(0), Some(difference == 0)),
        "{comparison:?}"
    );
}

#[test]
fn a_quiet_start_gives_a_firm_baseline_whatever_came_before() {
    let mut world = World::new(12_345);
    let first = world.look(0);
    assert_eq!((first.agrees, first.difference, first.kernel), (None, None, Some(0)));
    assert_eq!(first.cause.as_deref(), Some("the baseline is being taken"));
    assert!(world.ledger.is_settling(&first));
    let settled = world.settle();
    assert_firm(&settled, 0);
    assert_eq!((settled.kernel, settled.app, settled.cause.as_deref()), (Some(0), Some(0), None));
    assert!(!world.ledger.is_settling(&settled));
    assert!(settled.since.is_some_and(|since| (99.0..102.0).contains(&since)));
}

#[test]
fn load_agrees_within_its_bound_and_rest_agrees_to_the_request() {
    let mut world = World::new(7);
    world.settle();
    let kernel = world.kernel;
    for comparison in world.load(20, 10_000) {
        assert_eq!(comparison.agrees, Some(true), "{comparison:?}");
        assert!(comparison.bound.is_some_and(|bound| bound > 0));
    }
    let rest = world.settle();
    assert_firm(&rest, 0);
    assert_eq!((rest.kernel, rest.app), (Some(world.kernel - kernel), Some(world.kernel - kernel)));
}

#[test]
fn an_equal_count_at_rest_is_firm_at_once() {
    let mut world = World::new(0);
    world.settle();
    world.send(50, Duration::from_millis(1));
    world.pass(Duration::from_millis(2));
    assert_firm(&world.look(0), 0);
}

#[test]
fn a_request_the_kernel_missed_is_a_difference_at_once() {
    let mut world = World::new(0);
    world.settle();
    world.load(3, 1_000);
    world.app += 3;
    let rest = world.settle();
    assert_firm(&rest, -3);
    assert!(rest.cause.is_some_and(|cause| cause.contains("counted 3 requests that the kernel did not see")));
    world.load(8, 1_000);
    assert_firm(&world.settle(), -3);
}

#[test]
fn unparsed_segments_are_named_as_the_cause() {
    let mut world = World::new(0);
    world.unparsed[Reason::Joined as usize] = 9;
    world.settle();
    world.app += 1;
    world.unparsed[Reason::Gap as usize] += 2;
    let rest = world.settle();
    assert_firm(&rest, -1);
    assert_eq!(rest.cause.as_deref(), Some("the shard counted 1 more; segments not parsed: gap 2"));
}

#[test]
fn a_request_the_shard_did_not_count_is_a_difference_once_nothing_is_on_its_way() {
    let mut world = World::new(0);
    world.settle();
    world.load(3, 1_000);
    world.kernel += 2;
    let now = world.look(0);
    assert_eq!(now.agrees, Some(true), "it may be on its way: {now:?}");
    let rest = world.settle();
    assert_firm(&rest, 2);
    assert!(rest.cause.is_some_and(|cause| cause.starts_with("2 requests reached the shard's socket")));
}

#[test]
fn a_baseline_taken_under_load_leaves_no_offset() {
    for a_second in [100, 10_000, 1_000_000] {
        let mut world = World::new(5_000_000);
        // In flight when the probe attached: the application will count them, the kernel has not.
        world.on_their_way.push_back((world.now + Duration::from_millis(40), 77));
        let seen = world.load(20, a_second);
        assert_eq!(seen[0].agrees, None);
        assert!(seen.iter().all(|comparison| comparison.agrees != Some(false)), "{seen:?}");
        assert_eq!(seen[19].agrees, Some(true));
        assert_firm(&world.settle(), 0);
    }
}

#[test]
fn a_baseline_taken_under_load_is_narrow_after_a_while() {
    let mut world = World::new(100);
    world.load(10, 1_000);
    // The rate falls, so the interval is as wide as five seconds at this lower rate.
    world.load(10, 10);
    let low_load = world.load(1, 10).remove(0);
    assert!(low_load.bound.is_some_and(|bound| bound < 1_300), "{low_load:?}");
    // A larger loss must be noticed.
    world.app += 1_300;
    assert_eq!(world.settle().agrees, Some(false));
}

#[test]
fn a_shard_restarted_under_load_starts_over_without_an_offset() {
    let mut world = World::new(0);
    world.settle();
    world.load(10, 2_000);
    // The process is killed with requests in service, so they are never counted.
    world.send(40, Duration::from_secs(1_000));
    world.on_their_way.clear();
    world.app = 0;
    world.started_at = 2.0;
    let seen = world.load(10, 2_000);
    assert!(seen.iter().all(|comparison| comparison.agrees != Some(false)), "{seen:?}");
    let rest = world.settle();
    assert_firm(&rest, 0);
    assert!(rest.since.is_some_and(|since| since > 110.0));
}

#[test]
fn a_moment_of_overload_does_not_spoil_the_baseline() {
    let mut world = World::new(0);
    world.load(3, 1_000);
    // For four seconds the application reads no requests but answers `/stats`.
    world.send(5_000, Duration::from_secs(4));
    world.load(6, 1_000);
    assert_firm(&world.settle(), 0);
}

#[test]
fn an_unreadable_shard_has_no_verdict_and_gets_it_back() {
    let mut world = World::new(0);
    world.settle();
    let lost = world.ledger.observe(&Bracket {
        from: world.now,
        to: world.now,
        kernel_before: 0,
        kernel_after: 0,
        undecided: 0,
        aborted: 0,
        answered: 0,
        repeated: 0,
        unparsed: [0; REASONS],
        app: Err("no connection".to_owned()),
        unix_seconds: 0.0,
    });
    assert_eq!((lost.agrees, lost.difference, lost.bound), (None, None, None));
    assert_eq!(lost.cause.as_deref(), Some("the shard cannot be read: no connection"));
    assert_eq!(lost.cause_kind, Some(CauseKind::ShardUnreadable));
    assert!(!world.ledger.is_settling(&lost));
    world.load(3, 1_000);
    assert_firm(&world.settle(), 0);
}

#[test]
fn history_stays_short() {
    let mut world = World::new(0);
    world.load(100, 10);
    assert!(world.ledger.history.len() < 20, "{}", world.ledger.history.len());
}

#[test]
fn requests_of_clients_that_left_are_allowed_for_and_no_more() {
    let mut world = World::new(0);
    world.settle();
    world.load(3, 1_000);
    world.kernel += 7;
    world.aborted += 9;
    let rest = world.settle();
    assert_eq!((rest.difference, rest.bound, rest.agrees), (Some(7), Some(9), Some(true)), "{rest:?}");
    assert_eq!(rest.cause.as_deref(), Some("up to 9 requests were aborted by their clients"));
    assert!(!world.ledger.is_settling(&rest));
    world.kernel += 3;
    let rest = world.settle();
    assert_eq!((rest.difference, rest.bound, rest.agrees), (Some(10), Some(9), Some(false)), "{rest:?}");
}

#[test]
fn leaving_clients_under_load_do_not_spoil_a_baseline() {
    let mut world = World::new(1_000);
    for _ in 0..20 {
        world.load(1, 500);
        world.kernel += 2;
        world.aborted += 2;
    }
    let rest = world.settle();
    assert_eq!(rest.agrees, Some(true), "{rest:?}");
    world.app += 1_000;
    assert_eq!(world.settle().agrees, Some(false));
}

#[test]
fn every_cause_has_its_kind() {
    use CauseKind::{
        Aborted, Baseline, InFlight, Retransmitted, Shed, Unanswered, Uncounted, Unparsed, Unseen,
    };
    type Change = fn(&mut World);
    let cases: [(Change, Option<CauseKind>); 8] = [
        (|_| {}, None),
        (|world| (world.kernel, world.aborted) = (world.kernel + 2, world.aborted + 2), Some(Aborted)),
        (|world| world.kernel += 2, Some(Unanswered)),
        (|world| (world.kernel, world.repeated) = (world.kernel + 2, 2), Some(Retransmitted)),
        (|world| (world.kernel, world.answered_uncounted) = (world.kernel + 2, 2), Some(Shed)),
        (|world| (world.kernel, world.answered_uncounted) = (world.kernel + 2, 1), Some(Uncounted)),
        (|world| world.app += 2, Some(Unseen)),
        (|world| (world.app, world.unparsed[Reason::Budget as usize]) = (world.app + 2, 1), Some(Unparsed)),
    ];
    for (change, expected) in cases {
        // The first baseline is taken under load, with requests in flight.
        let mut world = World::new(30);
        assert_eq!(world.look(0).cause_kind, Some(Baseline));
        assert_eq!(world.load(8, 1_000)[7].cause_kind, Some(InFlight));
        world.settle();
        world.load(3, 1_000);
        change(&mut world);
        let rest = world.settle();
        assert_eq!((rest.cause_kind, rest.cause.is_some()), (expected, expected.is_some()), "{rest:?}");
        assert_eq!(rest.agrees, Some(matches!(expected, None | Some(Aborted))), "{rest:?}");
    }
}

#[test]
fn before_the_first_rest_nobody_says_why_requests_are_not_counted() {
    let mut world = World::new(30);
    world.load(8, 1_000);
    world.kernel += 100_000;
    // This count includes answers to requests that were in flight at the baseline or never timed.
    world.answered_uncounted += 100_000;
    let under_load = world.load(3, 1_000).remove(2);
    assert_eq!((under_load.agrees, under_load.cause_kind), (Some(false), Some(CauseKind::Uncounted)));
    assert_eq!(world.settle().cause_kind, Some(CauseKind::Uncounted));
}
