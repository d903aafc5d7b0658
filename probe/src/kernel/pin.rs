//! Pins maps and links in a bpffs, so that counting survives the probe.
//!
//! [`PinnedSet::begin`] finds out whether the set a probe before left can be gone on with: of the same layout, for the
//! same shards, with maps of the same shape, and attached to the same cgroup. Then its maps are taken, and its links
//! are given the new programs in place. Otherwise it is removed, and counting starts anew.

pub mod folder;
mod identity;
mod link;
pub mod unpin;

use std::path::PathBuf;
use std::time::Instant;

use aya::Ebpf;
use aya::programs::Program;
use aya::programs::links::FdLink;
use probe_common::LAYOUT;
use probe_common::pinned::Mark;
use protocol::probe_api::{Counting, PinnedCounting};

use crate::kernel::error::ObjectError;
use folder::{Folder, PinError};
pub use identity::Identity;
use identity::{judge, mark_map, pinned_maps};
use link::Link;
use service::clock::unix_seconds;

/// Counting from now on, for as long as the probe runs.
#[must_use]
pub fn counting_from_now() -> Counting {
    Counting { since: unix_seconds(), pinned: None }
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
    state: PinnedCounting,
    /// Whether it can be gone on with; a set that is dropped before is removed.
    whole: bool,
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
            let state = PinnedCounting { adopted: true, programs_changed, ..PinnedCounting::default() };
            let mark = Mark { object: identity.object, adoptions: mark.adoptions + 1, ..mark };
            let set = Self { folder, mark, state, whole: false };
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
            state: PinnedCounting { removed_because, ..PinnedCounting::default() },
            whole: false,
        };
        set.folder.prepare()?;
        for (name, map) in pinned_maps(&new) {
            map.pin(set.folder.map(name)).map_err(|error| pin_error(name, error))?;
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
        let fd = program.fd().map_err(|error| ObjectError::other(format!("program {name}"), &error))?;
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
        self.state.gap_seconds += started.map_or(0.0, |started: Instant| started.elapsed().as_secs_f64());
        // The pin keeps it, and closing this descriptor does not end it.
        let pinned = attached.pin(&path).map(drop);
        pinned.map_err(|error| ObjectError::other(format!("link {name} cannot be pinned"), &error))
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
        written.map_err(|error| ObjectError::other("the pinned set cannot be marked", &error))?;
        self.whole = true;
        Ok(())
    }

    /// As `/status` shows it.
    #[must_use]
    pub fn counting(&self) -> Counting {
        let directory = self.folder.path().display().to_string();
        let pinned = PinnedCounting { directory, adoptions: self.mark.adoptions, ..self.state.clone() };
        Counting { since: seconds(self.mark.since), pinned: Some(pinned) }
    }
}

/// The probe does not start: what it has pinned goes, if it did not find it there.
impl Drop for PinnedSet {
    fn drop(&mut self) {
        if self.whole || self.state.adopted {
            return;
        }
        if let Err(error) = self.folder.remove_all().and_then(|_| self.folder.remove()) {
            tracing::error!(%error, "what was pinned cannot be removed");
        }
    }
}

fn pin_error(name: &str, error: aya::pin::PinError) -> PinError {
    let source = match error {
        aya::pin::PinError::SyscallError(error) => error.io_error,
        other => std::io::Error::other(other),
    };
    PinError::Other { what: format!("the map {name} cannot be pinned"), source }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of this century")]
fn microseconds(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[expect(clippy::cast_precision_loss, reason = "exact in this century")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}
