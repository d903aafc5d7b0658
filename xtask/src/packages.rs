//! Lists the system packages that the lab needs, and installs them.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step::Step;
use crate::toolchain::{self, Compiler, Origin};
use lab::tree::Tree;
use lab::{command, programs};

/// The task that a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Building any program.
    Build,
    /// Building the kernel object.
    Kernel,
    /// Tools that the tests call.
    Tests,
    /// Tools that the probe's cost is compared with.
    Peers,
    /// Servers that the gateway is compared with, and their load generator.
    GatewayPeers,
    /// Tools that break the lab on purpose.
    Faults,
    /// Installing k6.
    LoadTool,
    /// Tests of the live page in a browser.
    Page,
    /// A container engine, and base images if none can be pulled.
    Containers,
    /// Linting the kernel programs.
    Lints,
    /// Building a static program.
    Static,
    /// A store for the probe to watch.
    Store,
    /// A Kubernetes cluster on this machine, beside what is built with Go.
    Cluster,
}

/// One package of the table.
struct Package {
    /// Debian's package name. `{llvm}` stands for the major version of the compiler's LLVM.
    name: &'static str,
    part: Part,
    /// What the package provides. Used to find out whether it is missing.
    brings: Brings,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// A program in `PATH`.
    Program(&'static str),
    /// A compiler for the kernel target, with library sources.
    KernelCompiler,
    /// The LLVM that matches that compiler.
    Llvm,
    /// k6, or a Python that can create environments, to install k6 in one.
    PythonVenv,
    /// The clippy driver of that compiler.
    KernelClippy,
}

const TABLE: [Package; 43] = [
    package("gcc", Part::Build, Brings::Program("cc"), "links every program and compiles the allocator"),
    package("libc6-dev", Part::Build, Brings::Program("cc"), "the C library's headers"),
    package(
        "rustc-web",
        Part::Kernel,
        Brings::KernelCompiler,
        "a compiler that is packaged with its sources",
    ),
    package(
        "rust-web-src",
        Part::Kernel,
        Brings::KernelCompiler,
        "the sources of core, built for the kernel",
    ),
    package("llvm-{llvm}-dev", Part::Kernel, Brings::Llvm, "bpf-linker is linked with the compiler's LLVM"),
    package("libpolly-{llvm}-dev", Part::Kernel, Brings::Llvm, "LLVM links to it"),
    package("zlib1g-dev", Part::Kernel, Brings::Llvm, "LLVM links to it"),
    package("libzstd-dev", Part::Kernel, Brings::Llvm, "LLVM links to it"),
    package("libxml2-dev", Part::Kernel, Brings::Llvm, "LLVM links to it"),
    package(
        "nftables",
        Part::Tests,
        Brings::Program("nft"),
        "counts the shards' bytes independently of the probe",
    ),
    package("iproute2", Part::Tests, Brings::Program("ip"), "gives the accuracy suite its own networks"),
    package(
        "bpftool",
        Part::Tests,
        Brings::Program("bpftool"),
        "shows that a killed probe leaves nothing attached",
    ),
    package("curl", Part::Tests, Brings::Program("curl"), "runs the commands of the documentation in tests"),
    package("jq", Part::Tests, Brings::Program("jq"), "runs the commands of the runbook in tests"),
    package("procps", Part::Tests, Brings::Program("kill"), "sends the signals that end a process"),
    package(
        "prometheus",
        Part::Tests,
        Brings::Program("prometheus"),
        "checks and runs the lab's rules and every dashboard's queries",
    ),
    package(
        "redis-server",
        Part::Store,
        Brings::Program("redis-server"),
        "the store that the probe watches in tests and in `up --store redis`",
    ),
    package("bpftrace", Part::Peers, Brings::Program("bpftrace"), "is compared with the probe's cost"),
    package("tcpdump", Part::Peers, Brings::Program("tcpdump"), "is compared with the probe's cost"),
    package("nginx", Part::GatewayPeers, Brings::Program("nginx"), "is compared with the gateway"),
    package("haproxy", Part::GatewayPeers, Brings::Program("haproxy"), "is compared with the gateway"),
    package("varnish", Part::GatewayPeers, Brings::Program("varnishd"), "is compared with the gateway"),
    package("wrk", Part::GatewayPeers, Brings::Program("wrk"), "loads the gateway and its peers"),
    package("faketime", Part::Faults, Brings::Program("faketime"), "steps the clock of the lab's processes"),
    package(
        "python3-venv",
        Part::LoadTool,
        Brings::PythonVenv,
        "k6 and Schemathesis are installed from Python packages",
    ),
    package("chromium", Part::Page, Brings::Program("chromium"), "shows the live page to its tests"),
    package("nodejs", Part::Page, Brings::Program("node"), "runs the scripts that drive the browser"),
    package("npm", Part::Page, Brings::Program("npm"), "installs Playwright for them"),
    package("docker.io", Part::Containers, Brings::Program("dockerd"), "runs the containers of compose.yaml"),
    package("iptables", Part::Containers, Brings::Program("iptables"), "sets up their network"),
    package(
        "debootstrap",
        Part::Containers,
        Brings::Program("debootstrap"),
        "builds the base image where it cannot be pulled",
    ),
    package(
        "rust-web-clippy",
        Part::Lints,
        Brings::KernelClippy,
        "lints of the compiler that builds the kernel programs",
    ),
    package("etcd-server", Part::Cluster, Brings::Program("etcd"), "keeps the cluster's objects"),
    package("containerd", Part::Cluster, Brings::Program("containerd"), "runs the containers of the pods"),
    package("runc", Part::Cluster, Brings::Program("runc"), "starts a container"),
    package(
        "containernetworking-plugins",
        Part::Cluster,
        Brings::Program("/usr/lib/cni/bridge"),
        "connects pods to their node",
    ),
    package("conntrack", Part::Cluster, Brings::Program("conntrack"), "is called by kube-proxy"),
    package("nftables", Part::Cluster, Brings::Program("nft"), "is called by kube-proxy"),
    package("iptables", Part::Cluster, Brings::Program("iptables"), "sends packets to the policy agent"),
    package("iproute2", Part::Cluster, Brings::Program("ip"), "makes the networks of the nodes"),
    package("openssl", Part::Cluster, Brings::Program("openssl"), "makes the cluster's certificates"),
    package("gcc", Part::Cluster, Brings::Program("cc"), "compiles the first process of each pod"),
    package("musl-tools", Part::Static, Brings::Program("musl-gcc"), "compiles C for static programs"),
];

const fn package(name: &'static str, part: Part, brings: Brings, why: &'static str) -> Package {
    Package { name, part, brings, why }
}

/// The LLVM major version of the compiler in the table.
const LLVM_OF_TABLE: u32 = 22;

/// A package to install, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) package: String,
    pub(crate) part: Part,
    pub(crate) why: &'static str,
}

/// The packages for `parts` whose contents are missing on this machine.
pub(crate) fn missing(parts: &[Part]) -> Vec<Missing> {
    let queries = parts.contains(&Part::Kernel) || parts.contains(&Part::Lints);
    let compilers = if queries { toolchain::candidates() } else { Vec::new() };
    missing_given(parts, &compilers, |program| match program {
        PYTHON_VENV => programs::find_executable("k6").is_ok() || makes_environments(),
        program => programs::find(program).is_some(),
    })
}

/// Stands for a Python with its own installer. Debian packages both separately.
const PYTHON_VENV: &str = "python3 -m venv";

fn makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

fn missing_given(parts: &[Part], compilers: &[Compiler], has: impl Fn(&str) -> bool) -> Vec<Missing> {
    let chosen = toolchain::first_complete(compilers);
    let complete = chosen.is_some();
    // Prefer a distribution compiler that has its sources and lacks only LLVM. Skip a nightly in the same state,
    // because no distribution packages the newest nightly's LLVM.
    let sound = compilers.iter().find(|compiler| {
        compiler.origin == Origin::Distribution && compiler.has_sources && compiler.is_new_enough()
    });
    let llvm = sound.map_or(LLVM_OF_TABLE, |compiler| compiler.llvm);
    TABLE
        .iter()
        .filter(|package| parts.contains(&package.part))
        .filter(|package| match package.brings {
            Brings::Program(program) => !has(program),
            Brings::PythonVenv => !has(PYTHON_VENV),
            Brings::KernelCompiler => !complete && sound.is_none(),
            Brings::Llvm => !complete,
            // Packages do not extend rustup's toolchains.
            Brings::KernelClippy => chosen
                .is_none_or(|compiler| compiler.origin == Origin::Distribution && compiler.clippy.is_none()),
        })
        .map(|package| Missing {
            package: package.name.replace("{llvm}", &llvm.to_string()),
            part: package.part,
            why: package.why,
        })
        .collect()
}

/// How this process can become root for one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Already,
    Sudo,
    No,
}

/// Whether this process can install packages. `ask` allows sudo to prompt for a password.
pub(crate) fn root(query: bool) -> Root {
    if command::is_root() {
        return Root::Already;
    }
    if programs::find("sudo").is_none() {
        return Root::No;
    }
    let silent =
        Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if silent.is_ok_and(|status| status.success()) {
        return Root::Sudo;
    }
    let requested =
        query && command::status(Command::new("sudo").arg("-v")).is_ok_and(|status| status.success());
    if requested { Root::Sudo } else { Root::No }
}

/// The command that installs `packages`, as a user would type it.
pub(crate) fn shown(packages: &[String]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs `packages` with apt-get and prints each step.
///
/// # Errors
/// When the machine has no apt-get, the rights are missing, a package is unknown, or apt-get fails.
pub(crate) fn install(tree: &Tree, packages: &[String], root: Root) -> Result<()> {
    if programs::find("apt-get").is_none() {
        bail!("this machine has no apt-get");
    }
    if root == Root::No {
        bail!("installing packages needs root: run `{}`", shown(packages));
    }
    let mut updated = false;
    if !unknown(packages)?.is_empty() {
        update(tree, root)?;
        updated = true;
        let unknown = unknown(packages)?;
        if !unknown.is_empty() {
            bail!("this machine's package sources do not have {}", unknown.join(", "));
        }
    }
    let attempt = || {
        let mut command = apt_get(root);
        // Never remove a package. The compilers of two package sets exclude each other.
        command.args(["install", "-y", "-q", "--no-install-recommends", "--no-remove"]).args(packages);
        println!("  running: {}", command::shown(&command));
        Step::new(&format!("installing {}", packages.join(", ")), 60).run(tree, &mut command)
    };
    match attempt() {
        // Outdated lists can name files that the mirror has replaced.
        Err(error) if !updated && lab::signals::received() == 0 => {
            println!("  {error:#}; trying again with fresh package lists");
            update(tree, root)?;
            attempt()
        }
        other => other,
    }
    .with_context(|| {
        format!(
            "xtask never removes a package; if apt-get must remove one (see above), run `{}` yourself",
            shown(packages)
        )
    })
}

fn update(tree: &Tree, root: Root) -> Result<()> {
    let mut command = apt_get(root);
    command.args(["update", "-q"]);
    Step::new("reading the package lists", 15).run(tree, &mut command)
}

fn apt_get(root: Root) -> Command {
    if root == Root::Sudo {
        let mut command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    } else {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The `packages` that are missing from the package lists.
fn unknown(packages: &[String]) -> Result<Vec<String>> {
    let policy = command::capture(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"))
        .context("cannot read the package lists")?;
    Ok(without_candidate(&policy, packages))
}

fn without_candidate(policy: &str, packages: &[String]) -> Vec<String> {
    let mut offered = Vec::new();
    let mut current = "";
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            current = name;
        } else if let Some(version) = line.trim().strip_prefix("Candidate:")
            && version.trim() != "(none)"
        {
            offered.push(current);
        }
    }
    packages.iter().filter(|package| !offered.contains(&package.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{LLVM_OF_TABLE, Part, missing_given, without_candidate};
    use crate::toolchain::{Compiler, Origin};

    const ALL: [Part; 13] = [
        Part::Build,
        Part::Kernel,
        Part::Tests,
        Part::Peers,
        Part::GatewayPeers,
        Part::Faults,
        Part::LoadTool,
        Part::Page,
        Part::Containers,
        Part::Lints,
        Part::Static,
        Part::Store,
        Part::Cluster,
    ];

    fn distribution(llvm: u32, prefix: Option<&str>) -> Compiler {
        Compiler {
            origin: Origin::Distribution,
            rustc: PathBuf::from("/usr/bin/rustc"),
            version: "1.96.0".to_owned(),
            llvm,
            has_sources: true,
            llvm_prefix: prefix.map(PathBuf::from),
            clippy: Some(PathBuf::from("/usr/bin/clippy-driver")),
        }
    }

    fn names(parts: &[Part], compilers: &[Compiler], has: impl Fn(&str) -> bool) -> Vec<String> {
        missing_given(parts, compilers, has).into_iter().map(|missing| missing.package).collect()
    }

    #[test]
    fn nothing_is_missing_on_a_complete_machine() {
        assert!(names(&ALL, &[distribution(22, Some("/usr/lib/llvm-22"))], |_| true).is_empty());
    }

    #[test]
    fn a_bare_machine_gets_the_whole_table() {
        let all = names(&ALL, &[], |_| false);
        assert_eq!(all.len(), super::TABLE.len());
        assert!(all.contains(&format!("llvm-{LLVM_OF_TABLE}-dev")));
    }

    #[test]
    fn only_what_was_asked_for_is_missing() {
        assert_eq!(names(&[Part::Build], &[], |_| false), ["gcc", "libc6-dev"]);
        assert_eq!(names(&[Part::Build, Part::Tests], &[], |program| program != "nft"), ["nftables"]);
    }

    #[test]
    fn a_compiler_without_its_llvm_gets_that_version() {
        let packages = names(&[Part::Kernel], &[distribution(21, None)], |_| true);
        assert!(packages.contains(&"llvm-21-dev".to_owned()), "{packages:?}");
        assert!(!packages.contains(&"rustc-web".to_owned()), "{packages:?}");
    }

    #[test]
    fn only_a_distributions_compiler_gets_its_clippy_from_a_package() {
        let bare = Compiler { clippy: None, ..distribution(22, Some("/usr/lib/llvm-22")) };
        assert_eq!(names(&[Part::Lints], std::slice::from_ref(&bare), |_| true), ["rust-web-clippy"]);
        let rustup = Compiler { origin: Origin::Rustup("nightly".to_owned()), ..bare };
        assert!(names(&[Part::Lints], &[rustup], |_| true).is_empty());
    }

    #[test]
    fn an_old_compiler_does_not_choose_the_llvm() {
        let old = Compiler { version: "1.63.0".to_owned(), ..distribution(14, None) };
        let packages = names(&[Part::Kernel], &[old], |_| true);
        assert!(packages.contains(&"rustc-web".to_owned()), "{packages:?}");
        assert!(packages.contains(&"llvm-22-dev".to_owned()), "{packages:?}");
    }

    #[test]
    fn packages_without_a_candidate_are_unknown() {
        let policy = "gcc:\n  Installed: (none)\n  Candidate: 4:12\nrustc-web:\n  Candidate: (none)\n";
        let requested = ["gcc", "rustc-web", "absent"].map(str::to_owned);
        assert_eq!(without_candidate(policy, &requested), ["rustc-web", "absent"]);
    }
}
