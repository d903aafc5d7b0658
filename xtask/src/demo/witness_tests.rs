use super::super::samples::{
    agreeing, agreeing_comparison, agreeing_readings, caching_report, celebrity_report,
};
use super::{ScenarioOutcome, binomial_z, poisson_z};

#[test]
fn equal_integers_and_near_shares_agree() {
    let outcome = agreeing("celebrity", celebrity_report());
    assert!(outcome.agrees(), "{outcome:?}");
    let hot = &outcome.shards[0];
    assert_eq!((hot.generator, hot.app, hot.difference()), (1604, 1604, Some(0)));
    assert_eq!(hot.kernel.map(super::Kernel::payload_bytes), Some(1604 * 400));
    assert_eq!(outcome.busiest().map(|shard| shard.shard_id), Some(0));
}

#[test]
fn one_request_more_in_the_kernel_is_a_difference() {
    let report = celebrity_report();
    let (before, mut after) = agreeing_readings(&report);
    if let Some(kernel) = &mut after.kernel {
        kernel[2].requests += 1;
    }
    let outcome = ScenarioOutcome::new("celebrity", report, &before, &after, Some(agreeing_comparison()));
    assert!(!outcome.counts_agree());
    assert!(!outcome.agrees());
    assert_eq!(outcome.shards[2].difference(), Some(1));
    assert!(outcome.theory_agrees(), "only the counts differ");
}

#[test]
fn one_request_less_at_the_application_is_a_difference_even_without_the_kernel() {
    let report = celebrity_report();
    let (mut before, mut after) = agreeing_readings(&report);
    (before.kernel, after.kernel) = (None, None);
    let whole = ScenarioOutcome::new("celebrity", report.clone(), &before, &after, None);
    assert!(whole.agrees(), "the kernel is not missed");
    assert_eq!(whole.shards[0].difference(), None);
    after.app[3] -= 1;
    let short = ScenarioOutcome::new("celebrity", report, &before, &after, None);
    assert!(!short.agrees());
}

#[test]
fn an_answer_without_a_shard_is_a_difference() {
    let mut report = celebrity_report();
    report.answered += 1;
    assert!(!agreeing("celebrity", report).counts_agree());
}

#[test]
fn a_share_beyond_four_standard_errors_disagrees_with_theory() {
    let mut report = celebrity_report();
    report.shards[0].predicted_share = 0.90;
    let outcome = agreeing("celebrity", report);
    assert!(!outcome.theory_agrees());
    assert!(outcome.counts_agree(), "only theory disagrees");
}

#[test]
fn a_cache_that_lets_too_much_through_disagrees_with_theory() {
    assert!(agreeing("with-caching", caching_report()).agrees());
    let mut leaky = caching_report();
    leaky.shards[0].upstream_requests += 200;
    let outcome = agreeing("with-caching", leaky);
    assert!(outcome.counts_agree(), "all counted the same");
    assert!(!outcome.theory_agrees());
}

#[test]
fn a_comparison_without_a_verdict_is_no_agreement() {
    let report = celebrity_report();
    let (before, after) = agreeing_readings(&report);
    let mut undecided = agreeing_comparison();
    undecided[1].of_shard.agrees = None;
    assert!(
        !ScenarioOutcome::new("celebrity", report.clone(), &before, &after, Some(undecided)).compare_agrees()
    );
    let mut short = agreeing_comparison();
    short.pop();
    assert!(!ScenarioOutcome::new("celebrity", report, &before, &after, Some(short)).compare_agrees());
}

#[test]
fn standard_scores_are_the_textbooks() {
    // sqrt(0.5 * 0.5 / 100) = 0.05
    assert!((binomial_z(60, 100, 0.5) - 2.0).abs() < 1e-9);
    assert!((poisson_z(120, 100.0) - 2.0).abs() < 1e-9);
    assert!(binomial_z(1, 100, 0.0).is_infinite(), "the impossible is infinitely far away");
    assert_eq!(binomial_z(0, 100, 0.0).to_bits(), 0.0_f64.to_bits());
}

#[test]
fn the_hot_shards_p95_is_set_against_the_others_median() {
    let outcome = agreeing("celebrity", celebrity_report());
    assert_eq!(outcome.p95_over_others(0), Some((26.0, 17.5)));
    let mut silent = celebrity_report();
    silent.shards[1].p95_ms = None;
    assert_eq!(agreeing("celebrity", silent).p95_over_others(0), None);
}

#[test]
fn the_kernel_must_have_seen_every_read_of_the_hottest_key_but_for_a_cache() {
    let mut outcome = agreeing("celebrity", celebrity_report());
    assert!(outcome.hottest_key_agrees(), "the kernel is not missed");
    outcome.kernel_hottest = Some(1_500);
    assert!(outcome.agrees());
    outcome.kernel_hottest = Some(1_499);
    assert!(!outcome.agrees() && outcome.counts_agree());
    let mut cached = agreeing("with-caching", caching_report());
    cached.kernel_hottest = Some(1);
    assert!(cached.agrees());
}
