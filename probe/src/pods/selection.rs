//! Names the pods to watch, and the API server to ask for them.

use std::path::PathBuf;

use hyper::http::uri::Authority;

/// The API server, and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiServer {
    /// Host and port.
    pub(super) authority: Authority,
    /// The only trusted certificate authorities, as PEM.
    pub(super) ca: Vec<u8>,
    /// The file with the token.
    pub(super) token: PathBuf,
}

/// The pods to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(super) server: ApiServer,
    pub(super) namespace: String,
    /// A label selector.
    pub(super) labels: String,
    /// `None` selects the pods of all nodes.
    pub(super) node: Option<String>,
}

impl Selection {
    /// A description of the place to search, for messages.
    pub(super) fn place(&self) -> String {
        let Self { node, namespace, .. } = self;
        node.as_ref().map_or_else(|| format!("in {namespace}"), |node| format!("on node {node}"))
    }
}
