//! Summarises a scenario in one sentence with measured numbers.

use super::witness::{ScenarioOutcome, Shard, ratio};

/// Without the cache, the hot shard's p95 must be at least this multiple of the others' median p95.
const HURTS: f64 = 1.30;

/// With the cache, it must be at most this multiple.
const HEALED: f64 = 1.05;

/// The summary of `outcome`.
pub(crate) fn sentence(outcome: &ScenarioOutcome) -> String {
    match (&outcome.reached, outcome.scenario) {
        (Some(_), _) => caching(outcome),
        (None, "uniform") => uniform(outcome),
        (None, _) => hot(outcome),
    }
}

fn uniform(outcome: &ScenarioOutcome) -> String {
    let mut shards: Vec<&Shard> = outcome.shards.iter().collect();
    shards.sort_by(|one, other| one.share.total_cmp(&other.share));
    let (Some(least), Some(most)) = (shards.first(), shards.last()) else { return String::new() };
    format!(
        "no shard is hot: the shares go from {} % (shard {}, predicted {} %) to {} % (shard {}, predicted {} %), \
         as every key is expected to be {} of all requests",
        percent(least.share),
        least.shard_id,
        percent(least.predicted_share),
        percent(most.share),
        most.shard_id,
        percent(most.predicted_share),
        hottest(outcome).map_or_else(|| "little".to_owned(), |(_, _, predicted)| format!("{predicted} %")),
    )
}

fn hot(outcome: &ScenarioOutcome) -> String {
    let Some(busiest) = outcome.busiest() else { return String::new() };
    let mut text = format!(
        "shard {} gets {} % of all requests (predicted {} %)",
        busiest.shard_id,
        percent(busiest.share),
        percent(busiest.predicted_share)
    );
    if let Some((key, share, predicted)) = hottest(outcome) {
        text.push_str(&format!(
            ", because one key, `{key}`, is {share} % of all requests (predicted {predicted} %)"
        ));
    }
    text
}

fn caching(outcome: &ScenarioOutcome) -> String {
    let Some(reached) = &outcome.reached else { return String::new() };
    format!(
        "with the cache on, {:.1} of {:.0} requests/s still reach a shard (predicted {:.1} from a cold cache over {:.0} s, \
         {:.1} once steady)",
        reached.per_second,
        outcome.load.offered_per_second.unwrap_or_default(),
        reached.predicted.cold_start,
        outcome.load.duration_seconds,
        reached.predicted.steady
    )
}

/// The hottest key, with its measured and predicted share in percent.
fn hottest(outcome: &ScenarioOutcome) -> Option<(&str, String, String)> {
    let key = outcome.load.hottest_key.as_ref()?;
    Some((&key.key, percent(ratio(key.sent, outcome.load.sent)), percent(key.predicted_share)))
}

/// Whether the hot shard is slower without the cache and no longer with it. Compares the generator's p95 latencies.
pub(crate) fn hot_shard_hurts(without: &ScenarioOutcome, with: &ScenarioOutcome) -> Option<String> {
    let hot = without.busiest()?.shard_id;
    let (own, others) = without.p95_over_others(hot)?;
    let (healed, healed_others) = with.p95_over_others(hot)?;
    let line = |name: &str, own: f64, others: f64, holds: bool, wanted: &str| {
        let sign = if holds { "✓" } else { "–" };
        let times = own / others;
        format!(
            "{sign} {name:<12}  shard {hot}: {own:5.1} ms, median of the others: {others:5.1} ms; {times:.2} times (expected: {wanted})"
        )
    };
    let hurts = line("celebrity", own, others, own >= HURTS * others, &format!("at least {HURTS:.2}"));
    let heals = line(
        "with-caching",
        healed,
        healed_others,
        healed <= HEALED * healed_others,
        &format!("at most {HEALED:.2}"),
    );
    let title = "The hot shard is slower, and the cache removes the difference (p95 at the load generator; short runs vary):";
    Some(format!("{title}\n{hurts}\n{heals}"))
}

/// A share as percent with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::{hot_shard_hurts, sentence};
    use crate::demo::samples::{agreeing, caching_report, celebrity_report};

    #[test]
    fn the_celebrity_is_named_with_measured_and_predicted_shares() {
        assert_eq!(
            sentence(&agreeing("celebrity", celebrity_report())),
            "shard 0 gets 82.3 % of all requests (predicted 82.1 %), because one key, `celebrity-user-kardashian`, \
             is 76.9 % of all requests (predicted 76.9 %)"
        );
    }

    #[test]
    fn the_cache_is_described_by_what_still_reaches_a_shard() {
        assert_eq!(
            sentence(&agreeing("with-caching", caching_report())),
            "with the cache on, 19.8 of 130 requests/s still reach a shard (predicted 19.8 from a cold cache over 15 s, \
             6.5 once steady)"
        );
    }

    #[test]
    fn uniform_load_names_both_ends() {
        let text = sentence(&agreeing("uniform", celebrity_report()));
        assert!(text.starts_with("no shard is hot: the shares go from 5.6 % (shard 1"), "{text}");
        assert!(text.contains("to 82.3 % (shard 0, predicted 82.1 %)"), "{text}");
    }

    #[test]
    fn a_hot_shards_latency_is_compared_with_and_without_the_cache() {
        let text = hot_shard_hurts(
            &agreeing("celebrity", celebrity_report()),
            &agreeing("with-caching", caching_report()),
        )
        .expect("all shards answered");
        assert!(text.contains("1.49 times"), "{text}");
        assert!(text.contains("1.00 times"), "{text}");
    }
}
