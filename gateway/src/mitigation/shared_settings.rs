//! The newest change of each setting, from all gateways.
//!
//! Each setting keeps its last value with a stamp. A gateway takes over the values of another that have a later stamp.
//! So gateways that exchange their settings end with the same ones, in whatever order and however often they do.
//!
//! A stamp is a time and the number of a gateway. The time is this gateway's clock, and later than all times that it has
//! seen. So a change that follows another is newer even if the clocks of the gateways differ.

use protocol::ErrorKind;
use protocol::body::{PeerState, StampedValue};
use serde_json::{Map, Value};
use service::problem::Problem;
use std::collections::BTreeMap;

use super::settings::{NAMES, RESET, checked};

/// How far a stamp may be ahead of this gateway's clock, in milliseconds: a day. A stamp in a distant future could never
/// be followed by a newer one.
const AHEAD_MAX_MS: u64 = 86_400_000;

/// Settings by name, each with its stamp.
pub(crate) type Stamped = BTreeMap<String, StampedValue>;

/// The settings that were ever changed, each with its newest value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SharedSettings(Stamped);

impl SharedSettings {
    /// Records values that this gateway has received, with a stamp later than all known ones.
    pub(crate) fn record(&mut self, values: Map<String, Value>, now_ms: u64, gateway: u64) {
        let seen = self.0.values().map(|value| value.time_ms).max();
        let time_ms = seen.map_or(now_ms, |seen| now_ms.max(seen.saturating_add(1)));
        let stamped = |(name, value)| (name, StampedValue { value, time_ms, gateway });
        self.0.extend(values.into_iter().map(stamped));
    }

    /// Takes over the values of another gateway that are newer. Returns these.
    pub(crate) fn merge(&mut self, theirs: &Stamped) -> Stamped {
        let is_news = |(name, value): &(&String, &StampedValue)| {
            self.0.get(*name).is_none_or(|ours| stamp(value) > stamp(ours))
        };
        let news: Stamped =
            theirs.iter().filter(is_news).map(|(name, value)| (name.clone(), value.clone())).collect();
        self.0.extend(news.clone());
        news
    }

    /// Whether a gateway with `theirs` has all of these settings, or newer ones.
    pub(crate) fn hold_at(&self, theirs: &Stamped) -> bool {
        self.0.iter().all(|(name, ours)| theirs.get(name).is_some_and(|value| stamp(value) >= stamp(ours)))
    }

    pub(crate) fn all(&self) -> &Stamped {
        &self.0
    }
}

fn stamp(value: &StampedValue) -> (u64, u64) {
    (value.time_ms, value.gateway)
}

/// The values by name.
pub(super) fn values(settings: &Stamped) -> Map<String, Value> {
    settings.iter().map(|(name, stamped)| (name.clone(), stamped.value.clone())).collect()
}

/// Parses the settings of another gateway, with `shards` as the largest replication. Unknown settings are left out.
///
/// # Errors
/// 400 with the setting, its value and the allowed values.
pub(crate) fn parse_state(body: &[u8], shards: u64, now_ms: u64) -> Result<PeerState, Problem> {
    let refused = |detail: String| Problem::new(ErrorKind::BadBody, detail);
    let mut state: PeerState = serde_json::from_slice(body)
        .map_err(|err| refused(format!("the body must be the settings of a gateway: {err}")))?;
    state.settings.retain(|name, _| name == RESET || NAMES.contains(&name.as_str()));
    checked(values(&state.settings), shards)?;
    let latest = now_ms.saturating_add(AHEAD_MAX_MS);
    match state.settings.iter().find(|(_, value)| value.time_ms > latest) {
        Some((name, value)) => Err(refused(format!(
            "`{name}` has the time {}, more than a day ahead of this gateway's clock; synchronise the clocks",
            value.time_ms
        ))),
        None => Ok(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mitigation::settings::{Switches, explicit};
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: u64 = 1_795_422_711_200;

    fn of(values: Value) -> Map<String, Value> {
        serde_json::from_value(values).unwrap()
    }

    #[test]
    fn a_later_change_wins_even_if_its_clock_is_behind() {
        let (mut ahead, mut behind) = (SharedSettings::default(), SharedSettings::default());
        ahead.record(of(json!({"cache": "all", "ttl_seconds": 9})), NOW + 3_600_000, 1);
        assert_eq!(behind.merge(ahead.all()).len(), 2);
        behind.record(of(json!({"cache": "off"})), NOW, 2);
        assert!(!ahead.hold_at(&Stamped::new()) && !behind.hold_at(ahead.all()));
        assert_eq!(values(&ahead.merge(behind.all())), of(json!({"cache": "off"})));
        assert!(behind.hold_at(ahead.all()) && ahead == behind);
        assert!(ahead.merge(behind.all()).is_empty(), "nothing is news twice");
        assert_eq!(values(ahead.all()), of(json!({"cache": "off", "ttl_seconds": 9})));
    }

    #[test]
    fn changes_of_two_settings_at_once_are_both_kept() {
        let (mut one, mut two) = (SharedSettings::default(), SharedSettings::default());
        one.record(of(json!({"cache": "all"})), NOW, 1);
        two.record(of(json!({"replication": 3})), NOW, 2);
        one.merge(two.all());
        two.merge(one.all());
        assert_eq!(one, two);
        assert_eq!(values(one.all()), of(json!({"cache": "all", "replication": 3})));
    }

    #[test]
    fn invalid_settings_of_another_gateway_are_refused() {
        let state = |name: &str, value: Value, time_ms: u64| {
            let settings = json!({name: {"value": value, "time_ms": time_ms, "gateway": 1}});
            parse_state(json!({"gateway": 1, "settings": settings}).to_string().as_bytes(), 4, NOW)
        };
        assert_eq!(state("cache", json!("all"), NOW).unwrap().settings.len(), 1);
        assert_eq!(state("cache", json!("all"), NOW + AHEAD_MAX_MS).unwrap().settings.len(), 1);
        assert!(state("of_a_newer_version", json!({"x": 1}), NOW).unwrap().settings.is_empty());
        for (name, value, time_ms, problem) in [
            ("replication", json!(5), NOW, "`replication` must be an integer from 1 to 4, not 5"),
            ("cache", json!("some"), NOW, "`cache` must be off, all or hot_only"),
            ("reset", json!(false), NOW, "`reset` must be true, not false"),
            ("cache", json!("all"), NOW + AHEAD_MAX_MS + 1, "a day ahead of this gateway's clock"),
        ] {
            let refused = state(name, value, time_ms).unwrap_err();
            assert!(refused.body.detail.contains(problem), "{refused:?}");
        }
        for body in ["", "[]", r#"{"gateway":1}"#, r#"{"gateway":1,"settings":{"cache":"all"}}"#] {
            assert_eq!(parse_state(body.as_bytes(), 4, NOW).unwrap_err().body.kind, ErrorKind::BadBody);
        }
    }

    /// What happens among gateways. Numbers select a gateway or a message, modulo how many there are.
    #[derive(Clone, Debug)]
    enum Event {
        Change(usize, Map<String, Value>),
        /// A gateway sends its settings to another.
        Send(usize, usize),
        /// A message arrives. Older and newer ones may still be on their way.
        Deliver(usize),
        Lose(usize),
        Restart(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let change = prop_oneof![
            prop_oneof![Just("off"), Just("all"), Just("hot_only")].prop_map(|to| json!({"cache": to})),
            (1u64..9).prop_map(|to| json!({"ttl_seconds": to})),
            (1u64..5, any::<bool>()).prop_map(|(to, auto)| json!({"replication": to, "auto": auto})),
            any::<bool>().prop_map(|to| json!({"auto": to})),
        ];
        let number = 0usize..64;
        let event = prop_oneof![
            3 => (number.clone(), change).prop_map(|(at, change)| Event::Change(at, of(change))),
            6 => (number.clone(), number.clone()).prop_map(|(from, to)| Event::Send(from, to)),
            4 => number.clone().prop_map(Event::Deliver),
            2 => number.clone().prop_map(Event::Lose),
            1 => number.prop_map(Event::Restart),
        ];
        prop::collection::vec(event, 1..120)
    }

    /// A gateway of the model: its settings in force, and a clock that differs from the others.
    #[derive(Clone)]
    struct Gateway {
        number: u64,
        skew: u64,
        shared: SharedSettings,
        switches: Switches,
    }

    impl Gateway {
        fn start(number: u64, skew: u64) -> Self {
            Self { number, skew, shared: SharedSettings::default(), switches: Switches::at_start(false, 60) }
        }

        fn merge(&mut self, theirs: &Stamped) {
            let body = json!({"gateway": 0, "settings": theirs}).to_string();
            let theirs = parse_state(body.as_bytes(), 4, NOW).unwrap().settings;
            let news = self.shared.merge(&theirs);
            self.switches.apply(&checked(values(&news), 4).unwrap());
        }

        /// Receives a change at this time. Returns it with its stamp.
        fn change(&mut self, values: Map<String, Value>, now: u64) -> Stamped {
            let change = explicit(&checked(values, 4).unwrap());
            self.switches.apply(&change);
            let values = of(serde_json::to_value(change).unwrap());
            self.shared.record(values.clone(), now + self.skew, self.number);
            let changed = |(name, _): &(&String, &StampedValue)| values.contains_key(*name);
            let changed = self.shared.all().iter().filter(changed);
            changed.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
    }

    proptest! {
        #[test]
        fn at_quiet_all_gateways_have_the_newest_settings(
            skews in prop::collection::vec(0u64..60_000, 2..6),
            events in events(),
        ) {
            let mut next = skews.len() as u64;
            let mut gateways: Vec<_> =
                (0..).zip(&skews).map(|(number, skew)| Gateway::start(number, *skew)).collect();
            let count = gateways.len();
            let mut on_the_way: Vec<(usize, Stamped)> = Vec::new();
            let mut made: Vec<Stamped> = Vec::new();
            let mut restarted = false;
            for (now, event) in (NOW..).zip(events) {
                match event {
                    Event::Change(at, values) => made.push(gateways[at % count].change(values, now)),
                    Event::Send(from, to) => {
                        on_the_way.push((to % count, gateways[from % count].shared.all().clone()));
                    }
                    Event::Deliver(which) if !on_the_way.is_empty() => {
                        let (to, settings) = on_the_way.swap_remove(which % on_the_way.len());
                        gateways[to].merge(&settings);
                    }
                    Event::Lose(which) if !on_the_way.is_empty() => {
                        on_the_way.swap_remove(which % on_the_way.len());
                    }
                    Event::Deliver(_) | Event::Lose(_) => {}
                    Event::Restart(at) => {
                        gateways[at % count] = Gateway::start(next, skews[at % count]);
                        next += 1;
                        restarted = true;
                    }
                }
            }
            // Quiet: each gateway asks each other one once, which passes both states on.
            for one in 0..count {
                for other in (0..count).filter(|other| *other != one) {
                    let asked = gateways[one].shared.all().clone();
                    gateways[other].merge(&asked);
                    let answer = gateways[other].shared.all().clone();
                    gateways[one].merge(&answer);
                }
            }
            for gateway in &gateways[1..] {
                prop_assert_eq!(&gateway.shared, &gateways[0].shared);
                prop_assert_eq!(&gateway.switches, &gateways[0].switches);
            }
            if !restarted {
                for (name, value) in made.iter().flatten() {
                    prop_assert!(stamp(&gateways[0].shared.all()[name]) >= stamp(value));
                }
                for (name, value) in gateways[0].shared.all() {
                    prop_assert!(made.iter().any(|made| made.get(name) == Some(value)));
                }
            }
        }
    }
}
