//! Decides whether a probe can adopt a pinned set.

use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, MapInfo, MapType};
use probe_common::LAYOUT;
use probe_common::pinned::Mark;
use protocol::shard_urls::ShardUrls;

use super::folder::{Folder, PinError};
use super::link::Link;

/// The map with the set's [`Mark`].
const MARK: &str = "PINNED";

/// What two probes must have in common for the second to adopt the first one's set, besides the layout and the shape
/// of the maps.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A hash of the list of shards.
    pub(super) shards: u64,
    /// A hash of the object. If it differs, the set is adopted and its programs are replaced.
    pub(super) object: u64,
    /// The inode number of the cgroup to attach to.
    cgroup: u64,
    /// The links that must exist.
    links: Vec<&'static str>,
}

impl Identity {
    /// The identity of a probe with these settings.
    ///
    /// # Errors
    /// When the cgroup cannot be read.
    pub fn new(
        shards: &ShardUrls,
        object: &[u8],
        cgroup: &Path,
        links: Vec<&'static str>,
    ) -> Result<Self, PinError> {
        use std::os::unix::fs::MetadataExt;
        let list: Vec<String> = shards.iter().map(ToString::to_string).collect();
        let what = || format!("the cgroup {} cannot be read", cgroup.display());
        let cgroup =
            std::fs::metadata(cgroup).map_err(|source| PinError::Other { what: what(), source })?.ino();
        Ok(Self { shards: hash(list.join(",").as_bytes()), object: hash(object), cgroup, links })
    }
}

/// FNV-1a, which gives the same hash in every build.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Returns the mark of the set in `folder` if a probe with the object `new` and this identity can adopt it, else the
/// reason.
pub(super) fn judge(
    folder: &Folder,
    new: &Ebpf,
    identity: &Identity,
) -> Result<Result<Mark, String>, PinError> {
    let Some(mark) = read_mark(folder) else { return Ok(Err("it has no identity".to_owned())) };
    if mark.complete != 1 {
        return Ok(Err("it is incomplete".to_owned()));
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
            return Ok(Err(format!("its map {name} is {found:?}, and this probe needs {wanted:?}")));
        }
        left.retain(|other| other != name);
    }
    if let Some(name) = left.first() {
        return Ok(Err(format!("this probe has no map {name}")));
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
            Err(error) => return Ok(Err(format!("its link {name} cannot be read: {error}"))),
        }
    }
    Ok(Ok(mark))
}

/// The maps to pin. Maps of constants (`.rodata` and the like) are left out: they belong to one load, and a bpffs does
/// not allow their names.
pub(super) fn pinned_maps(ebpf: &Ebpf) -> impl Iterator<Item = (&str, &Map)> {
    ebpf.maps().filter(|(name, _)| !name.contains('.'))
}

/// The properties in which two maps of one name must match: type, sizes of key and value, entries, flags.
type Shape = (MapType, u32, u32, u32, u32);

fn shape(info: Result<MapInfo, MapError>) -> Option<Shape> {
    let info = info.ok()?;
    let kind = info.map_type().ok()?;
    Some((kind, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()))
}

/// A map's handle. `None` for map types that the object does not use.
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

/// The map with the set's mark.
pub(super) fn mark_map(folder: &Folder) -> Result<Array<MapData, Mark>, MapError> {
    Array::try_from(Map::from_map_data(MapData::from_pin(folder.map(MARK))?)?)
}

fn read_mark(folder: &Folder) -> Option<Mark> {
    mark_map(folder).ok()?.get(&0, 0).ok()
}

fn no_pin(name: &str) -> PinError {
    let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
    PinError::Other { what: format!("the map {name} is of a kind that cannot be pinned"), source }
}
