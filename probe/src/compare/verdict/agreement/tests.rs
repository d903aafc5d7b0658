//! Compares two witnesses second by second.

use hotspot::detector::Detector;
use hotspot::judge::{KeyLoad, Observation};

use super::*;

/// The verdict of a new detector on these requests. Shard 0's requests all have one key.
fn verdict(requests: [u64; 4]) -> Verdict<String> {
    let keys = vec![KeyLoad { key: "celebrity".to_owned(), shard: 0, requests: requests[0] }];
    let observation = Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() };
    Detector::default().observe(&observation, &observation)
}

fn balanced() -> Verdict<String> {
    verdict([250; 4])
}

fn critical() -> Verdict<String> {
    verdict([820, 60, 60, 60])
}

/// The results for these pairs of verdicts, one pair a second.
fn outcomes(
    seconds: &[(Verdict<String>, Verdict<String>)],
) -> Vec<(Option<bool>, Option<VerdictDifference>)> {
    let mut agreement = Agreement::default();
    let seconds = (1..).zip(seconds.iter().cloned()).map(|(at, (kernel, gateway))| {
        let outcomes = agreement.observe(Duration::from_secs(at), at as f64, Ok(kernel), Some(Ok(gateway)));
        assert_eq!(outcomes.cause.is_some(), outcomes.cause_kind.is_some());
        (outcomes.agree, outcomes.cause_kind)
    });
    seconds.collect()
}

#[test]
fn the_same_verdict_agrees_whatever_its_figures() {
    let other = verdict([830, 50, 60, 60]);
    assert_eq!(outcomes(&[(balanced(), balanced()), (critical(), other)]), [(Some(true), None); 2]);
}

#[test]
fn one_may_be_ahead_of_the_other_by_some_seconds() {
    let changing = (Some(true), Some(VerdictDifference::Changing));
    let seconds = [
        (balanced(), balanced()),
        (critical(), balanced()),
        (critical(), critical()),
        (critical(), balanced()),
        (balanced(), balanced()),
    ];
    let same = (Some(true), None);
    assert_eq!(outcomes(&seconds), [same, changing, same, changing, same]);
}

#[test]
fn what_lasts_is_a_disagreement() {
    let mut seconds = vec![(balanced(), balanced())];
    seconds.extend((0..12).map(|_| (critical(), balanced())));
    let outcomes = outcomes(&seconds);
    // For five seconds the gateway reports the kernel's earlier verdict.
    assert_eq!(outcomes[5], (Some(true), Some(VerdictDifference::Changing)));
    assert_eq!(outcomes[12], (Some(false), Some(VerdictDifference::Unexplained)));
    let first = outcomes.iter().position(|(agree, _)| *agree == Some(false));
    assert_eq!(first, Some(6), "{outcomes:?}");
}

#[test]
fn a_difference_from_the_start_is_not_called_one_at_once() {
    let outcomes = outcomes(&vec![(critical(), balanced()); 8]);
    assert_eq!(outcomes[0], (None, Some(VerdictDifference::Changing)));
    assert_eq!(outcomes[4], (None, Some(VerdictDifference::Changing)));
    assert_eq!(outcomes[5].0, Some(false));
}

#[test]
fn the_same_figure_on_both_sides_of_a_threshold_is_no_disagreement() {
    // The lower bounds are 1.24 and 1.18.
    let warm = |requests: [u64; 4]| {
        let keys = vec![KeyLoad { key: "celebrity".to_owned(), shard: 0, requests: requests[0] }];
        let observation =
            Observation { requests: requests.to_vec(), keys, seconds: 1.0, evidence: Vec::new() };
        let mut detector = Detector::default();
        (0..3).map(|_| detector.observe(&observation, &observation)).last().unwrap()
    };
    let (above, below) = (warm([360, 214, 213, 213]), warm([345, 219, 218, 218]));
    assert_eq!((above.state, below.state), (State::Warm, State::Balanced));
    assert_eq!(
        outcomes(&vec![(above.clone(), below); 9]),
        [(Some(true), Some(VerdictDifference::Threshold)); 9]
    );
    assert_eq!(outcomes(&vec![(above, balanced()); 9])[8].0, Some(false));
    // 98 and 102 requests.
    let few = outcomes(&vec![(verdict([24, 25, 25, 24]), verdict([26, 26, 25, 25])); 9]);
    assert_eq!(few, [(Some(true), Some(VerdictDifference::Threshold)); 9]);
}

#[test]
fn the_cause_is_named() {
    let last = |kernel: Verdict<String>, gateway: Verdict<String>| outcomes(&vec![(kernel, gateway); 7])[6];
    let double = verdict([1_640, 120, 120, 120]);
    assert_eq!(last(double, balanced()), (Some(false), Some(VerdictDifference::Bypassed)));
    assert_eq!(last(balanced(), verdict([2_000, 0, 0, 0])), (Some(false), Some(VerdictDifference::Unseen)));
    let of_writes =
        Observation { requests: vec![820, 60, 60, 60], keys: Vec::new(), seconds: 1.0, evidence: Vec::new() };
    let of_writes = Detector::default().observe(&of_writes, &of_writes);
    assert_eq!(last(of_writes, critical()), (Some(false), Some(VerdictDifference::Writes)));
}

#[test]
fn without_one_of_them_there_is_no_agreement() {
    let mut agreement = Agreement::default();
    let at = Duration::from_secs(1);
    let alone = agreement.observe(at, 1.0, Ok(critical()), None);
    assert_eq!((alone.agree, alone.cause_kind), (None, Some(VerdictDifference::NoGateway)));
    assert!(alone.kernel.is_some() && alone.gateway.is_none());
    let silent = agreement.observe(at, 1.0, Ok(critical()), Some(Err("no connection".to_owned())));
    assert_eq!((silent.agree, silent.cause_kind), (None, Some(VerdictDifference::GatewayUnreadable)));
    assert_eq!(silent.cause.as_deref(), Some("no verdict from the gateway: no connection"));
    let blind = agreement.observe(at, 1.0, Err("shard 1 …".to_owned()), Some(Ok(critical())));
    assert_eq!((blind.agree, blind.cause_kind), (None, Some(VerdictDifference::KernelBlind)));
    assert!(blind.kernel.is_none() && blind.gateway.is_some());
}
