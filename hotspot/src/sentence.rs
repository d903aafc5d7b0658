//! The verdict in one sentence for people.

use std::fmt::Display;

use crate::judge::{Cause, Judgement, MIN_REQUESTS};
use crate::verdict::{Reason, State};

/// What is said of `state` when the newest window says `now` and the state blames `cause`.
pub(crate) fn sentence<K: Display + Eq>(
    state: State,
    now: &Judgement<K>,
    cause: Option<&Cause<K>>,
) -> String {
    let Some(cause) = cause else {
        let (at, gets) = (now.skew.largest, share_of(now, now.skew.largest));
        return match now.state {
            State::NotEnoughTraffic | State::Balanced => {
                format!("The load is balanced: the busiest shard, {at}, {gets}.")
            }
            seen => {
                format!("The load counts as balanced until {seen} lasts: the busiest shard, {at}, {gets}.")
            }
        };
    };
    let (shard, gets) = (cause.shard, share_of(now, cause.shard));
    if now.state < state {
        return format!("Shard {shard} was {state} and is cooling down: it {gets}.");
    }
    match (cause.reason, cause.key.as_ref()) {
        (Reason::ShardDown, _) => format!("Shard {shard} looks down: it {gets}."),
        (Reason::HotKey, Some(key)) => {
            format!(
                "Shard {shard} is {state}: it {gets}, for it carries key {}{}.",
                quoted(key),
                remedy(now, key)
            )
        }
        _ => format!("Shard {shard} is {state}: it {gets}, for many warm keys met on it{}.", placement(now)),
    }
}

/// What is said when no window can be judged.
pub(crate) fn too_few(state: State, requests: u64, seconds: f64) -> String {
    let window = window(requests, seconds);
    match state {
        State::NotEnoughTraffic => {
            format!("Not enough traffic to judge: {window}, and {MIN_REQUESTS} are needed.")
        }
        held => format!("The last verdict, {held}, fades: {window} are not enough to judge."),
    }
}

/// The hot key's share, and whether another placement can help.
fn remedy<K: Eq>(now: &Judgement<K>, key: &K) -> String {
    match now.top.as_ref() {
        Some((top, share)) if top == key => {
            let share_text = percent(*share);
            match copies(now) {
                Some(copies) => format!(
                    " ({share_text} of all requests); no re-hash or split can balance this, at least {copies} copies of \
                     that key are needed"
                ),
                None => format!(" ({share_text} of all requests); a re-hash can help"),
            }
        }
        // Another key is as hot, on another shard.
        _ => copies(now).map_or_else(String::new, |_| "; no re-hash or split can balance this".to_owned()),
    }
}

fn placement<K>(now: &Judgement<K>) -> &'static str {
    if copies(now).is_some() { "; no re-hash or split can balance this" } else { "; a re-hash can help" }
}

/// The least number of copies of the top key with which the load can be balanced: ⌈n·p₁⌉, when n·p₁ > 1.
fn copies<K>(now: &Judgement<K>) -> Option<f64> {
    let (_, p1) = now.top.as_ref()?;
    let n_p1 = now.shares.len() as f64 * p1;
    (n_p1 > 1.0).then(|| n_p1.ceil())
}

fn share_of<K>(now: &Judgement<K>, shard: usize) -> String {
    let share = now.shares.get(shard).copied().unwrap_or(0.0);
    format!(
        "gets {:.2} times its fair share ({} of {})",
        share * now.shares.len() as f64,
        percent(share),
        window(now.requests, now.seconds)
    )
}

pub(crate) fn window(requests: u64, seconds: f64) -> String {
    format!("{requests} requests in {seconds:.0} s")
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// In quotes and with control characters escaped: keys are any text.
pub(crate) fn quoted(key: &impl Display) -> String {
    format!("{:?}", key.to_string())
}
