//! Formats the verdict as text.

use std::fmt::Display;

use crate::judge::{Cause, Judgement, MIN_RATE, MIN_REQUESTS};
use crate::verdict::{Reason, State};

/// The text for `state` with cause `cause`. `now` is the judgement of the newest window.
pub(crate) fn sentence<K: Display + Eq>(
    state: State,
    now: &Judgement<K>,
    cause: Option<&Cause<K>>,
) -> String {
    let Some(cause) = cause else {
        let (at, share) = (now.hottest, share_of(now, now.hottest));
        let counts = match now.state {
            State::NotEnoughTraffic | State::Balanced => "is balanced".to_owned(),
            seen => format!("is balanced so far, because one window alone is {seen}"),
        };
        return format!("The load {counts}: the busiest shard, {at}, gets {share}.");
    };
    let (shard, share) = (cause.shard, share_of(now, cause.shard));
    if now.state < state {
        return format!("Shard {shard} was {state} and is cooling down: {share}.");
    }
    match (cause.reason, cause.key.as_ref()) {
        (Reason::HotKey, Some(key)) => {
            format!("Shard {shard} is {state}: {share}. Key {} {}", quoted(key), remedy(now, key))
        }
        _ => format!("Shard {shard} is {state}: {share}. Many warm keys share it. {}.", rehash(now)),
    }
}

/// The sentence for a shard that is down.
pub(crate) fn down(shard: usize, failures: u64) -> String {
    format!("Shard {shard} is down: {failures} requests or health checks failed since its last answer.")
}

/// The sentence when no window can be judged.
pub(crate) fn too_few(state: State, requests: u64, seconds: f64) -> String {
    let window = window(requests, seconds);
    match state {
        State::NotEnoughTraffic => {
            format!(
                "Not enough traffic to judge: {window}; at least {MIN_REQUESTS} and {MIN_RATE} a second are needed."
            )
        }
        held => format!("The last verdict, {held}, expires: {window} are not enough to judge."),
    }
}

/// The hot key's share, and whether another placement can help.
fn remedy<K: Eq>(now: &Judgement<K>, key: &K) -> String {
    let rehash = rehash(now);
    match (now.top.as_ref(), copies(now)) {
        (Some((top, share)), copies) if top == key => {
            let copies = copies
                .map_or_else(String::new, |copies| format!("; at least {copies} copies of the key would"));
            format!("alone is {} of all requests. {rehash}{copies}.", percent(*share))
        }
        // Another key on another shard is at least as hot.
        _ => format!("causes it. {rehash}."),
    }
}

fn rehash<K>(now: &Judgement<K>) -> &'static str {
    if copies(now).is_some() { "Re-hashing or splitting cannot fix this" } else { "Re-hashing can help" }
}

/// The minimum number of copies of the top key that can balance the load: ⌈n·p₁⌉, when n·p₁ > 1.
fn copies<K>(now: &Judgement<K>) -> Option<f64> {
    let (_, p1) = now.top.as_ref()?;
    let n_p1 = now.judged as f64 * p1;
    (n_p1 > 1.0).then(|| n_p1.ceil())
}

fn share_of<K>(now: &Judgement<K>, shard: usize) -> String {
    let share = now.shares.get(shard).copied().unwrap_or(0.0);
    format!(
        "{} of {}, {:.2} times its fair share",
        percent(share),
        window(now.requests, now.seconds),
        share * now.judged as f64
    )
}

pub(crate) fn window(requests: u64, seconds: f64) -> String {
    format!("{} requests in {seconds:.0} s", thousands(requests))
}

/// Formats a number with a comma between groups of three digits.
fn thousands(number: u64) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (groups, rest) => format!("{},{rest:03}", thousands(groups)),
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Formats a key in quotes with control characters escaped: a key may be any text.
pub(crate) fn quoted(key: &impl Display) -> String {
    format!("{:?}", key.to_string())
}
