//! Starts etcd, API server, controller manager and scheduler.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use lab::process::{Log, Process};

use super::certificates::Certificates;
use super::network::{API_ADDRESS, CONTROL, inside};
use super::parts::Parts;

/// The control plane's processes.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(crate) api_server: Process,
    /// Controller manager and scheduler, which need the API server, and etcd, which it needs.
    others: Vec<Process>,
}

impl ControlPlane {
    /// Starts etcd and the API server, calls `ready`, and starts the others.
    ///
    /// # Errors
    /// When a program cannot be started, and the errors of `ready`.
    pub(crate) fn start(
        parts: &Parts,
        certificates: &Certificates,
        state: &Path,
        ready: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let mut etcd = inside(CONTROL, "etcd");
        etcd.arg("--data-dir").arg(state.join("etcd"));
        for urls in ["listen-client-urls", "advertise-client-urls"] {
            etcd.args([format!("--{urls}"), "http://127.0.0.1:2379".to_owned()]);
        }
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
        let mut others = vec![start("etcd", etcd, state)?];
        let api_server = api_server(parts, certificates, state)?;
        ready()?;
        let config = certificates.path("admin.conf");
        let mut manager = inside(CONTROL, parts.program("kube-controller-manager"));
        manager.args(["--leader-elect=false", "--use-service-account-credentials", "--kubeconfig", &config]);
        manager.args(["--cluster-cidr", "10.244.0.0/16", "--root-ca-file", &certificates.path("ca.crt")]);
        manager.args(["--service-account-private-key-file", &certificates.path("sa.key")]);
        others.push(start("controller-manager", manager, state)?);
        let mut scheduler = inside(CONTROL, parts.program("kube-scheduler"));
        scheduler.args(["--leader-elect=false", "--kubeconfig", &config]);
        others.push(start("scheduler", scheduler, state)?);
        Ok(Self { api_server, others })
    }

    /// Kills the API server and starts it again. This breaks every watch.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn restart_api_server(
        &mut self,
        parts: &Parts,
        certificates: &Certificates,
        state: &Path,
    ) -> Result<()> {
        self.api_server.kill();
        self.api_server = api_server(parts, certificates, state)?;
        Ok(())
    }

    /// The processes that have ended although they should run, with their last lines.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let all = self.others.iter_mut().chain([&mut self.api_server]);
        all.filter_map(|process| {
            (!process.is_running()).then(|| format!("{} has ended: {}", process.name(), process.last_words()))
        })
        .collect()
    }
}

fn api_server(parts: &Parts, certificates: &Certificates, state: &Path) -> Result<Process> {
    let mut command = inside(CONTROL, parts.program("kube-apiserver"));
    command.args(["--etcd-servers", "http://127.0.0.1:2379", "--advertise-address", API_ADDRESS]);
    command.args(["--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "Node,RBAC"]);
    command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    command.args(["--kubelet-preferred-address-types", "InternalIP", "--enable-aggregator-routing"]);
    for (option, file) in [
        ("client-ca-file", "ca.crt"),
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("service-account-key-file", "sa.key"),
        ("service-account-signing-key-file", "sa.key"),
        ("kubelet-client-certificate", "admin.crt"),
        ("kubelet-client-key", "admin.key"),
        // The aggregation layer, for the metrics server.
        ("requestheader-client-ca-file", "ca.crt"),
        ("proxy-client-cert-file", "admin.crt"),
        ("proxy-client-key-file", "admin.key"),
    ] {
        command.arg(format!("--{option}")).arg(certificates.path(file));
    }
    command.args([
        "--requestheader-allowed-names",
        "admin",
        "--requestheader-username-headers",
        "X-Remote-User",
    ]);
    command.args(["--requestheader-group-headers", "X-Remote-Group"]);
    command.args(["--requestheader-extra-headers-prefix", "X-Remote-Extra-"]);
    start("apiserver", command, state)
}

fn start(name: &str, command: Command, state: &Path) -> Result<Process> {
    Process::start(name, command, Log::at(state.join("log").join(format!("{name}.log")))?)
}
