//! Tests the common basis of all experiments.
//!
//! - Application and kernel read a window of a stream exactly.
//! - Runs are refused when they should be.
//! - One experiment runs from its trials to its page.

use lab_tests::kernel;
use measure::experiment::figure::FigureVerdict;
use measure::experiment::report::ExperimentReport;
use measure::experiment::rig::{PROFILE, Reading, Rig, nothing};
use measure::experiment::trials::{Order, Plan, Trials};
use measure::experiment::window::Stream;
use measure::experiment::{Chart, Experiment};
use serde_json::json;

const STREAM: Stream = Stream { rate: 200.0, keys: 50, exponent: 0.99, warm: 1.0, measured: 2.0 };
const QUICK: Plan = Plan { repetitions: 1, seed: 1, quick: true };
/// Maximum number of attempts for a run that a busy machine delays.
const ATTEMPTS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_read_by_both_witnesses_and_refused_for_a_reason() {
    if !kernel::available("a_window_is_read_by_both_witnesses_and_refused_for_a_reason") {
        return;
    }
    let rig = Rig::start(&[], &[], false).await;
    rig.mitigate(&nothing()).await.unwrap();
    let mut refused = 0;
    let (before, window) = loop {
        let before = rig.read_at_rest().await.unwrap();
        match STREAM.send(&rig, 1, async || Ok(())).await {
            Ok(window) => break (before, window),
            // On a busy machine the generator refuses to report.
            Err(why) => assert!(why.contains("no report: "), "{why}"),
        }
        refused += 1;
        assert!(refused < ATTEMPTS, "this machine is too busy for 200 requests/s");
    };
    let (all, whole) = (window.all(), rig.read_at_rest().await.unwrap().since(&before));
    assert_eq!(whole.app, whole.kernel);
    assert_eq!(whole.app.iter().sum::<u64>(), whole.offered);
    let [one, two] = window.halves();
    assert_eq!(one.offered + two.offered, all.offered);
    assert!(all.offered > 0 && all.offered < window.report.sent, "{all:?}");
    assert!(Reading::is_steady(&[one.clone(), one]).is_ok());
    assert_eq!(whole.hit_ratio(), [0.0; 2], "no cache");

    let why = STREAM.send(&rig, 1, async || Err("not settled".to_owned())).await.unwrap_err();
    assert!(why == "not settled" || why.contains("no report: "), "{why}");
    let refused = rig.load(&["stream", "--rate", "1", "--duration", "1"]).await.unwrap_err();
    assert!(refused.contains("answers, at least"), "{refused}");
    let refused = rig.mitigate(&json!({"cache": "some"})).await.unwrap_err();
    assert!(refused.starts_with("/admin/mitigation is 400"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_that_cannot_keep_up_gives_no_number() {
    if !kernel::available("a_lab_that_cannot_keep_up_gives_no_number") {
        return;
    }
    let rig = Rig::start(&PROFILE, &[], false).await;
    // Four shards of the profile answer about 500 requests per second.
    let too_fast = Stream { rate: 3_000.0, ..STREAM };
    let run = async |_, seed| too_fast.send(&rig, seed, async || Ok(())).await;
    let trials = Trials::run(QUICK, Order::Shuffled, &["too fast"], &|_| {}, run).await;
    assert_eq!(trials.of("too fast").count(), 0);
    assert_eq!(trials.lacking("too fast").as_deref(), Some("0 of 1 runs are valid"));
    assert_eq!(trials.refusals.len(), 2, "tried once more: {:?}", trials.refusals);
    let is_reason = |why: &String| why.contains("no report: ") || why.contains("requests failed");
    assert!(trials.refusals.iter().all(is_reason), "{:?}", trials.refusals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_experiment_gives_each_figure_by_every_witness_or_says_why_not() {
    if !kernel::available("a_quick_experiment_gives_each_figure_by_every_witness_or_says_why_not") {
        return;
    }
    let experiment = Experiment::Shares;
    let outcome = experiment.run(QUICK, &|_| {}).await;
    assert_eq!(outcome.figures.len(), 23, "four shards and max/mean of four loads, and three hottest keys");
    for figure in &outcome.figures {
        match figure.verdict() {
            FigureVerdict::Holds => {
                assert_eq!((figure.app.len(), &figure.app), (1, &figure.kernel), "{figure:?}");
                assert!(figure.predicted.is_some(), "{figure:?}");
            }
            FigureVerdict::Refused => assert!(!outcome.refusals.is_empty(), "{figure:?}"),
            other => panic!("{other:?}: {figure:?}"),
        }
    }
    // The closed loop of the first three loads adapts to any machine's speed.
    assert!(outcome.figures[..17].iter().all(|figure| figure.refused.is_none()), "{:?}", outcome.refusals);
    assert!(outcome.charts.iter().all(|chart: &Chart| chart.rows.len() == 19), "{:?}", outcome.charts);
    let report =
        ExperimentReport { experiment, plan: QUICK, outcome, seconds: 1.0, load_before: "0.1".into() };
    let [page, picture] = &report.files()[..] else { panic!("a page and its picture") };
    assert!(page.content.contains("cargo xtask experiment shares --repetitions 1 --seed 1 --quick"));
    assert!(page.content.contains("| Zipf 1.5: user-0 | 39.23 % |"), "{}", page.content);
    assert!(picture.content.starts_with("<svg ") && picture.content.ends_with("</svg>\n"));
}
