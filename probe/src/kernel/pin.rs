//! Pins maps and links in a bpffs, so counting survives the probe.
//!
//! [`PinnedSet::begin`] decides whether this probe can adopt the set of an earlier one. Both must have the same
//! layout, the same shards, maps of the same shape, and the same cgroup. To adopt a set, the probe takes its maps and
//! replaces the programs of its links in place. Any other set is removed, and counting restarts.

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

/// Counting that starts now and ends with the probe.
#[must_use]
pub fn counting_from_now() -> Counting {
    Counting { since: unix_seconds(), pinned: None }
}

/// Loads the object's maps. The maps in the list are opened from their pins.
pub trait Load: Fn(&[(String, PathBuf)]) -> Result<Ebpf, ObjectError> {}

impl<F: Fn(&[(String, PathBuf)]) -> Result<Ebpf, ObjectError>> Load for F {}

/// Why a set can be neither adopted nor created.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// An error of the kernel object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An error of the folder.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// The pinned set of this probe.
#[derive(Debug)]
pub struct PinnedSet {
    folder: Folder,
    mark: Mark,
    state: PinnedCounting,
    /// Whether the set is complete. Dropping an incomplete set removes it, unless it was adopted.
    whole: bool,
}

impl PinnedSet {
    /// Adopts the set in `folder`, or removes it and pins new maps.
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
                "the set pinned under {} cannot be adopted ({why}): it is removed, and counting starts from zero",
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

    /// Attaches a loaded program, or replaces the program of the pinned link `name`.
    ///
    /// # Errors
    /// When the kernel refuses, with the operation that failed.
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
                        "the kernel cannot replace it in place: detached, then attached again"
                    );
                    started = Some(Instant::now());
                    self.forget(name);
                }
            }
        }
        let attached = attach(program)?;
        self.state.gap_seconds += started.map_or(0.0, |started: Instant| started.elapsed().as_secs_f64());
        // The pin keeps the link alive when this descriptor is closed.
        let pinned = attached.pin(&path).map(drop);
        pinned.map_err(|error| ObjectError::other(format!("link {name} cannot be pinned"), &error))
    }

    /// Removes a link whose program cannot be replaced.
    pub fn forget(&self, name: &str) {
        if let Err(error) = self.folder.remove_link(name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(link = name, %error, "cannot be removed");
        }
    }

    /// Removes links that are not in `known`, and marks the set as complete.
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
        written.map_err(|error| ObjectError::other("the pinned set's identity cannot be written", &error))?;
        self.whole = true;
        Ok(())
    }

    /// The set in the form of `/status`.
    #[must_use]
    pub fn counting(&self) -> Counting {
        let directory = self.folder.path().display().to_string();
        let pinned = PinnedCounting { directory, adoptions: self.mark.adoptions, ..self.state.clone() };
        Counting { since: seconds(self.mark.since), pinned: Some(pinned) }
    }
}

/// Removes the new pins of a probe that did not start. An adopted set stays.
impl Drop for PinnedSet {
    fn drop(&mut self) {
        if self.whole || self.state.adopted {
            return;
        }
        if let Err(error) = self.folder.remove_all().and_then(|_| self.folder.remove()) {
            tracing::error!(%error, "the pinned set cannot be removed");
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
