//! Runs one node: containerd, kubelet and kube-proxy in a network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::cgroup::Cgroup;
use lab::process::{Log, Process};
use lab::{command, signals};
use serde_json::json;

use super::certificates::Certificates;
use super::network::{self, NODES, inside};
use super::parts::Parts;
use super::remains;

/// containerd must answer within this time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    folder: PathBuf,
    logs: PathBuf,
    kubelet: Process,
    _proxy: Process,
    containerd: Process,
}

impl Node {
    /// Starts node `index` and imports `images`.
    ///
    /// # Errors
    /// When a program cannot be started or an image is refused.
    pub(crate) fn start(
        index: usize,
        parts: &Parts,
        certificates: &Certificates,
        state: &Path,
        runtimes: &Cgroup,
        images: &[PathBuf],
    ) -> Result<Self> {
        let name = NODES[index];
        let (folder, logs) = (state.join(name), state.join("log"));
        fs::create_dir_all(folder.join("cni"))?;
        private(&remains::run_folder(name))?;
        configure(index, &folder, certificates)?;
        let containerd = containerd(name, &folder, &logs, runtimes)?;
        for image in images {
            let mut import = ctr(name);
            command::capture(import.args(["images", "import"]).arg(image))
                .with_context(|| format!("{name} refuses {}", image.display()))?;
        }
        let kubelet = kubelet(index, &folder, &logs, parts, certificates)?;
        let mut proxy = inside(name, parts.program("kube-proxy"));
        proxy.arg("--config").arg(folder.join("proxy.json"));
        let proxy = Process::start("kube-proxy", proxy, Log::at(logs.join(format!("{name}-proxy.log")))?)?;
        network::queue_for_policies(name)?;
        Ok(Self { name, folder, logs, kubelet, _proxy: proxy, containerd })
    }

    /// Kills kubelet and containerd. The containers keep running.
    pub(crate) fn kill_agents(&mut self) {
        self.kubelet.kill();
        self.containerd.kill();
    }

    /// Starts both again.
    ///
    /// # Errors
    /// When one cannot be started.
    pub(crate) fn start_agents(
        &mut self,
        parts: &Parts,
        certificates: &Certificates,
        runtimes: &Cgroup,
    ) -> Result<()> {
        let index = NODES.iter().position(|node| *node == self.name).context("an unknown node")?;
        self.containerd = containerd(self.name, &self.folder, &self.logs, runtimes)?;
        self.kubelet = kubelet(index, &self.folder, &self.logs, parts, certificates)?;
        Ok(())
    }
}

/// `ctr` for the containers of a node's pods.
pub(crate) fn ctr(node: &str) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("-a").arg(socket(node)).args(["-n", "k8s.io"]);
    ctr
}

/// Makes a folder with mode 0700.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).with_context(|| folder.display().to_string())
}

fn socket(node: &str) -> PathBuf {
    remains::run_folder(node).join("containerd.sock")
}

fn containerd(name: &str, folder: &Path, logs: &Path, runtimes: &Cgroup) -> Result<Process> {
    let mut containerd = inside(name, "containerd");
    containerd.arg("-c").arg(folder.join("containerd.toml"));
    runtimes.enter(&mut containerd)?;
    let log = Log::at(logs.join(format!("{name}-containerd.log")))?;
    let process = Process::start("containerd", containerd, log)?;
    let answers = signals::poll(ANSWERS_WITHIN, Duration::from_millis(100), || {
        Ok(command::capture(ctr(name).arg("version")).ok())
    })?;
    answers.with_context(|| format!("containerd does not answer; {}", process.last_words()))?;
    Ok(process)
}

fn kubelet(
    index: usize,
    folder: &Path,
    logs: &Path,
    parts: &Parts,
    certificates: &Certificates,
) -> Result<Process> {
    let name = NODES[index];
    let mut kubelet = inside(name, parts.program("kubelet"));
    kubelet.arg("--config").arg(folder.join("kubelet.json")).arg("--root-dir").arg(folder.join("kubelet"));
    kubelet.arg("--cert-dir").arg(folder.join("pki"));
    kubelet.args(["--kubeconfig", &certificates.path(&format!("{name}.conf")), "--hostname-override", name]);
    kubelet.args(["--node-ip", &network::node_address(index)]);
    Process::start("kubelet", kubelet, Log::at(logs.join(format!("{name}-kubelet.log")))?)
}

fn configure(index: usize, folder: &Path, certificates: &Certificates) -> Result<()> {
    let (name, run) = (NODES[index], remains::run_folder(NODES[index]));
    let bridge = json!({
        "cniVersion": "1.0.0", "name": "hpl", "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": folder.join("ipam"),
                "ranges": [[{ "subnet": network::pod_range(index) }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    fs::write(folder.join("cni/hpl.conflist"), bridge.to_string())?;
    // Without CAP_SYS_RESOURCE runc may not lower a process's OOM score, hence `restrict_oom_score_adj`.
    let runtime = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/hpl/pause:1\"\ndisable_apparmor = true\n\
         restrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = {:?}\n",
        folder.join("containerd"),
        run.join("containerd"),
        socket(name),
        folder.join("cni"),
    );
    fs::write(folder.join("containerd.toml"), runtime)?;
    // Pods with `dnsPolicy: Default` get a resolver that nobody answers.
    let resolver = folder.join("resolv.conf");
    fs::write(&resolver, "nameserver 127.0.0.1\n")?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false }, "webhook": { "enabled": true },
            "x509": { "clientCAFile": certificates.path("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{name}"),
        "failSwapOn": false, "failCgroupV1": false,
        "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local", "resolvConf": resolver,
        "containerRuntimeEndpoint": format!("unix://{}", socket(name).display()),
        "podLogsDir": folder.join("podlogs"),
        // The machine's disk and memory are not the cluster's own.
        "evictionHard": { "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi" },
        // Images cannot be pulled again, so none is removed from a full disk.
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
    });
    fs::write(folder.join("kubelet.json"), kubelet.to_string())?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "clusterCIDR": "10.244.0.0/16", "hostnameOverride": name,
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "clientConnection": { "kubeconfig": certificates.path("admin.conf") },
    });
    fs::write(folder.join("proxy.json"), proxy.to_string()).context("cannot write proxy.json")
}
