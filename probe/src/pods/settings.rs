//! Defines the settings of a watch of pods.

use std::path::PathBuf;

use service::args::SettingError;

use super::selection::{ApiServer, Selection};
use super::watcher;

/// Where Kubernetes mounts the credentials of a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Options for shards that are pods.
#[derive(Clone, Debug, clap::Args)]
pub struct PodArgs {
    /// Label selector of the shards' pods, such as app.kubernetes.io/component=shard. A pod's index in its StatefulSet
    /// is the shard's id [default: the addresses of the names in SHARD_URLS]
    #[arg(long, env = "KUBERNETES_SELECTOR", value_name = "LABELS")]
    pub kubernetes_selector: Option<String>,
    /// The namespace of those pods [default: the probe's own]
    #[arg(long, env = "KUBERNETES_NAMESPACE", value_name = "NAME")]
    pub kubernetes_namespace: Option<String>,
    /// Watch only the pods on this node [default: on any]
    #[arg(long, env = "NODE_NAME", value_name = "NODE")]
    pub node_name: Option<String>,
    /// The API server
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Options for the Kubernetes API.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiArgs {
    /// Host of the Kubernetes API; Kubernetes sets this and the next variable in every pod
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "HOST")]
    pub kubernetes_service_host: Option<String>,
    /// Port of the Kubernetes API
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", default_value_t = 443, value_name = "PORT")]
    pub kubernetes_service_port: u16,
    /// Folder with `token`, `ca.crt` and `namespace` of the probe's service account
    #[arg(long, env = "KUBERNETES_ACCOUNT", default_value = ACCOUNT, value_name = "DIR")]
    pub kubernetes_account: PathBuf,
}

impl PodArgs {
    /// Validates the settings. Returns `None` when the shards are not pods.
    pub(crate) fn checked(self) -> Result<Option<Selection>, SettingError> {
        let node = self.node_name.filter(|node| !node.is_empty());
        self.api.select("KUBERNETES_SELECTOR", self.kubernetes_selector, self.kubernetes_namespace, node)
    }
}

impl ApiArgs {
    /// Validates the selection that the setting `name` contains. Returns `None` when that is not set. Without a
    /// namespace it is the probe's own.
    pub(crate) fn select(
        self,
        name: &'static str,
        labels: Option<String>,
        namespace: Option<String>,
        node: Option<String>,
    ) -> Result<Option<Selection>, SettingError> {
        let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
            return Ok(None);
        };
        if cfg!(not(feature = "kubernetes")) {
            let allowed = "this build has no Kubernetes client; unset it, or build the probe with `--features kubernetes`";
            return Err(SettingError::new(name, labels, allowed));
        }
        let Some(host) = self.kubernetes_service_host.filter(|host| !host.is_empty()) else {
            let allowed = format!("the API's host; in a pod Kubernetes sets it, elsewhere leave {name} out");
            return Err(SettingError::new("KUBERNETES_SERVICE_HOST", "", allowed));
        };
        let account = self.kubernetes_account;
        let refused =
            |why: String| SettingError::new("KUBERNETES_ACCOUNT", account.display().to_string(), why);
        let read = |name: &str| {
            let allowed = |error| format!("a folder with token, ca.crt and namespace; {name}: {error}");
            std::fs::read(account.join(name)).map_err(|error| refused(allowed(error)))
        };
        let namespace = match namespace.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => String::from_utf8_lossy(&read("namespace")?).trim().to_owned(),
        };
        let ca = read("ca.crt")?;
        read("token")?;
        let brackets = host.contains(':') && !host.starts_with('[');
        let host = if brackets { format!("[{host}]") } else { host };
        let authority = format!("{host}:{}", self.kubernetes_service_port).parse().map_err(|error| {
            SettingError::new("KUBERNETES_SERVICE_HOST", host, format!("a host name or address; {error}"))
        })?;
        let server = ApiServer { authority, ca, token: account.join("token") };
        watcher::check(&server)
            .map_err(|why| refused(format!("a folder whose ca.crt can be used: {why}")))?;
        Ok(Some(Selection { server, namespace, labels, node }))
    }
}
