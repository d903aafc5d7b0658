//! Finds pods through the Kubernetes API.
//!
//! The API is watched: it returns a list of pods once, then each change. [`watch()`] follows the pods of one selection.
//! [`shards`] turns them into the shards' addresses, [`urls`] into the URLs of probes or gateways.

#[cfg(feature = "kubernetes")]
mod bounded;
pub(crate) mod found;
#[cfg(feature = "kubernetes")]
mod known;
#[cfg(feature = "kubernetes")]
mod pod;
pub(crate) mod selection;
pub mod settings;
pub(crate) mod shards;
#[cfg(feature = "kubernetes")]
mod transport;
pub(crate) mod urls;
mod warnings;
#[cfg(feature = "kubernetes")]
mod watcher;
#[cfg(not(feature = "kubernetes"))]
#[path = "pods/watcher_absent.rs"]
mod watcher;

pub use self::settings::PodArgs;
pub(crate) use self::watcher::PodWatch;
