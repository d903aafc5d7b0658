//! Repetitions of an experiment's arms: their order, seeds and results.

use futures_util::future::join_all;
use std::cell::Cell;
use std::fmt;

use super::ExperimentOutcome;
use super::chart::Chart;
use super::figure::{Figure, Unit};

/// Number of repetitions, seed and size.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs of each arm.
    pub repetitions: u32,
    /// Determines all orders and keys.
    pub seed: u64,
    /// Whether runs are small and take only seconds. Their results may differ more from the prediction.
    pub quick: bool,
}

impl Plan {
    /// Returns `quick` in a quick run, else `full`.
    pub(crate) fn sized<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Returns how far a share may be from its prediction. A full run allows one percentage point. A quick run allows
    /// three, which are four standard errors of a half with 5,000 requests.
    pub(crate) fn allowed(self) -> f64 {
        self.sized(0.01, 0.03)
    }
}

/// How the arms of one repetition are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, in an order that the seed determines.
    Shuffled,
    /// All at the same time, each in its own lab, for loads that leave the machine mostly idle.
    SideBySide,
}

/// Results of all runs.
#[derive(Debug)]
pub struct Trials<A, M> {
    runs: Vec<(A, M)>,
    /// Each run without a number: its arm, its repetition and the reason.
    pub refusals: Vec<String>,
    /// The plan of the runs.
    pub(crate) plan: Plan,
}

impl<A: Copy + PartialEq + fmt::Display, M> Trials<A, M> {
    /// Runs every arm in every repetition. All arms of a repetition use the same seed. A refused run is repeated
    /// once, because a disturbance may pass. There are at most as many such repeats as arms, which bounds the total
    /// time.
    pub async fn run(
        plan: Plan,
        order: Order,
        arms: &[A],
        progress: &impl Fn(&str),
        run: impl AsyncFn(A, u64) -> Result<M, String>,
    ) -> Self {
        let mut trials = Self { runs: Vec::new(), refusals: Vec::new(), plan };
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let again = Cell::new(arms.len());
        for repetition in 1..=plan.repetitions {
            let seed = plan.seed.wrapping_mul(1_000).wrapping_add(u64::from(repetition));
            let mut turn = arms.to_vec();
            random.shuffle(&mut turn);
            let tried = async |arm: A| match run(arm, seed).await {
                Ok(measured) => (arm, Ok(measured), None),
                Err(first) if again.get() > 0 => {
                    again.set(again.get() - 1);
                    (arm, run(arm, seed).await, Some(first))
                }
                Err(only) => (arm, Err(only), None),
            };
            let report =
                |arms: &str| progress(&format!("repetition {repetition} of {}: {arms}", plan.repetitions));
            if order == Order::SideBySide {
                report(&turn.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
                let all = join_all(turn.into_iter().map(tried)).await;
                all.into_iter()
                    .for_each(|(arm, outcome, first)| trials.take(arm, repetition, outcome, first, progress));
            } else {
                for arm in turn {
                    report(&arm.to_string());
                    let (arm, outcome, first) = tried(arm).await;
                    trials.take(arm, repetition, outcome, first, progress);
                }
            }
        }
        trials
    }

    fn take(
        &mut self,
        arm: A,
        repetition: u32,
        outcome: Result<M, String>,
        first: Option<String>,
        progress: &impl Fn(&str),
    ) {
        let refusals = first.into_iter().chain(outcome.as_ref().err().cloned());
        for why in refusals {
            let why = format!("{arm}, repetition {repetition}: {why}");
            progress(&why);
            self.refusals.push(why);
        }
        if let Ok(measured) = outcome {
            self.runs.push((arm, measured));
        }
    }

    /// Returns the measurements of an arm's runs.
    pub fn of(&self, arm: A) -> impl Iterator<Item = &M> {
        self.runs.iter().filter(move |(other, _)| *other == arm).map(|(_, measured)| measured)
    }

    /// Adds an arm's values to a figure, by application and kernel. Without a number if a run is missing.
    pub(crate) fn measured(&self, arm: A, figure: Figure, of: impl Fn(&M) -> [f64; 2]) -> Figure {
        let [app, kernel] = [0, 1].map(|witness| self.of(arm).map(|run| of(run)[witness]).collect());
        figure.seen(app, kernel).refused_if(self.lacking(arm))
    }

    /// Like [`measured`](Self::measured), for a figure that the kernel cannot measure.
    pub(crate) fn by_app(&self, arm: A, figure: Figure, of: impl Fn(&M) -> f64) -> Figure {
        figure.seen(self.of(arm).map(of).collect(), Vec::new()).refused_if(self.lacking(arm))
    }

    /// Returns the outcome, with a chart of the figures in a unit: its title and its axis.
    pub(crate) fn outcome(
        self,
        method: String,
        figures: Vec<Figure>,
        (title, axis, unit): (&str, &str, Unit),
    ) -> ExperimentOutcome {
        let charts = vec![Chart::of(title, axis, unit, &figures)];
        ExperimentOutcome { method, figures, charts, refusals: self.refusals, ..ExperimentOutcome::default() }
    }

    /// Returns the reason if an arm has no number because a run is missing.
    pub fn lacking(&self, arm: A) -> Option<String> {
        let complete = self.of(arm).count();
        let planned = self.plan.repetitions;
        (complete < planned as usize).then(|| format!("{complete} of {planned} runs are valid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const PLAN: Plan = Plan { repetitions: 5, seed: 7, quick: false };

    #[tokio::test]
    async fn arms_share_seeds_and_take_turns_in_an_order_that_repeats() {
        let order = async || {
            let seen = RefCell::new(Vec::new());
            Trials::run(PLAN, Order::Shuffled, &["a", "b", "c"], &|_| {}, async |arm, seed| {
                seen.borrow_mut().push((arm, seed));
                Ok(seed)
            })
            .await;
            seen.into_inner()
        };
        let seen = order().await;
        assert_eq!(seen, order().await);
        for three in seen.chunks(3) {
            let mut arms: Vec<_> = three.iter().map(|(arm, _)| *arm).collect();
            assert!(three.iter().all(|(_, seed)| *seed == three[0].1), "{three:?}");
            arms.sort_unstable();
            assert_eq!(arms, ["a", "b", "c"]);
        }
        assert!(seen.chunks(3).any(|three| three[0].0 != "a"), "{seen:?}");
    }

    #[tokio::test]
    async fn refused_runs_are_made_once_more_as_often_as_there_are_arms_and_then_missing() {
        let left = RefCell::new(2);
        let trials = Trials::run(PLAN, Order::SideBySide, &["a"], &|_| {}, async |_, seed| {
            *left.borrow_mut() -= 1;
            if *left.borrow() >= 0 { Err("busy".to_owned()) } else { Ok(seed) }
        })
        .await;
        assert_eq!(trials.of("a").count(), 4, "{:?}", trials.refusals);
        assert_eq!(trials.refusals, ["a, repetition 1: busy"; 2]);
        assert_eq!(trials.lacking("a").as_deref(), Some("4 of 5 runs are valid"));
    }
}
