//! Finds the shards' addresses as pods, through the Kubernetes API.
//!
//! Statistics are still read at the names in `SHARD_URLS`. The kernel counts at the addresses of the pods on this
//! node. A pod's packets pass only the probe of the pod's node.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use service::args::SettingError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::targets::Lookup;

#[cfg(feature = "kubernetes")]
mod api;
#[cfg(not(feature = "kubernetes"))]
#[path = "pods/api_absent.rs"]
mod api;
mod list;

use self::api::Api;

/// Interval between requests to the API.
const PERIOD: Duration = Duration::from_secs(2);

/// Minimum interval between warnings about the same problem.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

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

/// Which pods are the shards, and which API server lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodSettings {
    uri: Uri,
    account: PathBuf,
    ca: Vec<u8>,
    /// A description of the place to search, for messages.
    place: String,
}

impl PodArgs {
    /// Validates the settings. Returns `None` when the shards are not pods.
    pub(crate) fn checked(self) -> Result<Option<PodSettings>, SettingError> {
        let Some(selector) = self.kubernetes_selector.filter(|selector| !selector.is_empty()) else {
            return Ok(None);
        };
        if cfg!(not(feature = "kubernetes")) {
            let allowed = "this build has no Kubernetes client; unset it, or build the probe with `--features kubernetes`";
            return Err(SettingError::new("KUBERNETES_SELECTOR", selector, allowed));
        }
        let Some(host) = self.kubernetes_service_host.filter(|host| !host.is_empty()) else {
            let allowed =
                "the API's host; in a pod Kubernetes sets it, elsewhere leave KUBERNETES_SELECTOR out";
            return Err(SettingError::new("KUBERNETES_SERVICE_HOST", "", allowed));
        };
        let account = self.kubernetes_account;
        let refused =
            |why: String| SettingError::new("KUBERNETES_ACCOUNT", account.display().to_string(), why);
        let read = |name: &str| {
            let allowed = |error| format!("a folder with token, ca.crt and namespace; {name}: {error}");
            std::fs::read(account.join(name)).map_err(|error| refused(allowed(error)))
        };
        let namespace = match self.kubernetes_namespace.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => String::from_utf8_lossy(&read("namespace")?).trim().to_owned(),
        };
        let ca = read("ca.crt")?;
        read("token")?;
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let brackets = host.contains(':') && !host.starts_with('[');
        let host = if brackets { format!("[{host}]") } else { host };
        // Version 0 permits a list from the API server's cache.
        let mut uri = format!(
            "https://{host}:{}/api/v1/namespaces/{}/pods?resourceVersion=0&labelSelector={}",
            self.kubernetes_service_port,
            encoded(&namespace),
            encoded(&selector)
        );
        let node = self.node_name.filter(|node| !node.is_empty());
        if let Some(node) = &node {
            uri = format!("{uri}&fieldSelector={}", encoded(&format!("spec.nodeName={node}")));
        }
        let uri = uri.parse().map_err(|error| {
            SettingError::new("KUBERNETES_SERVICE_HOST", host, format!("a host name or address; {error}"))
        })?;
        let place = node.map_or_else(|| format!("in {namespace}"), |node| format!("on node {node}"));
        let settings = PodSettings { uri, account: account.clone(), ca, place };
        settings.api().map_err(|why| refused(format!("a folder whose ca.crt can be used: {why}")))?;
        Ok(Some(settings))
    }
}

impl PodSettings {
    fn api(&self) -> Result<Api, String> {
        Api::new(self.uri.clone(), &self.ca, self.account.join("token"))
    }
}

/// Keeps the shards' addresses as last returned by the API.
pub(crate) struct Pods {
    settings: PodSettings,
    api: Api,
    shards: usize,
    known: watch::Sender<Vec<Lookup>>,
    last_list: bool,
    complained: Option<(String, Instant)>,
}

impl Pods {
    /// Starts without any addresses.
    pub(crate) fn new(settings: PodSettings, shards: usize) -> Result<Self, String> {
        let api = settings.api()?;
        let nothing = vec![Err("the Kubernetes API has not been read yet".to_owned()); shards];
        Ok(Self {
            settings,
            api,
            shards,
            known: watch::Sender::new(nothing),
            last_list: false,
            complained: None,
        })
    }

    /// Subscribes to the addresses.
    pub(crate) fn known(&self) -> watch::Receiver<Vec<Lookup>> {
        self.known.subscribe()
    }

    /// Replaces the client for another runtime. Connections belong to the runtime that created them.
    pub(crate) fn renew_client(&mut self) -> Result<(), String> {
        self.api = self.settings.api()?;
        Ok(())
    }

    /// Refreshes the addresses until `stopping`.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        // The first look has already refreshed once.
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                _ = ticks.tick() => self.refresh().await,
            }
        }
    }

    /// Refreshes the addresses once. After a failed request they stay as they were.
    pub(crate) async fn refresh(&mut self) {
        let list = match self.api.pods().await {
            Ok(list) => list,
            Err(why) => {
                let problem = format!("no list of pods from the Kubernetes API: {why}");
                if !self.last_list {
                    self.known.send_replace(vec![Err(problem.clone()); self.shards]);
                }
                self.complain(problem);
                return;
            }
        };
        self.last_list = true;
        let unknown_pods = list.unknown_pods(self.shards).join(", ");
        if unknown_pods.is_empty() {
            self.complained = None;
        } else {
            self.complain(format!("pods without a shard in SHARD_URLS: {unknown_pods}"));
        }
        let found = list.lookups(self.shards, &self.settings.place);
        self.known.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }

    /// Logs a new problem at once, and the same one once a minute.
    fn complain(&mut self, problem: String) {
        let lately = self.complained.as_ref();
        if lately.is_some_and(|(last_problem, at)| *last_problem == problem && at.elapsed() < WARN_INTERVAL) {
            return;
        }
        tracing::warn!("{problem}");
        self.complained = Some((problem, Instant::now()));
    }
}
