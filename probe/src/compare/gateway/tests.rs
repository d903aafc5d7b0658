//! Tests the ledger with simulated requests through and past the gateway.

use protocol::probe_api::CauseKind;

use super::*;

struct World {
    now: Duration,
    kernel: u64,
    sent: Result<(f64, u64), String>,
    app: AppReading,
    ledger: SentLedger,
}

impl World {
    /// A gateway that has already sent 5,000 requests.
    fn new() -> Self {
        Self {
            now: Duration::from_secs(50),
            kernel: 0,
            sent: Ok((1.0, 5_000)),
            app: AppReading { requests_received: 6_000, started_at: 2.0, active_requests: 0 },
            ledger: SentLedger::default(),
        }
    }

    fn through_gateway(&mut self, count: u64) {
        self.directly(count);
        if let Ok((_, sent)) = &mut self.sent {
            *sent += count;
        }
    }

    fn directly(&mut self, count: u64) {
        self.kernel += count;
        self.app.requests_received += count;
    }

    fn look(&mut self) -> Comparison {
        let from = self.now;
        self.now += Duration::from_millis(2);
        let bracket = Bracket {
            from,
            to: self.now,
            kernel_before: self.kernel,
            kernel_after: self.kernel,
            undecided: 0,
            aborted: 0,
            answered: self.kernel,
            repeated: 0,
            unparsed: [0; REASONS],
            app: Ok(self.app),
            unix_seconds: self.now.as_secs_f64(),
        };
        let mut comparison = Comparison { agrees: Some(true), ..Comparison::default() };
        self.ledger.observe(&bracket, &self.sent, &mut comparison);
        comparison
    }

    /// Takes brackets without load until the result no longer changes.
    fn settle(&mut self) -> Comparison {
        for _ in 0..12 {
            self.now += Duration::from_millis(50);
            self.look();
        }
        assert!(!self.ledger.settling);
        self.look()
    }

    /// Sends load through the gateway, with one bracket a second. Each second `direct` more requests bypass it.
    fn load(&mut self, seconds: u32, direct: u64) -> Vec<Comparison> {
        let seconds = (0..seconds).map(|_| {
            for _ in 0..10 {
                self.through_gateway(50);
                self.now += Duration::from_millis(100);
            }
            self.directly(direct);
            // Fifty requests are in service at the shard, so the gateway has not counted them yet.
            self.directly(50);
            self.app.active_requests = 50;
            let seen = self.look();
            self.app.active_requests = 0;
            if let Ok((_, sent)) = &mut self.sent {
                *sent += 50;
            }
            seen
        });
        seconds.collect()
    }
}

#[track_caller]
fn assert_names(comparison: &Comparison, bypassed: u64) {
    let kind = (bypassed > 0).then_some(CauseKind::Bypassed);
    assert_eq!((comparison.bypassed, comparison.cause_kind), (Some(bypassed), kind), "{comparison:?}");
    let cause = comparison.cause.as_deref().unwrap_or_default();
    assert!(bypassed == 0 || cause.starts_with(&format!("{bypassed} requests")), "{cause}");
}

#[test]
fn requests_without_the_gateway_are_named_to_the_request_at_rest() {
    let mut world = World::new();
    assert_names(&world.settle(), 0);
    world.load(5, 0);
    let rest = world.settle();
    assert_names(&rest, 0);
    assert_eq!((rest.gateway, rest.gateway_since.is_some()), (Some(2_750), true));
    world.directly(23);
    assert_names(&world.settle(), 23);
    world.load(3, 0);
    assert_names(&world.settle(), 23);
    assert_eq!(world.settle().gateway, Some(4_400));
}

#[test]
fn their_number_is_not_final_while_a_part_may_be_on_its_way() {
    let mut world = World::new();
    world.settle();
    // Seventeen of 25 direct requests come after the bracket of the last second.
    world.directly(8);
    world.now += Duration::from_secs(1);
    world.look();
    world.directly(17);
    world.now += Duration::from_secs(3);
    assert!(world.look().bypassed < Some(25));
    assert!(world.ledger.settling);
    assert_names(&world.settle(), 25);
}

#[test]
fn under_load_they_are_named_once_they_are_more_than_what_is_on_its_way() {
    let mut world = World::new();
    world.settle();
    assert!(world.load(20, 0).iter().all(|seen| seen.bypassed == Some(0)));
    let seen = world.load(20, 200);
    assert!(seen.windows(2).all(|pair| pair[0].bypassed <= pair[1].bypassed), "{seen:?}");
    assert!(seen[19].bypassed.is_some_and(|count| (1..4_000).contains(&count)), "{:?}", seen[19]);
    assert_names(&world.settle(), 4_000);
}

#[test]
fn a_baseline_under_load_makes_no_false_alarm() {
    let mut world = World::new();
    assert!(world.load(12, 0).iter().all(|seen| seen.bypassed.unwrap_or(0) == 0));
    assert_names(&world.settle(), 0);
    world.directly(7);
    assert_names(&world.settle(), 7);
}

#[test]
fn a_queue_that_takes_longer_than_the_lag_is_no_bypass() {
    let mut world = World::new();
    world.settle();
    world.directly(400);
    world.app.active_requests = 400;
    for _ in 0..6 {
        world.now += Duration::from_secs(1);
        assert_eq!(world.look().bypassed, Some(0));
    }
    // They are answered just after the gateway was read.
    world.app.active_requests = 0;
    assert_eq!(world.look().bypassed, Some(0));
    if let Ok((_, sent)) = &mut world.sent {
        *sent += 400;
    }
    assert_names(&world.settle(), 0);
}

#[test]
fn a_restarted_gateway_has_a_new_baseline() {
    let mut world = World::new();
    world.settle();
    world.load(3, 0);
    world.sent = Ok((9.0, 0));
    assert_eq!(world.look().bypassed, None);
    assert_names(&world.settle(), 0);
    // The same holds if the new process has already sent more than the old one.
    world.sent = Ok((10.0, 1_000_000));
    assert_names(&world.settle(), 0);
    world.directly(2);
    assert_names(&world.settle(), 2);
}

#[test]
fn a_restarted_shard_has_a_new_baseline() {
    let mut world = World::new();
    world.settle();
    // These requests were sent, and lost when the shard ended.
    world.sent = Ok((1.0, 5_040));
    world.app = AppReading { requests_received: 0, started_at: 3.0, active_requests: 0 };
    assert_names(&world.settle(), 0);
    world.directly(5);
    assert_names(&world.settle(), 5);
}

#[test]
fn an_unreadable_gateway_is_a_cause_until_it_is_readable() {
    let mut world = World::new();
    world.settle();
    let readable = std::mem::replace(&mut world.sent, Err("no connection".to_owned()));
    let seen = world.look();
    assert_eq!((seen.bypassed, seen.gateway), (None, None));
    assert_eq!(seen.cause.as_deref(), Some("the gateway cannot be read: no connection"));
    world.sent = readable;
    world.through_gateway(10);
    world.directly(1);
    assert_names(&world.settle(), 1);
}

#[test]
fn what_the_gateway_adds_does_not_hide_a_disagreement() {
    let mut comparison = Comparison {
        agrees: Some(false),
        cause: Some("3 are missing".to_owned()),
        cause_kind: Some(CauseKind::Unseen),
        ..Comparison::default()
    };
    Cause::bypassed(2).add_to(&mut comparison);
    assert_eq!(comparison.cause_kind, Some(CauseKind::Unseen));
    assert_eq!(
        comparison.cause.as_deref(),
        Some("3 are missing; 2 requests reached the shard without the gateway")
    );
}
