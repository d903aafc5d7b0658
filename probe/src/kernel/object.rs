//! Checks and loads the kernel object embedded at build time.

use std::path::PathBuf;

use aya::{Ebpf, EbpfError, EbpfLoader};
use probe_common::keys::SETS;
use probe_common::pending::STAGED_KEYS;
use probe_common::resp::FAMILIES;
use probe_common::{LAYOUT_MARK, LAYOUT_MARK_PREFIX, MAX_SHARDS};

use super::error::ObjectError;
use super::log;
use super::namespace::Placed;
use super::protocol::Protocol;
use crate::error::chain::chain;

static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probe-ebpf"));

/// The map of keys. Its size depends on the number of shards.
pub const KEYS: &str = "KEYS";

/// The map of latencies by family of commands. Its size depends on the number of shards.
pub const FAMILY_LATENCY: &str = "FAMILY_LATENCY";

/// Settings of the kernel programs, written before they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Whether they log.
    pub kernel_log: bool,
    /// Whether they record round-trip times.
    pub rtt: bool,
    /// Number of shards to allocate keys for; at least one.
    pub shards: u32,
    /// The protocol of the shards.
    pub protocol: Protocol,
}

/// The embedded object's bytes.
///
/// # Errors
/// When no object is embedded, or it has another layout.
pub fn embedded() -> Result<&'static [u8], ObjectError> {
    check(EMBEDDED)?;
    Ok(EMBEDDED)
}

fn check(object: &[u8]) -> Result<(), ObjectError> {
    if object.is_empty() {
        return Err(ObjectError::Absent);
    }
    if object.windows(LAYOUT_MARK.len()).any(|bytes| bytes == LAYOUT_MARK) {
        return Ok(());
    }
    let found = object
        .windows(LAYOUT_MARK.len())
        .find(|bytes| bytes.starts_with(&LAYOUT_MARK_PREFIX))
        .and_then(|bytes| std::str::from_utf8(&bytes[LAYOUT_MARK_PREFIX.len()..]).ok())
        .map_or_else(|| "unknown".to_owned(), |digits| digits.trim_start_matches('0').to_owned());
    Err(ObjectError::Layout { found })
}

/// Creates the object's maps, with its programs configured by `switches`.
///
/// # Errors
/// When the kernel refuses, or the object cannot be parsed.
pub fn load(object: &[u8], switches: Switches) -> Result<Ebpf, ObjectError> {
    load_pinned(object, switches, &[])
}

/// Like [`load`], but opens the maps in `pins` (name and path) from their pins.
///
/// # Errors
/// As for [`load`].
pub fn load_pinned(
    object: &[u8],
    switches: Switches,
    pins: &[(String, PathBuf)],
) -> Result<Ebpf, ObjectError> {
    let log_level = log::level(switches.kernel_log);
    let rtt = u8::from(switches.rtt);
    let placed = u8::from(Placed::detect() == Placed::All);
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &log_level, true).override_global("RTT_WANTED", &rtt, true);
    loader.override_global("PACKETS_HAVE_NAMESPACE", &placed, true);
    let shards = switches.shards.clamp(1, MAX_SHARDS);
    loader.map_max_entries(KEYS, shards * SETS);
    let families = match switches.protocol {
        Protocol::Http => 1,
        Protocol::Resp => shards * FAMILIES as u32,
    };
    loader.map_max_entries(FAMILY_LATENCY, families);
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| ObjectError::Other {
        what: format!("the number of CPUs cannot be read ({what})"),
        reason: error.to_string(),
    })?;
    let (staged, cpus) = (staged_keys(switches.protocol, cpus), u32::try_from(cpus).unwrap_or(1));
    let staged_mask = staged - 1;
    loader.override_global("STAGED_MASK", &staged_mask, true);
    loader.map_max_entries("STAGED", cpus.saturating_mul(staged));
    for (name, path) in pins {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(object).map_err(|error| {
        let reason = chain(&error);
        match io_error(error) {
            Some(source) if source.raw_os_error() == Some(libc::EPERM) => {
                ObjectError::NotPermitted { what: "making maps".to_owned(), source }
            }
            _ => ObjectError::Other { what: "the kernel object cannot be loaded".to_owned(), reason },
        }
    })
}

/// Returns the number of keys that can wait on each CPU. Clients of a store send pipelines of commands with several keys
/// each: 50 clients of `redis-benchmark -P 64` have 32,000 keys in flight. All CPUs together have room for 2^19 keys
/// (64 MiB), as long as each has its minimum.
fn staged_keys(protocol: Protocol, cpus: usize) -> u32 {
    const ALL: usize = 1 << 19;
    const ONE: u32 = 1 << 16;
    match protocol {
        Protocol::Http => STAGED_KEYS,
        Protocol::Resp => {
            let share = u32::try_from(ALL / cpus.next_power_of_two()).unwrap_or(ONE);
            share.clamp(STAGED_KEYS, ONE)
        }
    }
}

fn io_error(error: EbpfError) -> Option<std::io::Error> {
    match error {
        EbpfError::MapError(aya::maps::MapError::CreateError { io_error, .. }) => Some(io_error),
        EbpfError::MapError(aya::maps::MapError::SyscallError(error)) => Some(error.io_error),
        EbpfError::BtfError(aya::BtfError::LoadError { io_error, .. }) => Some(io_error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_keys_of_a_store_take_at_most_64_mib_or_the_minimum() {
        let of = |cpus| staged_keys(Protocol::Resp, cpus);
        assert_eq!([1, 2, 8, 12, 64, 1024].map(of), [65_536, 65_536, 65_536, 32_768, 8_192, STAGED_KEYS]);
        assert_eq!(staged_keys(Protocol::Http, 2), STAGED_KEYS);
    }

    #[test]
    fn an_object_of_another_layout_is_refused_by_name() {
        assert!(matches!(check(&[]), Err(ObjectError::Absent)));
        let mut object = vec![0x7f; 100];
        assert!(check(&object).unwrap_err().to_string().contains("has layout unknown"));
        object.extend(b"hotlab-layout-v=0987");
        assert!(check(&object).unwrap_err().to_string().contains("has layout 987, this probe needs"));
        object.extend(LAYOUT_MARK);
        assert!(check(&object).is_ok());
    }
}
