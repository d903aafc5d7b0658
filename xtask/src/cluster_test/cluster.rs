//! Brings a cluster of two nodes up and takes it down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::cgroup::Cgroup;
use lab::process::Signal;
use lab::tree::Tree;
use lab::{command, signals};

use super::certificates::Certificates;
use super::control_plane::ControlPlane;
use super::image::Image;
use super::network::{self, CONTROL, NODES, inside};
use super::node::{self, Node};
use super::parts::Parts;
use super::wait::wait;
use super::{cgroups, remains};

/// What a cluster has from the start: names, policies, metrics.
const SYSTEM: [(&str, &str); 3] = [
    ("policies", include_str!("manifests/policies.yaml")),
    ("coredns", include_str!("manifests/coredns.yaml")),
    ("metrics-server", include_str!("manifests/metrics-server.yaml")),
];

/// Definitions of the Prometheus operator that the overlays use.
const DEFINITIONS: [&str; 2] = ["podmonitors", "prometheusrules"];

/// The programs of the cluster that run in pods.
const IN_PODS: [&str; 6] =
    ["pause", "coredns", "kube-network-policies", "metrics-server", "prometheus", "jaeger"];

/// A running cluster. Dropping it takes it down.
#[derive(Debug)]
pub(crate) struct Cluster {
    parts: Parts,
    state: PathBuf,
    certificates: Option<Certificates>,
    control: Option<ControlPlane>,
    nodes: Vec<Node>,
    runtimes: Option<Cgroup>,
    /// Held as long as the cluster is up.
    _claim: File,
}

impl Cluster {
    /// Removes the remains of an earlier run, and starts two nodes with the images of the cluster's parts and of the lab's
    /// `programs` in the folder given.
    ///
    /// # Errors
    /// When a cluster runs already, or a part does not start. What has started is taken down.
    pub(crate) fn up(tree: &Tree, parts: Parts, programs: &Path) -> Result<Self> {
        let claim = claim()?;
        let state = parts.folder().join("state");
        if remains::are_there(&state) {
            println!("  removing what an earlier run left");
            remains::remove(&state)?;
        }
        node::private(&state)?;
        let mut cluster = Self {
            parts,
            state,
            certificates: None,
            control: None,
            nodes: Vec::new(),
            runtimes: None,
            _claim: claim,
        };
        cluster.start(tree, programs)?;
        Ok(cluster)
    }

    fn start(&mut self, tree: &Tree, programs: &Path) -> Result<()> {
        let images = self.images(tree, programs)?;
        cgroups::create()?;
        let runtimes = Cgroup::create(cgroups::RUNTIMES)?;
        let runtimes = self.runtimes.insert(runtimes);
        network::create()?;
        let certificates = Certificates::create(self.state.join("pki"))?;
        let certificates = self.certificates.insert(certificates);
        let kubectl = kubectl(&self.parts, certificates);
        self.control =
            Some(ControlPlane::start(&self.parts, certificates, &self.state, || answers(&kubectl))?);
        for (index, name) in NODES.iter().enumerate() {
            println!("  starting {name}");
            let node = Node::start(index, &self.parts, certificates, &self.state, runtimes, &images)?;
            self.nodes.push(node);
        }
        for (name, manifest) in SYSTEM {
            self.apply(name, manifest)?;
        }
        wait("the nodes", Duration::from_secs(90), || {
            let ready = "-ojsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
            let states = self.kubectl(&["get", "nodes", ready])?;
            Ok((states.split_whitespace().filter(|state| *state == "True").count() == NODES.len())
                .then_some(()))
        })?;
        self.rolled_out("kube-system", "daemonset/policies")?;
        self.rolled_out("kube-system", "deployment/coredns")?;
        self.add_definitions()
    }

    /// Adds the definitions of the Prometheus operator.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub(crate) fn add_definitions(&self) -> Result<()> {
        for kind in DEFINITIONS {
            let file = self.parts.crds().join(format!("monitoring.coreos.com_{kind}.yaml"));
            self.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])?;
            let name = format!("crd/{kind}.monitoring.coreos.com");
            self.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=30s"])?;
        }
        Ok(())
    }

    /// Removes the definitions of the Prometheus operator, and all objects of its kinds.
    ///
    /// # Errors
    /// When the API server does not.
    pub(crate) fn remove_definitions(&self) -> Result<()> {
        let names = DEFINITIONS.map(|kind| format!("{kind}.monitoring.coreos.com"));
        self.kubectl(&["delete", "crd", &names[0], &names[1]]).map(drop)
    }

    /// Writes the images that are missing, of the cluster's parts and of the lab's programs.
    fn images(&self, tree: &Tree, programs: &Path) -> Result<Vec<PathBuf>> {
        let folder = self.parts.folder().join("images");
        fs::create_dir_all(&folder)?;
        let mut archives = Vec::new();
        for name in IN_PODS {
            let (reference, program) = (format!("docker.io/hpl/{name}:1"), self.parts.program(name));
            let image = Image {
                reference: &reference,
                program: &program,
                user: "",
                environment: &[],
                arguments: &[],
            };
            archives.push(image.write(&folder)?);
        }
        for (name, user, arguments) in
            [("gateway", "65532:65532", &[][..]), ("shard", "65532:65532", &[]), ("probe", "0", &["run"])]
        {
            let (reference, program) =
                (format!("docker.io/hot-partition-lab/{name}:dev"), programs.join(name));
            if !program.is_file() {
                bail!("there is no {}: build it, or give --programs another folder", tree.shown(&program));
            }
            let environment = &["BIND_ADDRESS=0.0.0.0"];
            let image = Image { reference: &reference, program: &program, user, environment, arguments };
            archives.push(image.write(&folder)?);
        }
        Ok(archives)
    }

    /// Runs kubectl and returns its output.
    ///
    /// # Errors
    /// When it fails. The error has its last line.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command()?;
        command::capture(command.args(arguments)).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// kubectl with its settings.
    ///
    /// # Errors
    /// When the cluster has no certificates yet.
    pub(crate) fn kubectl_command(&self) -> Result<Command> {
        Ok(self.commands()?())
    }

    /// Makes kubectl commands, also on another thread.
    ///
    /// # Errors
    /// When the cluster has no certificates yet.
    pub(crate) fn commands(&self) -> Result<impl Fn() -> Command + Send + use<>> {
        Ok(kubectl(&self.parts, self.certificates()?))
    }

    /// Applies the objects of a manifest.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub(crate) fn apply(&self, name: &str, manifest: &str) -> Result<()> {
        let file = self.state.join(format!("{name}.yaml"));
        fs::write(&file, manifest)?;
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file.display().to_string()])
            .map(drop)
    }

    /// Waits until a workload is rolled out.
    ///
    /// # Errors
    /// When it is not after three minutes.
    pub(crate) fn rolled_out(&self, namespace: &str, workload: &str) -> Result<()> {
        let rolled = wait(&format!("the roll-out of {workload}"), Duration::from_secs(180), || {
            let status = ["-n", namespace, "rollout", "status", workload, "--timeout=5s"];
            signals::check()?;
            Ok(self.kubectl(&status).ok().map(drop))
        });
        rolled.with_context(|| self.not_ready(namespace).unwrap_or_default())
    }

    /// The pods of `namespace` that are not ready, with the last line that each wrote.
    fn not_ready(&self, namespace: &str) -> Result<String> {
        let mut found = Vec::new();
        let all = self.kubectl(&["-n", namespace, "get", "pods", "--no-headers"])?;
        for pod in all.lines().filter(|line| !line.contains("1/1")) {
            let words: Vec<&str> = pod.split_whitespace().collect();
            let name = words.first().copied().unwrap_or_default();
            let log = self.kubectl(&["-n", namespace, "logs", name, "--tail=1"]).unwrap_or_default();
            found.push(format!("{}: {}", words.join(" "), log.trim()));
        }
        Ok(format!("not ready: {}", found.join("; ")))
    }

    /// The folder for files of this run.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Stops (`true`) or resumes the API server's process.
    ///
    /// # Errors
    /// When the cluster is not up.
    pub(crate) fn freeze_api_server(&mut self, stop: bool) -> Result<()> {
        let control = self.control.as_ref().context("the cluster is not up")?;
        control.api_server.signal(if stop { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    /// Kills the API server and starts it again. This breaks every watch.
    ///
    /// # Errors
    /// When it does not answer again.
    pub(crate) fn restart_api_server(&mut self) -> Result<()> {
        let certificates = self.certificates.clone().context("the cluster is not up")?;
        let control = self.control.as_mut().context("the cluster is not up")?;
        control.restart_api_server(&self.parts, &certificates, &self.state)?;
        answers(&kubectl(&self.parts, &certificates))
    }

    /// Kills kubelet and containerd of a node, or starts them again.
    ///
    /// # Errors
    /// When there is no such node, or they do not start.
    pub(crate) fn kill_agents(&mut self, name: &str) -> Result<()> {
        self.node(name)?.kill_agents();
        Ok(())
    }

    /// Starts kubelet and containerd of a node again.
    ///
    /// # Errors
    /// When there is no such node, or they do not start.
    pub(crate) fn start_agents(&mut self, name: &str) -> Result<()> {
        let certificates = self.certificates.clone().context("the cluster is not up")?;
        let runtimes = self.runtimes.as_ref().context("the cluster is not up")?;
        let node = self.nodes.iter_mut().find(|node| node.name == name).context("no such node")?;
        node.start_agents(&self.parts, &certificates, runtimes)
    }

    /// Makes the certificate of a server with this DNS name. Returns the paths of the authority's certificate, of the
    /// server's, and of its key.
    ///
    /// # Errors
    /// When the cluster has no certificates yet, or openssl fails.
    pub(crate) fn server_certificate(&self, name: &str, dns: &str) -> Result<[String; 3]> {
        let certificates = self.certificates()?;
        certificates.server(name, dns)?;
        Ok(["ca.crt".to_owned(), format!("{name}.crt"), format!("{name}.key")]
            .map(|file| certificates.path(&file)))
    }

    fn node(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name == name).with_context(|| format!("no node {name}"))
    }

    fn certificates(&self) -> Result<&Certificates> {
        self.certificates.as_ref().context("the cluster is not up")
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// When something is left. The error lists it.
    pub(crate) fn down(&mut self) -> Result<()> {
        if let Some(control) = &mut self.control {
            // A stopped process cannot be waited for after SIGTERM, so all are killed.
            control.ended().iter().for_each(|problem| eprintln!("  {problem}"));
        }
        self.nodes.clear();
        self.control = None;
        remains::end_processes();
        self.runtimes = None;
        remains::remove(&self.state)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("  {error:#}");
        }
    }
}

/// Makes kubectl commands.
fn kubectl(parts: &Parts, certificates: &Certificates) -> impl Fn() -> Command + Send + use<> {
    let (program, config) = (parts.program("kubectl"), certificates.path("admin.conf"));
    move || {
        let mut command = inside(CONTROL, &program);
        command.args(["--kubeconfig", &config, "--request-timeout=60s"]);
        command
    }
}

/// Waits until the API server is ready.
fn answers(kubectl: &impl Fn() -> Command) -> Result<()> {
    wait("the API server", Duration::from_secs(90), || {
        Ok(command::capture(kubectl().args(["get", "--raw", "/readyz"])).ok().map(drop))
    })
}

/// Locks the names of the cluster for this process.
fn claim() -> Result<File> {
    let path = "/run/hpl-cluster.lock";
    let file = File::options().create(true).truncate(false).write(true).open(path).context(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("a cluster-test runs already on this machine; end it first"),
    }
}
