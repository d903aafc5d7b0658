//! Checks breaker and retries against a model with random schedules, and simulates a shard for other models.
//!
//! The calls of a schedule meet a shard that answers, sheds, closes idle connections, resets or refuses them, freezes,
//! or answers what is not HTTP. Time passes, and an open breaker is checked.
//!
//! Checked properties:
//!
//! - The breaker opens after five calls in a row without an answer, and only then. A shed request never opens it.
//! - While it is open nothing is sent. Half-open, one call a second is.
//! - Only a read is repeated, once, and only if its connection failed before the answer. The budget bounds repetitions.
//! - Every call is counted as answered or failed, once.
//! - When the shard answers again, a check and one call close the breaker.

use axum::http::StatusCode;
use bytes::Bytes;
use hotspot::judge::Evidence;
use proptest::prelude::*;
use protocol::ShardId;
use protocol::body::BreakerState;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::call::Call;
use super::failure::Failure;
use super::retries::RetryBudget;
use super::shard_health::ShardHealth;
use crate::error::Error;

/// How a shard treats calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Answers,
    Sheds,
    /// It has closed the connection of the first attempt.
    ClosesIdle,
    /// It may have executed the request.
    Resets,
    RefusesConnections,
    /// It may have executed the request.
    Freezes,
    Garbage,
}

use Conduct::{Answers, ClosesIdle, Freezes, Garbage, RefusesConnections, Resets, Sheds};

/// Any conduct. Every second one is to answer.
pub(crate) fn conduct() -> impl Strategy<Value = Conduct> {
    let faults = [Sheds, ClosesIdle, Resets, RefusesConnections, Freezes, Garbage].map(|one| (1, Just(one)));
    prop_oneof![Just(Answers), proptest::strategy::Union::new_weighted(faults.to_vec())]
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Stored,
    NotSent,
    Unknown,
}

/// A shard with its breaker and its budget.
pub(crate) struct SimulatedShard {
    health: ShardHealth,
    retries: RetryBudget,
    pub(crate) conduct: Conduct,
}

impl Default for SimulatedShard {
    fn default() -> Self {
        let health = ShardHealth::new(1);
        health.reached(0);
        Self { health, retries: RetryBudget::default(), conduct: Answers }
    }
}

impl SimulatedShard {
    /// Time passes, and then checks are made if they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.health.pass(time);
        let is_answered = matches!(self.conduct, Answers | Sheds | ClosesIdle);
        for shard in self.health.due_for_check() {
            self.health.checked(shard, is_answered);
        }
    }

    /// Reads a value. `body` is the shard's answer at the moment of each attempt.
    pub(crate) fn read(&self, body: impl Fn() -> String) -> Result<Answer, Error> {
        self.call(true, body).0.map_err(|failure| failure.error(ShardId(0)))
    }

    /// Sends a write.
    pub(crate) fn write(&self) -> Written {
        match self.call(false, String::new).0 {
            Ok(answer) if answer.status == StatusCode::OK => Written::Stored,
            Ok(_) | Err(Failure::Refused(_)) => Written::NotSent,
            Err(_) if self.conduct == RefusesConnections => Written::NotSent,
            Err(_) => Written::Unknown,
        }
    }

    /// A call as the gateway makes it, and the number of its attempts.
    fn call(&self, is_read: bool, body: impl Fn() -> String) -> (Result<Answer, Failure>, u32) {
        let call = Call { health: &self.health, retries: &self.retries, shard: 0 };
        if let Err(refused) = call.admitted() {
            return (Err(refused), 0);
        }
        let first = self.attempt(0, &body);
        let (outcome, attempts) =
            if is_read && call.is_repeated(&first) { (self.attempt(1, &body), 2) } else { (first, 1) };
        call.ended(&outcome);
        (outcome, attempts)
    }

    fn attempt(&self, earlier: u32, body: impl Fn() -> String) -> Result<Answer, Failure> {
        let answer =
            |status| Answer { shard: ShardId(0), status, retry_after: None, body: Bytes::from(body()) };
        match self.conduct {
            ClosesIdle if earlier == 0 => Err(Failure::BeforeAnswer(String::new())),
            Answers | ClosesIdle => Ok(answer(StatusCode::OK)),
            Sheds => Ok(answer(StatusCode::SERVICE_UNAVAILABLE)),
            Resets => Err(Failure::BeforeAnswer(String::new())),
            RefusesConnections | Freezes => Err(Failure::Unavailable(String::new())),
            Garbage => Err(Failure::Unreadable(String::new())),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Conduct(Conduct),
    /// A call, a read if it is true.
    Call(bool),
    /// Milliseconds pass. They are far from the limits of the breaker, because the real time passes too.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => conduct().prop_map(Step::Conduct),
        8 => any::<bool>().prop_map(Step::Call),
        2 => prop_oneof![Just(600u64), Just(10_000)].prop_map(Step::Pass),
    ]
}

/// The model. Times are in milliseconds.
struct Model {
    now: u64,
    state: BreakerState,
    in_row: u32,
    opened: u64,
    refused: u64,
    next_trial: u64,
    next_check: u64,
    balance: u32,
    evidence: Evidence,
}

impl Model {
    /// A call. Returns its attempts.
    fn call(&mut self, conduct: Conduct, is_read: bool) -> u32 {
        let is_trial = self.state == BreakerState::HalfOpen && self.now >= self.next_trial;
        if self.state != BreakerState::Closed && !is_trial {
            self.refused += 1;
            self.evidence.failed += 1;
            return 0;
        }
        self.next_trial = if is_trial { self.now + 1_000 } else { self.next_trial };
        let breaks = matches!(conduct, ClosesIdle | Resets);
        let repeats = breaks && is_read && self.balance >= 10;
        self.balance -= if repeats { 10 } else { 0 };
        let is_answered = matches!(conduct, Answers | Sheds | Garbage) || (conduct == ClosesIdle && repeats);
        if is_answered {
            self.balance = (self.balance + 1).min(100);
            self.evidence.answered += 1;
            (self.in_row, self.state) = (0, BreakerState::Closed);
        } else {
            self.evidence.failed += 1;
            self.in_row += 1;
            self.next_trial = self.now + 1_000;
            if self.state == BreakerState::Closed && self.in_row >= 5 {
                self.opened += 1;
                self.next_check = self.now;
            }
            if self.state == BreakerState::HalfOpen || self.in_row >= 5 {
                self.state = BreakerState::Open;
            }
        }
        1 + u32::from(repeats)
    }

    fn pass(&mut self, milliseconds: u64, conduct: Conduct) {
        self.now += milliseconds;
        if self.state == BreakerState::Open && self.now >= self.next_check {
            self.next_check = self.now + 250;
            if matches!(conduct, Answers | Sheds | ClosesIdle) {
                (self.next_trial, self.state) = (0, BreakerState::HalfOpen);
            } else {
                self.evidence.failed += 1;
            }
        }
    }
}

proptest! {
    #[test]
    fn breaker_and_retries_follow_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let began = Instant::now();
        let mut shard = SimulatedShard::default();
        let mut model = Model {
            now: 0, state: BreakerState::Closed, in_row: 0, opened: 0, refused: 0, next_trial: 0, next_check: 0,
            balance: 100, evidence: Evidence::default(),
        };
        let (mut repeated, mut answered) = (0, 0);
        for step in steps {
            let mut attempts = (0, 0);
            match step {
                Step::Conduct(conduct) => shard.conduct = conduct,
                Step::Call(is_read) => attempts = (shard.call(is_read, String::new).1, model.call(shard.conduct, is_read)),
                Step::Pass(milliseconds) => {
                    shard.pass(Duration::from_millis(milliseconds));
                    model.pass(milliseconds, shard.conduct);
                }
            }
            let (evidence, breaker) = (shard.health.take()[0], shard.health.breakers().next().unwrap());
            if began.elapsed() > Duration::from_millis(200) {
                // The machine is too busy: so much time must not pass beside that of the schedule.
                return Ok(());
            }
            prop_assert_eq!(attempts.0, attempts.1, "{:?}", step);
            prop_assert_eq!((breaker.state, breaker.opened, breaker.refused), (model.state, model.opened, model.refused));
            prop_assert_eq!(evidence, std::mem::take(&mut model.evidence));
            repeated += u64::from(attempts.0 == 2);
            answered += evidence.answered;
            prop_assert!(repeated <= 10 + answered / 10, "{} repeated, {} answered", repeated, answered);
        }
        shard.conduct = Answers;
        shard.pass(Duration::from_secs(10));
        prop_assert_eq!(shard.call(true, String::new).1, 1);
        prop_assert_eq!(shard.health.breakers().next().unwrap().state, BreakerState::Closed);
    }
}
