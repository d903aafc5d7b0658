//! Replaces the Kubernetes client in a build without it.

use std::convert::Infallible;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::found::Found;
use super::selection::{ApiServer, Selection};

/// Has no values, because [`check`] refuses every API server.
#[derive(Debug)]
pub(crate) struct PodWatch(Infallible);

pub(super) fn check(_: &ApiServer) -> Result<(), String> {
    Err("this build has no Kubernetes client".to_owned())
}

impl PodWatch {
    pub(crate) fn new(_: Selection) -> Result<Self, String> {
        Err("this build has no Kubernetes client".to_owned())
    }

    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        match self.0 {}
    }

    pub(crate) async fn first(&mut self) {
        match self.0 {}
    }

    pub(crate) async fn run(self, _: CancellationToken) {
        match self.0 {}
    }
}
