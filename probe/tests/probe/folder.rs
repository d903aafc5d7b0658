//! Tests the folder of a pinned set: access, name, incomplete sets.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use probe::kernel::object;
use probe::kernel::pin::PinnedSet;
use probe::kernel::pin::folder::{Folder, PinError};

use crate::bpffs::Bpffs;
use crate::harness::privileges;

#[test]
fn nobody_else_can_open_the_folder() {
    if !privileges("nobody_else_can_open_the_folder") {
        return;
    }
    let bpffs = Bpffs::mount();
    let mode = || std::fs::metadata(bpffs.folder()).unwrap().mode() & 0o777;
    drop(Folder::open(&bpffs.folder()).unwrap());
    assert_eq!(mode(), 0o700);
    // A folder that an administrator created is also closed to other users.
    std::fs::set_permissions(bpffs.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Folder::open(&bpffs.folder()).unwrap());
    assert_eq!(mode(), 0o700);
    chown(bpffs.folder(), Some(65_534), None).unwrap();
    for refused in [Folder::open(&bpffs.folder()), Folder::existing(&bpffs.folder()).map(Option::unwrap)] {
        assert!(matches!(refused, Err(PinError::Owner { owner: 65_534, .. })), "{refused:?}");
    }
}

#[test]
fn a_folder_is_what_its_path_leads_to() {
    if !privileges("a_folder_is_what_its_path_leads_to") {
        return;
    }
    let bpffs = Bpffs::mount();
    drop(Folder::open(&bpffs.folder()).unwrap());
    let inner = bpffs.folder().join("inner");
    std::fs::create_dir(&inner).unwrap();
    // The folder's parent is the root of the file system.
    let root = Folder::open(&bpffs.folder().join(".."));
    assert!(matches!(root, Err(PinError::Root(_))), "{root:?}");
    let same = Folder::open(&inner.join("..")).unwrap();
    assert_eq!(same.path(), bpffs.folder());
    let again = Folder::open(&bpffs.folder());
    assert!(matches!(again, Err(PinError::InUse(_))), "{again:?}");
}

#[test]
fn a_set_that_is_not_finished_leaves_nothing() {
    if !privileges("a_set_that_is_not_finished_leaves_nothing") {
        return;
    }
    let bpffs = Bpffs::mount();
    let urls = protocol::shard_urls::ShardUrls::parse("http://127.0.0.1:9").unwrap();
    let cgroup = probe::kernel::preflight::cgroup(None).unwrap();
    let bytes = object::embedded().unwrap();
    let identity =
        probe::kernel::pin::Identity::new(&urls, bytes, &cgroup, probe::kernel::attach::required()).unwrap();
    let switches = probe::kernel::object::Switches::default();
    let load = |pins: &[_]| object::load_pinned(bytes, switches, pins);
    let (_ebpf, set) = PinnedSet::begin(Folder::open(&bpffs.folder()).unwrap(), &identity, load).unwrap();
    assert!(bpffs.folder().join("probe-maps/KEYS").exists());
    // Dropping the set simulates a failure before the programs are attached.
    drop(set);
    assert!(!bpffs.folder().exists());
}
