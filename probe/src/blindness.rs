//! Names the shards that the probe does not see.

/// The shards whose packets the probe does not see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blindness {
    /// Why the programs are no longer attached.
    pub(crate) detached: Option<String>,
    /// Per shard, why its packets are not seen.
    pub(crate) shards: Vec<Option<String>>,
}

impl Blindness {
    /// The problem in one sentence. `None` when the probe is not blind.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.detached.is_some() {
            return self.detached.clone();
        }
        let shards = self.shards.iter().enumerate();
        let mut blind = shards.filter_map(|(shard, why)| why.as_ref().map(|why| (shard.to_string(), why)));
        let (first, why) = blind.next()?;
        let shards = std::iter::once(first).chain(blind.map(|(shard, _)| shard)).collect::<Vec<_>>();
        Some(format!("the probe is blind for shard {}: {why}", shards.join(", ")))
    }
}
