//! Assigns shards to slots, the indexes of the kernel's maps.
//!
//! A store may have more shards than the maps have slots, and a probe watches those of its node. A shard keeps its slot
//! and its counts after its addresses have gone, until another shard needs the slot. Then the counts are cleared. A
//! connection of the former shard that ends later counts as closed for the new one.
//!
//! The map `SLOTS` keeps the owners for the next probe of a pinned set.

use std::collections::BTreeSet;

use aya::maps::{Array, Map, MapData, MapError};
use probe_common::MAX_SHARDS;

use super::error::ObjectError;

/// The owners of the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    owners: Vec<Owner>,
    /// Number of assignments.
    turn: u64,
}

/// The owner of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owner {
    shard: Option<u32>,
    /// The last assignment that wanted the shard.
    wanted_in: u64,
}

/// A slot with a new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) slot: u32,
    pub(crate) shard: u32,
    /// Whether the slot has counts of another shard.
    pub(crate) is_used: bool,
}

/// More shards are to be watched at the same time than there are slots.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("shard {0} is not watched: a probe has room for {MAX_SHARDS} shards")]
pub(crate) struct NoSlot(u32);

impl Slots {
    fn new(owners: impl Iterator<Item = Option<u32>>) -> Self {
        Self { owners: owners.map(|shard| Owner { shard, wanted_in: 0 }).collect(), turn: 0 }
    }

    /// The slot of a shard, if it has one.
    pub(crate) fn of(&self, shard: u32) -> Option<u32> {
        let slot = self.owners.iter().position(|owner| owner.shard == Some(shard))?;
        u32::try_from(slot).ok()
    }

    /// Gives a slot to each of `shards` that has none: its own number if that is free, else a free one, else the one
    /// that was not wanted for the longest time.
    ///
    /// # Errors
    /// When all slots are wanted. The shards before that one have slots.
    pub(crate) fn assign(&mut self, shards: &BTreeSet<u32>) -> Result<Vec<Given>, NoSlot> {
        self.turn += 1;
        for owner in &mut self.owners {
            if owner.shard.is_some_and(|shard| shards.contains(&shard)) {
                owner.wanted_in = self.turn;
            }
        }
        let mut given = Vec::new();
        for shard in shards {
            if self.of(*shard).is_some() {
                continue;
            }
            let own = usize::try_from(*shard)
                .ok()
                .filter(|slot| self.owners.get(*slot).is_some_and(|owner| owner.shard.is_none()));
            // A free slot was never wanted.
            let longest = || {
                let slots = self.owners.iter().enumerate().filter(|(_, owner)| owner.wanted_in < self.turn);
                slots.min_by_key(|(_, owner)| (owner.shard.is_some(), owner.wanted_in)).map(|(slot, _)| slot)
            };
            let slot = own.or_else(longest).ok_or(NoSlot(*shard))?;
            let Some(owner) = self.owners.get_mut(slot) else { return Err(NoSlot(*shard)) };
            given.push(Given {
                slot: u32::try_from(slot).map_err(|_| NoSlot(*shard))?,
                shard: *shard,
                is_used: owner.shard.is_some(),
            });
            *owner = Owner { shard: Some(*shard), wanted_in: self.turn };
        }
        Ok(given)
    }
}

/// The map `SLOTS`: for each slot the number of its shard plus 1; 0 if it is free.
pub(crate) struct SlotsMap(Array<MapData, u32>);

impl SlotsMap {
    /// The map's name in the object.
    pub(crate) const NAME: &str = "SLOTS";

    /// Takes the map. Returns also the owners that an earlier probe has set.
    pub(crate) fn new(map: Map) -> Result<(Self, Slots), ObjectError> {
        let map = Array::try_from(map).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let owners: Vec<u32> = (0..MAX_SHARDS)
            .map(|slot| map.get(&slot, 0))
            .collect::<Result<_, MapError>>()
            .map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
        let slots = Slots::new(owners.into_iter().map(|owner| owner.checked_sub(1)));
        Ok((Self(map), slots))
    }

    /// Records the owner of a slot.
    pub(crate) fn set(&mut self, given: Given) -> Result<(), MapError> {
        self.0.set(given.slot, given.shard.saturating_add(1), 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slots() -> Slots {
        Slots::new((0..MAX_SHARDS).map(|_| None))
    }

    fn given(slot: u32, shard: u32, is_used: bool) -> Given {
        Given { slot, shard, is_used }
    }

    #[test]
    fn shards_of_a_small_store_have_the_slots_of_their_numbers() {
        let mut slots = slots();
        assert_eq!(slots.assign(&[3].into()), Ok(vec![given(3, 3, false)]));
        let all: BTreeSet<u32> = (0..MAX_SHARDS).collect();
        slots.assign(&all).unwrap();
        assert!(all.iter().all(|shard| slots.of(*shard) == Some(*shard)));
        assert_eq!(slots.assign(&all), Ok(Vec::new()));
    }

    #[test]
    fn the_slot_that_was_not_wanted_for_the_longest_time_is_used_again() {
        let mut slots = slots();
        assert_eq!(slots.assign(&[199].into()), Ok(vec![given(0, 199, false)]));
        slots.assign(&(1..MAX_SHARDS).collect()).unwrap();
        // Shard 199 has gone, and its counts stay.
        assert_eq!(slots.of(199), Some(0));
        slots.assign(&(2..MAX_SHARDS).collect()).unwrap();
        assert_eq!(slots.assign(&(2..=MAX_SHARDS).collect()), Ok(vec![given(0, MAX_SHARDS, true)]));
        assert_eq!((slots.of(199), slots.of(1)), (None, Some(1)));
        let all: BTreeSet<u32> = (2..MAX_SHARDS + 3).collect();
        let error = slots.assign(&all).unwrap_err().to_string();
        assert_eq!(error, "shard 66 is not watched: a probe has room for 64 shards");
        assert_eq!(slots.of(65), Some(1));
    }

    proptest! {
        #[test]
        fn no_two_shards_share_a_slot_and_who_stays_keeps_it(
            turns in prop::collection::vec(prop::collection::btree_set(0_u32..200, 0..64), 1..20)
        ) {
            let mut slots = slots();
            let mut before: Option<(Slots, BTreeSet<u32>)> = None;
            for shards in turns {
                slots.assign(&shards).unwrap();
                let found: BTreeSet<u32> = shards.iter().map(|shard| slots.of(*shard).unwrap()).collect();
                prop_assert_eq!(found.len(), shards.len());
                if let Some((old, last)) = &before {
                    for shard in last.intersection(&shards) {
                        prop_assert_eq!(old.of(*shard), slots.of(*shard));
                    }
                }
                before = Some((slots.clone(), shards));
            }
        }
    }
}
