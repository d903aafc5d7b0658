//! The candidates in the kernel: loaded, fed by test runs, their tables read.

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{CgroupSkb, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use probe_common::key::KEY_WORDS;
use probe_common::keys::{KeySet, SETS};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

/// Keys in a packet, at most: as in the programs.
pub const BATCH: usize = 800;

/// The kernel wants it in front of every packet, and takes it off.
const ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];

/// `HotSet` of the programs in words: the lock, then eight keys.
const HOT_SET_WORDS: usize = 1 + 8 * HOT_WORDS;

/// `Hot` in words: the key's own, its hash, count and length.
const HOT_WORDS: usize = KEY_WORDS + 2;

/// A way to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The probe's.
    Sets,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    Lru,
    /// HeavyKeeper.
    HeavyKeeper,
}

/// A key in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub key: u32,
    /// How often it came, as the table says.
    pub count: u64,
    /// How much more it may have been; absent where nothing is said.
    pub error: Option<u64>,
}

impl Candidate {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sets, Self::Lru, Self::HeavyKeeper];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sets => "sets of eight",
            Self::Lru => "LRU hash",
            Self::HeavyKeeper => "HeavyKeeper",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Sets => "count_in_sets",
            Self::Lru => "count_in_lru",
            Self::HeavyKeeper => "count_heavy",
        }
    }

    const fn maps(self) -> &'static [&'static str] {
        match self {
            Self::Sets => &["KEYS"],
            Self::Lru => &["LRU"],
            Self::HeavyKeeper => &["HEAVY", "HOT"],
        }
    }
}

/// The loaded object.
pub struct Programs {
    ebpf: Ebpf,
}

impl Programs {
    /// Loads it, with empty tables; that of the probe for one shard.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(object: &Path) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("KEYS", SETS);
        let ebpf = loader.load_file(object).with_context(|| format!("loading {}", object.display()))?;
        let mut programs = Self { ebpf };
        for name in ["count_nothing"].into_iter().chain(Candidate::ALL.map(Candidate::program)) {
            programs.program(name)?.load().with_context(|| format!("the program {name}"))?;
        }
        Ok(programs)
    }

    /// Counts a batch; gives the time the program took.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn feed(&mut self, candidate: Candidate, keys: &[u32]) -> Result<Duration> {
        self.run(candidate.program(), keys)
    }

    /// The same, without counting.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn feed_nothing(&mut self, keys: &[u32]) -> Result<Duration> {
        self.run("count_nothing", keys)
    }

    /// The keys of a candidate's table, most first; equal ones by number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn table(&self, candidate: Candidate) -> Result<Vec<Counted>> {
        let mut table = match candidate {
            Candidate::Sets => self.sets()?,
            Candidate::Lru => self.lru()?,
            Candidate::HeavyKeeper => self.hot()?,
        };
        table.sort_unstable_by_key(|counted| (std::cmp::Reverse(counted.count), counted.key));
        Ok(table)
    }

    /// What the kernel says that a candidate's maps take.
    ///
    /// # Errors
    /// When it does not say.
    pub fn bytes(&self, candidate: Candidate) -> Result<u64> {
        let mut bytes = 0;
        for name in candidate.maps() {
            let descriptor = match self.map(name)? {
                Map::Array(map) | Map::LruHashMap(map) => map.fd().as_fd().as_raw_fd(),
                _ => anyhow::bail!("the map {name} is of an unknown type"),
            };
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
            let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            bytes += memory.context("no memlock in fdinfo")?.trim().parse::<u64>()?;
        }
        Ok(bytes)
    }

    fn sets(&self) -> Result<Vec<Counted>> {
        let map: Array<&MapData, KeySet> = self.map("KEYS")?.try_into()?;
        let sets = map.iter().collect::<Result<Vec<_>, _>>()?;
        let entries = sets.iter().flat_map(KeySet::keys);
        entries
            .map(|(entry, ..)| {
                Ok(Counted { key: number(entry.words[0])?, count: entry.count, error: Some(entry.error) })
            })
            .collect()
    }

    fn lru(&self) -> Result<Vec<Counted>> {
        let map: HashMap<&MapData, [u64; KEY_WORDS], u64> = self.map("LRU")?.try_into()?;
        map.iter()
            .map(|entry| {
                let (words, count) = entry?;
                Ok(Counted { key: number(words[0])?, count, error: None })
            })
            .collect()
    }

    fn hot(&self) -> Result<Vec<Counted>> {
        let map: Array<&MapData, [u64; HOT_SET_WORDS]> = self.map("HOT")?.try_into()?;
        let mut table = Vec::new();
        for set in map.iter() {
            for hot in set?[1..].chunks_exact(HOT_WORDS) {
                let count = hot[HOT_WORDS - 1] & u64::from(u32::MAX);
                if count > 0 {
                    table.push(Counted { key: number(hot[0])?, count, error: None });
                }
            }
        }
        Ok(table)
    }

    fn map(&self, name: &str) -> Result<&Map> {
        self.ebpf.map(name).with_context(|| format!("the object has no map {name}"))
    }

    fn program(&mut self, name: &str) -> Result<&mut CgroupSkb> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("the object has no {name}"))?;
        Ok(program.try_into()?)
    }

    fn run(&mut self, name: &str, keys: &[u32]) -> Result<Duration> {
        let mut packet = ETHERNET.to_vec();
        packet.extend(keys.iter().flat_map(|key| key.to_le_bytes()));
        let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::default() };
        Ok(self.program(name)?.test_run(options)?.duration)
    }
}

/// A key is its number.
fn number(word: u64) -> Result<u32> {
    u32::try_from(word).context("a key that nobody sent")
}
