//! Selects a mitigation from the offered load, and reverts it later.
//!
//! It reverts a choice once no hot key has been to blame for a while.
//!
//! It judges the offered load because mitigations do not change it. The load of the shards becomes balanced as soon as
//! a mitigation works. Judging that load would switch the mitigation off again.
//!
//! Time is an argument.

use hotspot::detector::Detector;
use hotspot::judge::Observation;
use hotspot::verdict::{Reason, State, Verdict};
use protocol::Key;
use protocol::body::{AutoChoice, AutoState, CacheMode, MitigationSettings, WhatIfMitigation, WhatIfOption};
use protocol::placement::Scheme;

use super::WINDOW;
use super::what_if::OfferedTraffic;
use crate::key_counts::KeyCounts;

/// The choice is reverted after this many seconds without need.
const HOLD_SECONDS: u64 = 60;
/// Lowest ratio of reads to writes at which a cache is chosen.
const READS_PER_WRITE: f64 = 4.0;
/// Copies are chosen only if they reduce the hottest shard's share to this part of its present share or less.
const WORTH_IT: f64 = 0.9;

/// The state of `auto`. It decides once a second.
#[derive(Default)]
pub(super) struct Auto {
    detector: Detector<Key>,
    chosen: Option<AutoChoice>,
    /// Cache mode and replication before the choice.
    before: Option<(CacheMode, u64)>,
    reason: Option<String>,
    since: Option<f64>,
    /// The last second in which the verdict blamed a hot key.
    needed: u64,
}

impl Auto {
    pub(super) fn report(&self, enabled: bool) -> AutoState {
        let (chosen, since) = (self.chosen.filter(|_| enabled), self.since.filter(|_| enabled));
        AutoState { enabled, chosen, reason: self.reason.clone().filter(|_| enabled), since }
    }

    /// Reverts the choice and resets all state.
    pub(super) fn stop(&mut self, settings: &mut MitigationSettings) {
        self.restore(settings);
        *self = Self::default();
    }

    /// Forgets the observed load and keeps the choice.
    pub(super) fn forget(&mut self) {
        self.detector = Detector::default();
    }

    /// Decides at `second`, which increases by one every second. Returns the changed settings, if any.
    pub(super) fn decide(
        &mut self,
        second: u64,
        keys: &KeyCounts,
        settings: &MitigationSettings,
        scheme: Scheme,
    ) -> Option<MitigationSettings> {
        let shards = keys.shards();
        let (mut last, mut ten) = (Observation::new(shards), Observation::new(shards));
        keys.look(|shard, window, now| {
            last.add(shard, &window.full(1, now));
            ten.add(shard, &window.full(WINDOW, now));
        });
        let verdict = self.detector.observe(&last, &ten);
        let choose = |verdict: &Verdict<Key>| {
            let load = OfferedTraffic::of(keys);
            let (reads, writes) = load.of_key(verdict.key.as_ref()?)?;
            Some(choose(reads, writes, settings, &load.options(settings, scheme)))
        };
        self.next(second, &verdict, settings, choose)
    }

    fn next(
        &mut self,
        second: u64,
        verdict: &Verdict<Key>,
        settings: &MitigationSettings,
        choose: impl FnOnce(&Verdict<Key>) -> Option<AutoDecision>,
    ) -> Option<MitigationSettings> {
        let blames_key = verdict.reason == Some(Reason::HotKey);
        if self.chosen.is_some() {
            if blames_key && verdict.state >= State::Warm {
                self.needed = second;
            }
            if second < self.needed + HOLD_SECONDS {
                return None;
            }
            let mut changed = settings.clone();
            self.restore(&mut changed);
            self.conclude(
                None,
                format!("No hot key has caused an imbalance for {HOLD_SECONDS} s. {}", verdict.sentence),
            );
            return Some(changed);
        }
        if !blames_key || verdict.state < State::Hot {
            return None;
        }
        let AutoDecision { chosen, copies, why } = choose(verdict)?;
        let reason = format!("{} {why}", verdict.sentence);
        let Some(chosen) = chosen else {
            // Report it once and not every second.
            if self.reason.as_ref().is_none_or(|reason| !reason.ends_with(why)) {
                self.conclude(None, reason);
            }
            return None;
        };
        let mut changed = settings.clone();
        self.before = Some((settings.cache, settings.replication));
        match chosen {
            AutoChoice::HotOnlyCache => changed.cache = CacheMode::HotOnly,
            AutoChoice::Replication => changed.replication = copies,
        }
        self.needed = second;
        self.conclude(Some(chosen), reason);
        Some(changed)
    }

    fn restore(&mut self, settings: &mut MitigationSettings) {
        if let Some((cache, replication)) = self.before.take() {
            settings.cache = cache;
            settings.replication = replication;
        }
        self.chosen = None;
    }

    fn conclude(&mut self, chosen: Option<AutoChoice>, reason: String) {
        let mitigation = match chosen {
            Some(AutoChoice::HotOnlyCache) => "hot_only_cache",
            Some(AutoChoice::Replication) => "replication",
            None => "none",
        };
        tracing::info!(mitigation, reason, "mitigation chosen");
        (self.chosen, self.reason, self.since) = (chosen, Some(reason), Some(service::clock::unix_seconds()));
    }
}

/// A decision and its reason.
#[derive(Debug, PartialEq)]
struct AutoDecision {
    chosen: Option<AutoChoice>,
    copies: u64,
    why: &'static str,
}

/// Decides what to do about a key with these reads and writes a second. `options` are sorted, best first.
fn choose(reads: f64, writes: f64, settings: &MitigationSettings, options: &[WhatIfOption]) -> AutoDecision {
    let share = |option: &WhatIfOption| option.hottest_shard_share;
    let find = |mitigation| options.iter().find(|option| option.mitigation == mitigation);
    let now = find(WhatIfMitigation::Nothing).map_or(1.0, share);
    let copies = find(WhatIfMitigation::Replication);
    let (chosen, copies, why) = if reads >= READS_PER_WRITE * writes {
        if settings.cache == CacheMode::Off {
            (Some(AutoChoice::HotOnlyCache), 1, "The key is mostly read, so hot keys are cached.")
        } else {
            (None, 1, "The key is mostly read, and the cache is already on.")
        }
    } else {
        match copies {
            Some(_) if settings.replication > 1 => {
                (None, 1, "The key is written too often for a cache, and hot keys are already replicated.")
            }
            Some(best) if share(best) <= WORTH_IT * now => (
                Some(AutoChoice::Replication),
                best.settings.copies.unwrap_or(1) as u64,
                "The key is written too often for a cache, so hot keys are replicated.",
            ),
            _ => (None, 1, "The key is mostly written, so neither a cache nor copies help."),
        }
    };
    AutoDecision { chosen, copies, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mitigation::Switches;
    use hotspot::judge::{Evidence, KeyLoad};
    use protocol::body::WhatIfSettings;

    fn hot_key() -> Key {
        Key::new("k").unwrap()
    }

    /// Observes one second with `hot` requests on shard 0, all for one key, and 100 on each of three other shards.
    fn verdict(auto: &mut Auto, hot: u64) -> Verdict<Key> {
        let keys = vec![KeyLoad { key: hot_key(), shard: 0, requests: hot }];
        let observation =
            Observation { requests: vec![hot, 100, 100, 100], keys, seconds: 1.0, evidence: Vec::new() };
        auto.detector.observe(&observation, &observation)
    }

    fn off() -> MitigationSettings {
        Switches::at_start(false, 60).settings
    }

    fn cache(_: &Verdict<Key>) -> Option<AutoDecision> {
        Some(AutoDecision { chosen: Some(AutoChoice::HotOnlyCache), copies: 1, why: "w" })
    }

    /// Runs one second.
    fn step(
        auto: &mut Auto,
        second: u64,
        hot: u64,
        settings: &MitigationSettings,
    ) -> Option<MitigationSettings> {
        let verdict = verdict(auto, hot);
        auto.next(second, &verdict, settings, cache)
    }

    #[test]
    fn it_acts_at_once_and_lets_go_a_minute_after_the_need() {
        let mut auto = Auto::default();
        assert_eq!(step(&mut auto, 1, 100, &off()), None);
        let on = step(&mut auto, 2, 900, &off()).unwrap();
        assert_eq!(on, MitigationSettings { cache: CacheMode::HotOnly, ..off() });
        let reported = auto.report(true);
        assert!(
            reported.chosen == Some(AutoChoice::HotOnlyCache) && reported.reason.unwrap().contains("\"k\"")
        );
        // The load is hot with short pauses. The mitigation stays on unless a full minute passes without heat.
        for second in 3..200 {
            let hot = if second % 50 < 3 { 900 } else { 100 };
            assert_eq!(step(&mut auto, second, hot, &on), None, "{second}");
        }
        let mut second = 200;
        let released = loop {
            match step(&mut auto, second, 100, &on) {
                Some(settings) => break settings,
                None => second += 1,
            }
        };
        assert_eq!(released, off());
        // The last heat was in the seconds 150 to 152. A verdict takes up to three more seconds to fall.
        assert!((212..=216).contains(&second), "{second}");
        assert_eq!(auto.report(true).chosen, None);
        assert!(step(&mut auto, second + 1, 900, &off()).is_some(), "and it may be needed again");
    }

    #[test]
    fn stopping_it_reverts_its_choice() {
        let mut auto = Auto::default();
        let mut on = step(&mut auto, 1, 900, &off()).unwrap();
        auto.stop(&mut on);
        assert_eq!(on, off());
    }

    #[test]
    fn placement_and_down_shards_are_left_alone() {
        let mut auto = Auto::default();
        for (requests, failed, reason) in
            [([900, 100, 100, 100], 0, Reason::Placement), ([0, 400, 400, 400], 9, Reason::ShardDown)]
        {
            for second in 0..10 {
                let evidence = vec![Evidence { answered: 0, failed }];
                let observation =
                    Observation { requests: requests.to_vec(), keys: Vec::new(), seconds: 1.0, evidence };
                let verdict = auto.detector.observe(&observation, &observation);
                assert!(second < 5 || verdict.reason == Some(reason), "{verdict:?}");
                assert_eq!(auto.next(second, &verdict, &off(), cache), None);
            }
        }
    }

    #[test]
    fn what_is_chosen_for_reads_and_writes() {
        let choice = |mitigation, copies, share| WhatIfOption {
            mitigation,
            settings: WhatIfSettings { copies, ..WhatIfSettings::default() },
            hottest_shard_share: share,
            shard_id: None,
            max_over_mean: 1.0,
            shares: Vec::new(),
            shard_load: 1.0,
            elsewhere: 0.0,
            note: String::new(),
        };
        let (replication, nothing) = (WhatIfMitigation::Replication, WhatIfMitigation::Nothing);
        let helps = [
            choice(replication, Some(3), 0.3),
            choice(replication, Some(2), 0.4),
            choice(nothing, None, 0.8),
        ];
        let does_not = [choice(nothing, None, 0.8), choice(replication, Some(2), 0.8)];
        let chosen = |reads, writes, settings: &MitigationSettings, options: &[WhatIfOption]| {
            let decision = choose(reads, writes, settings, options);
            (decision.chosen, decision.copies)
        };
        assert_eq!(chosen(100.0, 0.0, &off(), &helps), (Some(AutoChoice::HotOnlyCache), 1));
        assert_eq!(chosen(80.0, 20.0, &off(), &helps), (Some(AutoChoice::HotOnlyCache), 1));
        assert_eq!(chosen(70.0, 30.0, &off(), &helps), (Some(AutoChoice::Replication), 3));
        assert_eq!(chosen(0.0, 100.0, &off(), &does_not), (None, 1));
        let cached = MitigationSettings { cache: CacheMode::All, ..off() };
        assert_eq!(chosen(100.0, 0.0, &cached, &helps), (None, 1));
        let replicated = MitigationSettings { replication: 2, ..off() };
        assert_eq!(chosen(50.0, 50.0, &replicated, &helps), (None, 1));
    }
}
