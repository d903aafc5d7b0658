//! A set of maps and links pinned in a bpffs, so that the kernel goes on counting while no probe runs.
//!
//! [`PinnedSet::begin`] finds out whether the set a probe before left can be gone on with: of the same layout, for the
//! same shards, with maps of the same shape, and attached to the same cgroup. Then its maps are taken, and its links
//! are given the new programs in place. Otherwise it is removed, and counting starts anew.

pub mod folder;
mod link;
pub mod unpin;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, MapInfo, MapType};
use aya::programs::Program;
use aya::programs::links::FdLink;
use probe_common::LAYOUT;
use probe_common::pinned::Mark;
use protocol::shard_urls::ShardUrls;
use serde::Serialize;

use crate::object::ObjectError;
use crate::watch::unix_seconds;
use folder::{Folder, PinError};
use link::Link;

/// The map with the set's [`Mark`].
const MARK: &str = "PINNED";

/// What two probes must have in common for the second to go on with the first one's set, beside the layout and the
/// shape of the maps.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A hash of the shards' list.
    shards: u64,
    /// A hash of the object. Another one's programs are put in the place of the old ones.
    object: u64,
    /// The number of the cgroup that is attached to.
    cgroup: u64,
    /// The links that must be there.
    links: Vec<&'static str>,
}

impl Identity {
    /// Of a probe with these settings.
    ///
    /// # Errors
    /// When the cgroup cannot be looked at.
    pub fn new(
        shards: &ShardUrls,
        object: &[u8],
        cgroup: &Path,
        links: Vec<&'static str>,
    ) -> Result<Self, PinError> {
        use std::os::unix::fs::MetadataExt;
        let list: Vec<String> = shards.iter().map(ToString::to_string).collect();
        let what = || format!("the cgroup {} cannot be looked at", cgroup.display());
        let cgroup =
            std::fs::metadata(cgroup).map_err(|source| PinError::Other { what: what(), source })?.ino();
        Ok(Self { shards: hash(list.join(",").as_bytes()), object: hash(object), cgroup, links })
    }
}

/// FNV-1a: the same in every build.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Since when the kernel has been counting, as `/status` shows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counting {
    /// Unix seconds.
    pub since: f64,
    /// The pinned set; `null` without one: then counting ends with the probe.
    pub pinned: Option<Pinned>,
}

impl Counting {
    /// From now on, for as long as the probe runs.
    #[must_use]
    pub fn from_now() -> Self {
        Self { since: unix_seconds(), pinned: None }
    }
}

/// A pinned set, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Pinned {
    /// Where.
    pub directory: String,
    /// Whether this probe goes on with what another one left.
    pub adopted: bool,
    /// How many probes have gone on with it since counting began.
    pub adoptions: u64,
    /// Whether the programs are others than the probe before had.
    pub programs_changed: bool,
    /// How long nothing was counted while the programs were replaced: 0 where that was done in place.
    pub gap_seconds: f64,
    /// Why a set that was there was removed and counting started anew; `null` if it was not.
    pub removed_because: Option<String>,
}

/// Loads the object's maps, those of the list from their pins.
pub trait Load: Fn(&[(String, PathBuf)]) -> Result<Ebpf, ObjectError> {}

impl<F: Fn(&[(String, PathBuf)]) -> Result<Ebpf, ObjectError>> Load for F {}

/// Why a set could not be begun with.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The folder.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// The set of this probe.
#[derive(Debug)]
pub struct PinnedSet {
    folder: Folder,
    mark: Mark,
    adopted: bool,
    programs_changed: bool,
    gap: Duration,
    removed_because: Option<String>,
}

impl PinnedSet {
    /// Goes on with the set in `folder`, or removes what is there and pins new maps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin(folder: Folder, identity: &Identity, load: impl Load) -> Result<(Ebpf, Self), BeginError> {
        let new = load(&[])?;
        let found = if folder.is_empty()? { None } else { Some(judge(&folder, &new, identity)?) };
        if let Some(Ok(mark)) = found {
            let pins: Vec<_> =
                pinned_maps(&new).map(|(name, _)| (name.to_owned(), folder.map(name))).collect();
            drop(new);
            let programs_changed = mark.object != identity.object;
            let mark = Mark { object: identity.object, adoptions: mark.adoptions + 1, ..mark };
            let gap = Duration::ZERO;
            let set = Self { folder, mark, adopted: true, programs_changed, gap, removed_because: None };
            return Ok((load(&pins)?, set));
        }
        let removed_because = found.and_then(Result::err);
        if let Some(why) = &removed_because {
            folder.remove_all()?;
            tracing::warn!(
                "the set pinned under {} cannot be gone on with ({why}): it is removed, counting starts anew",
                folder.path().display()
            );
        }
        folder.prepare()?;
        let set = Self {
            mark: Mark {
                complete: 0,
                layout: u64::from(LAYOUT),
                shards: identity.shards,
                object: identity.object,
                since: microseconds(unix_seconds()),
                ..Mark::default()
            },
            folder,
            adopted: false,
            programs_changed: false,
            gap: Duration::ZERO,
            removed_because,
        };
        for (name, map) in pinned_maps(&new) {
            let pinned = map.pin(set.folder.map(name)).map_err(|error| pin_error(name, error));
            pinned.inspect_err(|_| set.abandon())?;
        }
        Ok((new, set))
    }

    /// Attaches a loaded program, or puts it in the place of the one that the pinned link `name` has.
    ///
    /// # Errors
    /// When the kernel refuses, with what it refused.
    pub fn place(
        &mut self,
        name: &'static str,
        program: &mut Program,
        attach: impl FnOnce(&mut Program) -> Result<FdLink, ObjectError>,
    ) -> Result<(), ObjectError> {
        let path = self.folder.link(name);
        let other =
            |what, error: &dyn std::error::Error| ObjectError::Other { what, reason: error.to_string() };
        let fd = program.fd().map_err(|error| other(format!("program {name}"), &error))?;
        let mut started = None;
        if let Ok(link) = Link::at(&path) {
            match link.update(fd) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(
                        program = name,
                        %error,
                        "the kernel does not replace it in place: detached, then attached again"
                    );
                    started = Some(Instant::now());
                    self.forget(name);
                }
            }
        }
        let attached = attach(program)?;
        self.gap += started.map_or(Duration::ZERO, |started| started.elapsed());
        let pinned =
            attached.pin(&path).map_err(|error| other(format!("link {name} cannot be pinned"), &error))?;
        // The pin keeps it, and closing this descriptor does not end it.
        drop(pinned);
        Ok(())
    }

    /// Ends a link whose program cannot be replaced.
    pub fn forget(&self, name: &str) {
        if let Err(error) = self.folder.remove_link(name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(link = name, %error, "cannot be removed");
        }
    }

    /// Removes links that are not of `known`, and marks the set as whole.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn complete(&mut self, known: &[&str]) -> Result<(), ObjectError> {
        for name in self.folder.links().unwrap_or_default() {
            if !known.contains(&name.as_str()) {
                self.forget(&name);
            }
        }
        self.mark.complete = 1;
        let written = mark_map(&self.folder).and_then(|mut map| map.set(0, self.mark, 0));
        written.map_err(|error| ObjectError::Other {
            what: "the pinned set cannot be marked".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Removes what this probe has pinned, if it did not find it there: the probe does not start.
    pub fn abandon(&self) {
        if self.adopted {
            return;
        }
        if let Err(error) = self.folder.remove_all().and_then(|_| self.folder.remove()) {
            tracing::error!(%error, "what was pinned cannot be removed");
        }
    }

    /// As `/status` shows it.
    #[must_use]
    pub fn counting(&self) -> Counting {
        let pinned = Pinned {
            directory: self.folder.path().display().to_string(),
            adopted: self.adopted,
            adoptions: self.mark.adoptions,
            programs_changed: self.programs_changed,
            gap_seconds: self.gap.as_secs_f64(),
            removed_because: self.removed_because.clone(),
        };
        Counting { since: seconds(self.mark.since), pinned: Some(pinned) }
    }
}

/// The mark of the set in `folder` if `new`, a probe of this identity, can go on with it; else why not.
fn judge(folder: &Folder, new: &Ebpf, identity: &Identity) -> Result<Result<Mark, String>, PinError> {
    let Some(mark) = read_mark(folder) else { return Ok(Err("it has no mark".to_owned())) };
    if mark.complete != 1 {
        return Ok(Err("it is not whole".to_owned()));
    }
    if mark.layout != u64::from(LAYOUT) {
        return Ok(Err(format!("it has layout {}, this probe has {LAYOUT}", mark.layout)));
    }
    if mark.shards != identity.shards {
        return Ok(Err("it counts for another list of shards".to_owned()));
    }
    let mut left = folder.maps()?;
    for (name, map) in pinned_maps(new) {
        let wanted = shape(data(map).ok_or_else(|| no_pin(name))?.info());
        let found = shape(MapInfo::from_pin(folder.map(name)));
        if found.is_none() || found != wanted {
            return Ok(Err(format!("its map {name} is {found:?}, this probe's {wanted:?}")));
        }
        left.retain(|other| other != name);
    }
    if let Some(name) = left.first() {
        return Ok(Err(format!("its map {name} is not known to this probe")));
    }
    let links = folder.links()?;
    for name in &identity.links {
        if !links.iter().any(|link| link == name) {
            return Ok(Err(format!("its link {name} is missing")));
        }
    }
    for name in links {
        match Link::at(&folder.link(&name)).and_then(|link| link.cgroup()) {
            Ok(cgroup) if cgroup == identity.cgroup => {}
            Ok(_) => return Ok(Err(format!("its link {name} is attached to another cgroup, or to none"))),
            Err(error) => return Ok(Err(format!("its link {name} cannot be looked at: {error}"))),
        }
    }
    Ok(Ok(mark))
}

/// The maps that are pinned: all but those of constants (`.rodata` and the like), which are of one load, and whose
/// names a bpffs does not take.
fn pinned_maps(ebpf: &Ebpf) -> impl Iterator<Item = (&str, &Map)> {
    ebpf.maps().filter(|(name, _)| !name.contains('.'))
}

/// What makes two maps of one name the same: type, sizes of key and value, entries, flags.
type Shape = (MapType, u32, u32, u32, u32);

fn shape(info: Result<MapInfo, MapError>) -> Option<Shape> {
    let info = info.ok()?;
    let kind = info.map_type().ok()?;
    Some((kind, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()))
}

/// A map's handle; `None` for kinds the object has none of.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::BloomFilter(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::PerfEventArray(data)
        | Map::Queue(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::Stack(data)
        | Map::StackTraceMap(data) => Some(data),
        _ => None,
    }
}

fn mark_map(folder: &Folder) -> Result<Array<MapData, Mark>, MapError> {
    Array::try_from(Map::from_map_data(MapData::from_pin(folder.map(MARK))?)?)
}

fn read_mark(folder: &Folder) -> Option<Mark> {
    mark_map(folder).ok()?.get(&0, 0).ok()
}

fn pin_error(name: &str, error: aya::pin::PinError) -> PinError {
    let source = match error {
        aya::pin::PinError::SyscallError(error) => error.io_error,
        other => std::io::Error::other(other),
    };
    PinError::Other { what: format!("the map {name} cannot be pinned"), source }
}

fn no_pin(name: &str) -> PinError {
    let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
    PinError::Other { what: format!("the map {name} is of a kind that cannot be pinned"), source }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of this century")]
fn microseconds(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact in this century")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
