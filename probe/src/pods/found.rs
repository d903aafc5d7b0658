//! Describes the pods that a watch has found.

use std::net::SocketAddr;
use std::sync::Arc;

use protocol::probe_api::Feature;

/// The pods of a selection as last reported by the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In order of name. `None` before the first list.
    pub(crate) pods: Option<Arc<[FoundPod]>>,
    /// Why no changes are received. The pods are then the last known ones.
    pub(crate) problem: Option<Problem>,
}

impl Found {
    /// The watch in the form of `/status` and `probe_feature_enabled`.
    pub(crate) fn feature(&self, name: &'static str) -> Feature {
        let reason = match &self.problem {
            None => "ok",
            Some(Problem { is_refusal: true, .. }) => "refused",
            Some(Problem { .. }) => "unreachable",
        };
        Feature {
            feature: name.into(),
            enabled: self.problem.is_none(),
            reason: reason.into(),
            remedy: self.problem.as_ref().map(|problem| problem.text.clone().into()),
        }
    }

    /// The pods, or why they are not known.
    pub(super) fn pods(&self) -> Result<&[FoundPod], String> {
        let unread = || "the Kubernetes API has not been read yet".to_owned();
        let why = || self.problem.as_ref().map_or_else(unread, |problem| problem.text.clone());
        self.pods.as_deref().ok_or_else(why)
    }
}

/// Why no changes are received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Whether the API refuses the service account.
    pub(crate) is_refusal: bool,
    /// One sentence.
    pub(crate) text: String,
}

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundPod {
    pub(crate) name: String,
    /// Empty before the pod is scheduled.
    pub(crate) node: String,
    /// The index in its StatefulSet.
    pub(crate) index: Option<usize>,
    /// The pod's addresses with its port, the main one first. Empty before it has an address.
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
    /// Whether Kubernetes reports it ready.
    pub(crate) is_ready: bool,
}
