//! Starts, inspects and stops the lab's compose project on one engine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::engine::Engine;
use super::work::Work;
use crate::terminal::Progress;
use lab::process::Signal;
use lab::tree::Tree;
use lab::{command, process, signals};

/// The test gives up if a service is not healthy within this time after `up` returns.
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);

/// Number of last log lines shown when `up` fails.
const LAST_LINES: usize = 15;

/// The compose file with the overrides that this engine needs.
pub(crate) struct Stack<'a> {
    tree: &'a Tree,
    engine: &'a Engine,
    work: &'a Work,
    files: Vec<PathBuf>,
}

/// One service in the output of `docker compose ps`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "Service")]
    name: String,
    state: String,
    /// Empty for a service without a health check.
    health: String,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(tree: &'a Tree, engine: &'a Engine, work: &'a Work) -> Self {
        let mut files = vec![PathBuf::from("compose.yaml")];
        if engine.is_old() {
            files.push(PathBuf::from("deploy/compose.old-engine.yaml"));
        }
        Self { tree, engine, work, files }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine
    }

    /// Environment variables that select the engine and the files. The first file's folder is the project folder.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let files: Vec<String> =
            self.files.iter().map(|file| self.tree.root.join(file).display().to_string()).collect();
        let mut set = self.engine.environment();
        set.push(("COMPOSE_FILE", files.join(":")));
        set
    }

    /// The file options as a user would type them.
    pub(crate) fn shown(&self) -> String {
        self.files.iter().map(|file| format!("-f {}", file.display())).collect::<Vec<_>>().join(" ")
    }

    /// The distinct third-party images that the services use.
    ///
    /// # Errors
    /// When Compose rejects the files.
    pub(crate) fn foreign_images(&self) -> Result<Vec<String>> {
        let mut images: Vec<String> = self
            .images()?
            .into_values()
            .filter(|image| !image.is_empty() && !image.starts_with(super::OURS))
            .collect();
        images.sort_unstable();
        images.dedup();
        Ok(images)
    }

    /// Removes the services with an image in `missing` and returns their names.
    ///
    /// # Errors
    /// When Compose rejects the files, or the override cannot be written.
    pub(crate) fn leave_out(&mut self, missing: &[String]) -> Result<Vec<String>> {
        let images = self.images()?;
        let out: Vec<String> =
            images.into_iter().filter(|(_, image)| missing.contains(image)).map(|(name, _)| name).collect();
        if !out.is_empty() {
            let lines: String =
                out.iter().map(|name| format!("  {name}: {{ profiles: [left-out] }}\n")).collect();
            self.add("left-out.yaml", &format!("services:\n{lines}"))?;
        }
        Ok(out)
    }

    /// Writes an override file for this run and adds it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Result<()> {
        self.files.push(self.work.write(name, text)?);
        Ok(())
    }

    /// Removes the last override.
    pub(crate) fn take_back(&mut self) {
        self.files.pop();
    }

    /// `docker compose` with all files.
    pub(crate) fn compose(&self) -> Command {
        let mut command = self.engine.docker();
        command.current_dir(&self.tree.root).arg("compose").envs(self.environment());
        command
    }

    /// Builds the images one after another and returns the elapsed time.
    ///
    /// The classic builder shares only finished layers. Parallel builds would each compile everything.
    ///
    /// # Errors
    /// When an image cannot be built. The error has the last log lines.
    pub(crate) fn build(&self) -> Result<Duration> {
        let started = Instant::now();
        let log = self.work.join("build.log");
        let mut build = self.compose();
        build.arg("build").env("COMPOSE_PARALLEL_LIMIT", "1");
        watched(&mut build, &log).context("docker compose build")?;
        Ok(started.elapsed())
    }

    /// Runs `docker compose up` like a user and returns the elapsed time.
    ///
    /// # Errors
    /// When the command fails. The error has its last lines.
    pub(crate) fn up(&self) -> Result<Duration> {
        let started = Instant::now();
        let log = self.work.join("up.log");
        let mut up = self.compose();
        watched(up.args(["up", "--build", "-d"]), &log).context("docker compose up --build -d")?;
        Ok(started.elapsed())
    }

    /// Waits until every service runs and every health check passes. Returns the elapsed time.
    ///
    /// # Errors
    /// On timeout. The error lists the services that are not ready.
    pub(crate) fn wait_healthy(&self) -> Result<Duration> {
        let started = Instant::now();
        let mut waiting = Vec::new();
        let found = signals::poll(HEALTHY_WITHIN, Duration::from_millis(250), || {
            let services = self.services()?;
            let well = |service: &Service| {
                service.state == "running" && matches!(service.health.as_str(), "" | "healthy")
            };
            waiting = services.iter().filter(|service| !well(service)).map(described).collect();
            Ok((waiting.is_empty() && !services.is_empty()).then(|| started.elapsed()))
        })?;
        match found {
            Some(took) => Ok(took),
            None => bail!("not healthy after {} s: {}", HEALTHY_WITHIN.as_secs(), waiting.join(", ")),
        }
    }

    /// The id of the container of `service`.
    ///
    /// # Errors
    /// When the service has no container.
    pub(crate) fn container(&self, service: &str) -> Result<String> {
        let id = command::capture(self.compose().args(["ps", "--all", "--quiet", service]))?;
        let id = id.trim().to_owned();
        if id.is_empty() { bail!("{service} has no container") } else { Ok(id) }
    }

    /// Evaluates a Go template on the container of `service`.
    ///
    /// # Errors
    /// When there is no container, or the engine does not answer.
    pub(crate) fn inspect(&self, service: &str, template: &str) -> Result<String> {
        let id = self.container(service)?;
        let text = command::capture(self.engine.docker().args(["inspect", "--format", template, &id]))?;
        Ok(text.trim().to_owned())
    }

    /// Removes the project and its volumes.
    ///
    /// # Errors
    /// When something remains.
    pub(crate) fn down(&self) -> Result<()> {
        command::capture(self.compose().args(["--profile", "*", "down", "-v", "--remove-orphans"])).map(drop)
    }

    fn services(&self) -> Result<Vec<Service>> {
        let listed = command::capture(self.compose().args(["ps", "--all", "--format", "json"]))?;
        listed
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).context("docker compose ps returned unexpected JSON"))
            .collect()
    }

    /// The image of each service. Empty for a service that is built without an image name.
    fn images(&self) -> Result<BTreeMap<String, String>> {
        #[derive(Deserialize)]
        struct Config {
            services: BTreeMap<String, Image>,
        }
        #[derive(Deserialize)]
        struct Image {
            #[serde(default)]
            image: String,
        }
        let text = command::capture(self.compose().args(["--profile", "*", "config", "--format", "json"]))?;
        let config: Config = serde_json::from_str(&text).context("Compose returned unexpected JSON")?;
        Ok(config.services.into_iter().map(|(name, service)| (name, service.image)).collect())
    }
}

fn described(service: &Service) -> String {
    format!("{} ({} {})", service.name, service.state, service.health)
}

/// Runs `command` with output to `log` and shows its progress.
fn watched(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone()?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    process::die_with_parent(command, Signal::TERM);
    let mut child = command.spawn().context("cannot start docker")?;
    let mut progress = Progress::new();
    let status = loop {
        if let Some(status) = child.try_wait().context("lost docker")? {
            break status;
        }
        if signals::received() > 0 {
            process::send(&child, Signal::TERM);
            // The client stops the build before it exits.
            let _ = child.wait();
            signals::check()?;
        }
        let seconds = progress.elapsed().as_secs();
        progress.show(&format!("{seconds} s: {}", last_lines(log, 1)));
        signals::pause(Duration::from_millis(500));
    };
    if status.success() {
        return Ok(());
    }
    bail!("failed ({}); its last lines:\n{}", command::ended(status), last_lines(log, LAST_LINES))
}

/// Removes a trailing part of a colour code from the start of `piece`.
fn bare(piece: &str) -> &str {
    let rest = piece.strip_prefix('[').and_then(|code| code.split_once('m'));
    rest.filter(|(code, _)| code.chars().all(|letter| letter.is_ascii_digit() || letter == ';'))
        .map_or(piece, |(_, text)| text)
        .trim()
}

/// The last non-empty lines of `log`.
fn last_lines(log: &Path, count: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> =
        text.split(['\n', '\r', '\u{1b}']).map(bare).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(bare("[91m   Compiling libc v0.2"), "Compiling libc v0.2");
        assert_eq!(bare("[0m"), "");
        assert_eq!(bare("[internal] load"), "[internal] load");
        assert_eq!(bare(" Step 1/9 : FROM x"), "Step 1/9 : FROM x");
    }
}
