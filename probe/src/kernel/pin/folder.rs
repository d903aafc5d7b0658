//! Manages and locks the bpffs folder of a pinned set.
//!
//! `DIR/probe-maps/NAME` are the maps, `DIR/probe-links/NAME` the links. Other entries are not touched.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use service::args::SettingError;

use super::link::Link;

const MAPS: &str = "probe-maps";
const LINKS: &str = "probe-links";

/// Only the owner may open the folder, because any process that can open it can hold its lock.
const MODE: u32 = 0o700;

/// Why a folder cannot be used. Each message is one line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It is on another file system.
    #[error(
        "the folder {0} is not on a bpffs: mount one (sudo mount -t bpf bpf /sys/fs/bpf) and name a folder in \
         it, such as /sys/fs/bpf/hot-partition"
    )]
    NoBpffs(String),
    /// It is the root of the bpffs.
    #[error(
        "the folder {0} is the root of a bpffs, which all programs share: name a folder in it, such as \
         {0}/hot-partition"
    )]
    Root(String),
    /// A bpffs does not allow its name.
    #[error("the folder {0} cannot be created: names in a bpffs have no dots")]
    Name(String),
    /// It belongs to another user.
    #[error(
        "the folder {path} belongs to user {owner}, who could lock it or change the pinned set: name a folder \
         that does not exist"
    )]
    Owner {
        /// The folder.
        path: String,
        /// Its owner's user id.
        owner: u32,
    },
    /// Another probe has locked it.
    #[error("the folder {0} is in use by another probe: stop that probe first, or name another folder")]
    InUse(String),
    /// Any other error.
    #[error("{what}: {source}")]
    Other {
        /// The operation that failed.
        what: String,
        /// The kernel's error.
        source: Error,
    },
}

/// The pins that were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Links. Removing one detached a program.
    pub links: Vec<String>,
    /// Maps.
    pub maps: Vec<String>,
}

/// A folder locked by this probe until the value is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder if necessary, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(path: &Path) -> Result<Self, PinError> {
        let path = &resolved(path)?;
        if !check(path)? {
            let made = DirBuilder::new().mode(MODE).create(path);
            made.map_err(|error| failed("cannot be created", path, error))?;
        }
        Self::lock(path)
    }

    /// Locks the folder if it exists.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn existing(path: &Path) -> Result<Option<Self>, PinError> {
        let path = &resolved(path)?;
        if check(path)? { Self::lock(path).map(Some) } else { Ok(None) }
    }

    fn lock(path: &Path) -> Result<Self, PinError> {
        let lock = File::open(path).map_err(|error| failed("cannot be opened", path, error))?;
        let about = lock.metadata().map_err(|error| failed("cannot be read", path, error))?;
        if about.uid() != user() {
            return Err(PinError::Owner { path: path.display().to_string(), owner: about.uid() });
        }
        if about.mode() & 0o777 != MODE {
            let closed = lock.set_permissions(Permissions::from_mode(MODE));
            closed.map_err(|error| failed("cannot be made private", path, error))?;
        }
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(PinError::InUse(path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed("cannot be locked", path, error)),
        }
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the map with this name.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.path.join(MAPS).join(name)
    }

    /// The path of the link with this name.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.path.join(LINKS).join(name)
    }

    /// The names of the maps.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn maps(&self) -> Result<Vec<String>, PinError> {
        names(&self.path.join(MAPS))
    }

    /// The names of the links.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn links(&self) -> Result<Vec<String>, PinError> {
        names(&self.path.join(LINKS))
    }

    /// Whether nothing is pinned here.
    ///
    /// # Errors
    /// When the pins cannot be listed.
    pub fn is_empty(&self) -> Result<bool, PinError> {
        Ok(self.maps()?.is_empty() && self.links()?.is_empty())
    }

    /// Creates the subfolders for maps and links.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn prepare(&self) -> Result<(), PinError> {
        for part in [MAPS, LINKS] {
            let path = self.path.join(part);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed("cannot be created", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Detaches a link and removes its pin.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn remove_link(&self, name: &str) -> Result<(), Error> {
        let path = self.link(name);
        // Detach first, where the kernel supports it. Removing the pin alone detaches a moment later.
        drop(Link::at(&path).map(|link| link.detach()));
        std::fs::remove_file(path)
    }

    /// Removes all links, then all maps.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_all(&self) -> Result<Removed, PinError> {
        let removed = Removed { links: self.links()?, maps: self.maps()? };
        for name in &removed.links {
            self.remove_link(name).map_err(|error| failed("cannot be removed", &self.link(name), error))?;
        }
        for name in &removed.maps {
            let path = self.map(name);
            std::fs::remove_file(&path).map_err(|error| failed("cannot be removed", &path, error))?;
        }
        for part in [LINKS, MAPS] {
            let path = self.path.join(part);
            match std::fs::remove_dir(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("cannot be removed", &path, error));
                }
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Removes the folder itself, which must be empty.
    ///
    /// # Errors
    /// When it is not empty, or the kernel refuses.
    pub fn remove(&self) -> Result<(), PinError> {
        std::fs::remove_dir(&self.path).map_err(|error| failed("cannot be removed", &self.path, error))
    }
}

/// Validates a folder's name from the options.
///
/// # Errors
/// When it is empty.
pub fn named(path: PathBuf) -> Result<PathBuf, SettingError> {
    if path.as_os_str().is_empty() {
        return Err(SettingError::new("PIN", "", "a folder in a bpffs, such as /sys/fs/bpf/hot-partition"));
    }
    Ok(path)
}

/// Whether the folder exists. Also checks that it could be used.
///
/// # Errors
/// When it could not be used.
pub fn check(path: &Path) -> Result<bool, PinError> {
    let path = &resolved(path)?;
    let shown = || path.display().to_string();
    let there = path.is_dir();
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if !is_bpffs(if there { path } else { parent }) {
        return Err(PinError::NoBpffs(shown()));
    }
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if there && device(path) != device(parent) {
        return Err(PinError::Root(shown()));
    }
    Ok(there)
}

/// The path without `.`, `..` and symbolic links. Its last part need not exist.
fn resolved(path: &Path) -> Result<PathBuf, PinError> {
    if path.file_name().is_some_and(|name| name.as_bytes().contains(&b'.')) {
        return Err(PinError::Name(path.display().to_string()));
    }
    let whole = std::fs::canonicalize(path);
    match (&whole, path.file_name()) {
        (Err(error), Some(name)) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            // Without a parent there is nothing to resolve. The check then reports the problem.
            Ok(std::fs::canonicalize(parent.unwrap_or(Path::new(".")))
                .map_or(path.to_owned(), |at| at.join(name)))
        }
        _ => whole.map_err(|error| failed("cannot be resolved", path, error)),
    }
}

/// The effective user id of this process.
#[expect(unsafe_code, reason = "the standard library cannot return the user")]
fn user() -> u32 {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

#[expect(unsafe_code, reason = "the standard library cannot return the file system of a path")]
fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut about = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and there is room for the result.
    if unsafe { libc::statfs(path.as_ptr(), about.as_mut_ptr()) } != 0 {
        return false;
    }
    // The C libraries disagree about the sign of these types.
    // SAFETY: the integers were zeroed and then filled by the kernel.
    i128::from(unsafe { about.assume_init() }.f_type) == i128::from(libc::BPF_FS_MAGIC)
}

fn names(folder: &Path) -> Result<Vec<String>, PinError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed("cannot be listed", folder, error))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> =
        names.collect::<Result<_, _>>().map_err(|error| failed("cannot be listed", folder, error))?;
    names.sort_unstable();
    Ok(names)
}

fn failed(what: &str, path: &Path, source: Error) -> PinError {
    PinError::Other { what: format!("{} {what}", path.display()), source }
}
