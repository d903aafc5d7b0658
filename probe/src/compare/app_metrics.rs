//! Parses the latencies in a shard's `/metrics`.

use protocol::probe_api::{AppLatency, Bucket};

/// Extracts the two latency families from an exposition read at `taken_at`. Returns `None` when one of them is absent.
pub(crate) fn parse(taken_at: f64, text: &str) -> Option<AppLatency> {
    let mut requests: Option<u64> = None;
    let mut cumulative: Vec<(f64, u64)> = Vec::new();
    for line in text.lines() {
        if let Some(sample) = line.strip_prefix("shard_requests_total{") {
            requests = Some(requests.unwrap_or(0).checked_add(value(sample)?)?);
        } else if let Some(sample) = line.strip_prefix("shard_request_duration_seconds_bucket{") {
            let (bound, count) = (upper_bound(sample)?, value(sample)?);
            match cumulative.iter_mut().find(|(other, _)| other.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum = sum.checked_add(count)?,
                None => cumulative.push((bound, count)),
            }
        }
    }
    cumulative.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut below = 0;
    let buckets = cumulative.into_iter().map(|(bound, count)| {
        let inside = count.saturating_sub(below);
        below = count;
        let milliseconds = bound * 1e3;
        (milliseconds.is_finite().then_some(milliseconds), inside)
    });
    let latency: Vec<Bucket> = buckets.collect();
    if latency.is_empty() { None } else { Some(AppLatency { taken_at, requests: requests?, latency }) }
}
/// The value after a sample's labels.
fn value(sample: &str) -> Option<u64> {
    let (_, value) = sample.rsplit_once("} ")?;
    let value: f64 = value.split_whitespace().next()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, checked to be one")]
    (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)
}

fn upper_bound(sample: &str) -> Option<f64> {
    let (_, rest) = sample.split_once("le=\"")?;
    let (bound, _) = rest.split_once('"')?;
    // A duration is not negative. A sum with 0 turns −0 into 0, which is the same bound.
    bound.parse().ok().filter(|bound: &f64| *bound >= 0.0).map(|bound| bound + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP shard_requests_total Data requests received, counted before any check
shard_requests_total{operation="get",shard_id="1"} 12
shard_requests_total{operation="set",shard_id="1"} 3
shard_requests_shed_total{shard_id="1"} 99
shard_request_duration_seconds_bucket{operation="get",shard_id="1",le="0.0005"} 4
shard_request_duration_seconds_bucket{operation="get",shard_id="1",le="0.001"} 10
shard_request_duration_seconds_bucket{operation="get",shard_id="1",le="+Inf"} 12
shard_request_duration_seconds_sum{operation="get",shard_id="1"} 0.1
shard_request_duration_seconds_bucket{operation="set",shard_id="1",le="0.0005"} 0
shard_request_duration_seconds_bucket{operation="set",shard_id="1",le="0.001"} 3
shard_request_duration_seconds_bucket{operation="set",shard_id="1",le="+Inf"} 3
"#;

    #[test]
    fn reads_and_writes_are_added_bucket_by_bucket() {
        let latency = vec![(Some(0.5), 4), (Some(1.0), 9), (None, 2)];
        assert_eq!(parse(7.0, TEXT), Some(AppLatency { taken_at: 7.0, requests: 15, latency }));
    }

    #[test]
    fn equal_bounds_are_one_bucket_and_a_bound_without_milliseconds_is_none() {
        let bucket =
            |le: &str, count: u64| format!("shard_request_duration_seconds_bucket{{le=\"{le}\"}} {count}\n");
        let text = format!(
            "shard_requests_total{{}} 3\n{}{}{}",
            bucket("-0", 1),
            bucket("0", 1),
            bucket("1e306", 3)
        );
        assert_eq!(parse(7.0, &text).unwrap().latency, vec![(Some(0.0), 2), (None, 1)]);
    }

    #[test]
    fn what_is_no_shard_has_none() {
        for text in [
            "",
            "up 1\n",
            "shard_requests_total{shard_id=\"0\"} 1\n",
            &TEXT.replace("} 4", "} four"),
            &TEXT.replace("le=\"0.001\"", "le=\"NaN\""),
            &TEXT.replace("le=\"0.001\"", "le=\"-Inf\""),
            &TEXT.replace("} 12", "} 1e300"),
        ] {
            assert_eq!(parse(7.0, text), None, "{text}");
        }
    }
}
