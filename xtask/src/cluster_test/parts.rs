//! Builds the parts of a cluster from the Go module proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lab::tree::Tree;
use lab::{command, programs};
use serde::Deserialize;

use crate::step::Step;

pub(crate) const KUBERNETES: &str = "1.34.4";

/// The programs of the Kubernetes module.
const OF_KUBERNETES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// A program of another module.
struct Part {
    program: &'static str,
    package: &'static str,
    version: &'static str,
    /// Build tags; fewer discovery mechanisms make a smaller Prometheus.
    tags: &'static str,
    /// Seconds for a build from scratch on two cores.
    seconds: u64,
}

const PARTS: [Part; 6] = [
    part("coredns", "github.com/coredns/coredns", "1.12.4", 60),
    part("kube-network-policies", "sigs.k8s.io/kube-network-policies/cmd", "0.8.0", 30),
    part("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", "0.8.0", 30),
    Part {
        tags: "remove_all_sd,enable_kubernetes_sd",
        ..part("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "0.316.0", 90)
    },
    part("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger", "1.76.0", 120),
    part("controller-gen", "sigs.k8s.io/controller-tools/cmd/controller-gen", "0.19.0", 20),
];

const fn part(program: &'static str, package: &'static str, version: &'static str, seconds: u64) -> Part {
    Part { program, package, version, tags: "", seconds }
}

/// The Go types of the Prometheus operator. Its definitions are generated from them.
const OPERATOR_TYPES: &str = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring";
const OPERATOR_VERSION: &str = "0.95.2";

/// The first process of a pod. A file of our own, because the module proxy has only Go.
const PAUSE: &str = "#include <signal.h>\n#include <unistd.h>\nstatic void stop(int signal) { (void)signal; _exit(0); }\n\
                     int main(void) { signal(SIGTERM, stop); signal(SIGINT, stop); for (;;) pause(); }\n";

/// The built programs and definitions.
#[derive(Debug)]
pub(crate) struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Builds what `target/cluster` lacks.
    ///
    /// # Errors
    /// When something is missing and there is no Go, or a build fails.
    pub(crate) fn find(tree: &Tree) -> Result<Self> {
        let folder = tree.target.join("cluster");
        fs::create_dir_all(folder.join("bin"))?;
        // The table of mounts has no symbolic links.
        let parts = Self { folder: fs::canonicalize(&folder).with_context(|| folder.display().to_string())? };
        if parts.is_complete() {
            return Ok(parts);
        }
        needs_go()?;
        parts.kubernetes(tree)?;
        PARTS.iter().try_for_each(|part| parts.build(tree, part))?;
        parts.definitions(tree)?;
        parts.pause()?;
        Ok(parts)
    }

    /// Builds Jaeger alone and returns its path.
    ///
    /// # Errors
    /// When there is no Go, or the build fails.
    pub(crate) fn jaeger(tree: &Tree) -> Result<PathBuf> {
        let parts = Self { folder: tree.target.join("cluster") };
        if !parts.has("jaeger") {
            needs_go()?;
            let jaeger = PARTS.iter().filter(|part| part.program == "jaeger");
            jaeger.into_iter().try_for_each(|part| parts.build(tree, part))?;
        }
        Ok(parts.program("jaeger"))
    }

    /// The path of a built program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// The folder with the definitions of the Prometheus operator's kinds.
    pub(crate) fn crds(&self) -> PathBuf {
        self.folder.join("crds")
    }

    /// The folder of everything built.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names and versions, for the report.
    pub(crate) fn versions() -> String {
        let others: Vec<String> =
            PARTS.iter().map(|part| format!("{} {}", part.program, part.version)).collect();
        format!("Kubernetes {KUBERNETES}, {}", others.join(", "))
    }

    fn has(&self, name: &str) -> bool {
        programs::is_program(&self.program(name))
    }

    fn is_complete(&self) -> bool {
        let mut names =
            OF_KUBERNETES.into_iter().chain(PARTS.iter().map(|part| part.program)).chain(["pause"]);
        names.all(|name| self.has(name)) && self.crds().is_dir()
    }

    /// Builds Kubernetes in a module of our own. Its `go.mod` refers to folders of its repository, which the proxy does
    /// not have; the published modules take their place.
    fn kubernetes(&self, tree: &Tree) -> Result<()> {
        let missing: Vec<&str> = OF_KUBERNETES.into_iter().filter(|name| !self.has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Module {
            dir: PathBuf,
        }
        let folder = self.module("kubernetes")?;
        let wanted = format!("k8s.io/kubernetes@v{KUBERNETES}");
        let text = command::capture(go(&folder).args(["mod", "download", "-json", &wanted]))?;
        let module: Module =
            serde_json::from_str(&text).context("go mod download returned unexpected JSON")?;
        let theirs = fs::read_to_string(module.dir.join("go.mod")).context("the go.mod of Kubernetes")?;
        fs::write(folder.join("go.mod"), own_module(&theirs))?;
        let (_, minor) = KUBERNETES.split_once('.').context("a version without a dot")?;
        let variable = "-X k8s.io/component-base/version.git";
        let flags = format!(
            "-s -w {variable}Version=v{KUBERNETES} {variable}Major=1 {variable}Minor={}",
            minor.split('.').next().unwrap_or_default()
        );
        let mut build = go(&folder);
        build.args(["build", "-ldflags", &flags, "-o"]).arg(self.folder.join("bin"));
        build.args(missing.iter().map(|name| format!("k8s.io/kubernetes/cmd/{name}")));
        Step::new(&format!("building Kubernetes {KUBERNETES}"), 420).run(tree, &mut build)
    }

    fn build(&self, tree: &Tree, part: &Part) -> Result<()> {
        if self.has(part.program) {
            return Ok(());
        }
        let folder = self.module(part.program)?;
        let mut get = go(&folder);
        get.args(["get", "-tool", &format!("{}@v{}", part.package, part.version)]);
        Step::new(&format!("fetching {}", part.program), 20).run(tree, &mut get)?;
        let mut build = go(&folder);
        build.args(["build", "-ldflags", "-s -w", "-tags", part.tags, "-o"]).arg(self.program(part.program));
        Step::new(&format!("building {} {}", part.program, part.version), part.seconds)
            .run(tree, build.arg(part.package))
    }

    /// Generates the definitions from the operator's Go types.
    fn definitions(&self, tree: &Tree) -> Result<()> {
        if self.crds().is_dir() {
            return Ok(());
        }
        let folder = self.module("crds")?;
        let versioned = format!("{OPERATOR_TYPES}@v{OPERATOR_VERSION}");
        let source = format!("package main\n\nimport _ \"{OPERATOR_TYPES}/v1\"\n\nfunc main() {{}}\n");
        fs::write(folder.join("main.go"), source)?;
        Step::new("fetching the operator's types", 10).run(tree, go(&folder).args(["get", &versioned]))?;
        let unfinished = self.folder.join("crds.new");
        let mut generate = Command::new(self.program("controller-gen"));
        generate.current_dir(&folder).env("GOFLAGS", "-mod=mod");
        generate.args(["crd:crdVersions=v1,maxDescLen=0", &format!("paths={OPERATOR_TYPES}/v1")]);
        generate.arg(format!("output:crd:dir={}", unfinished.display()));
        Step::new("generating the operator's definitions", 15).run(tree, &mut generate)?;
        fs::rename(&unfinished, self.crds()).context("cannot keep the definitions")
    }

    fn pause(&self) -> Result<()> {
        if self.has("pause") {
            return Ok(());
        }
        let source = self.folder.join("src/pause.c");
        fs::write(&source, PAUSE)?;
        let mut compile = Command::new("cc");
        command::capture(compile.args(["-static", "-O2", "-o"]).arg(self.program("pause")).arg(&source))
            .map(drop)
    }

    /// A folder with a module of its own, so that the parts do not decide each other's versions.
    fn module(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join("src").join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("go.mod"), format!("module cluster/{name}\n\ngo 1.25\n"))?;
        Ok(folder)
    }
}

fn needs_go() -> Result<()> {
    if programs::find("go").is_none() {
        bail!("this is built with Go 1.25 or later, and there is no `go`: install it from https://go.dev/dl");
    }
    Ok(())
}

fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder).envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=mod"), ("GOWORK", "off")]);
    go
}

/// A `go.mod` that requires Kubernetes, with the requirements and replacements of Kubernetes' own.
fn own_module(theirs: &str) -> String {
    let staging = KUBERNETES.replacen("1.", "v0.", 1);
    let mut text = String::new();
    for line in theirs.lines() {
        match line.split_once(" => ./") {
            Some((module, _)) => {
                let name = module.trim().trim_start_matches("replace ");
                text.push_str(&format!("{module} => {name} {staging}\n"));
            }
            None if line == "module k8s.io/kubernetes" => text.push_str("module cluster\n"),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text.push_str(&format!("\nrequire k8s.io/kubernetes v{KUBERNETES}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::own_module;

    #[test]
    fn folders_of_the_repository_become_published_modules() {
        let theirs = "module k8s.io/kubernetes\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        let expected = "module cluster\n\nreplace (\n\tk8s.io/api => k8s.io/api v0.34.4\n)\n\nrequire k8s.io/kubernetes v1.34.4\n";
        assert_eq!(own_module(theirs), expected);
    }
}
