//! Finds this machine's container engine, or starts one for the test.

use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::network::Before;
use super::work::Work;
use crate::needs;
use crate::packages::Part;
use lab::process::Signal;
use lab::tree::Tree;
use lab::{command, process, programs, signals};

/// The first engine release that accepts the names of the probe's capabilities.
const KNOWS_BPF: u32 = 23;

/// Maximum time for a new engine to answer, and to stop.
const WITHIN: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(200);

/// Variables of the caller that would select another engine or project.
const FOREIGN: [&str; 4] = ["DOCKER_CONTEXT", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_FILE"];

/// A container engine that answers.
#[derive(Debug)]
pub(crate) struct Engine {
    /// For instance `20.10.24+dfsg1`.
    pub(crate) version: String,
    /// The socket of an engine that this test started.
    socket: Option<PathBuf>,
    /// The client's plugin folder, if this test installed the plugins.
    plugins: Option<PathBuf>,
    daemon: Option<Daemon>,
}

/// The reason why no engine answers and none can be started.
#[derive(Debug)]
pub(crate) struct NoEngine(String);

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no container engine answers, and none can be started: {}", self.0)
    }
}

impl std::error::Error for NoEngine {}

#[derive(Debug)]
struct Daemon {
    process: Child,
    before: Before,
}

impl Engine {
    /// Returns the running engine. Starts a new one with its images in `images` if none runs.
    ///
    /// # Errors
    /// When no engine answers and none can be started. The error lists what is missing.
    pub(crate) fn find(tree: &Tree, work: &Work, images: &Path) -> Result<Self> {
        let mut engine = Self { version: String::new(), socket: None, plugins: None, daemon: None };
        if let Ok(version) = engine.query() {
            engine.version = version;
        } else {
            engine.start(tree, work, images).or_else(|error| {
                signals::check()?;
                bail!(NoEngine(format!("{error:#}")))
            })?;
        }
        if let Err(error) = engine.find_compose(tree) {
            engine.stop();
            return Err(error);
        }
        Ok(engine)
    }

    /// Whether this test started the engine, so that all its images and containers belong to the test.
    pub(crate) const fn is_ours(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whether the engine rejects the names of the probe's capabilities.
    pub(crate) fn is_old(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < KNOWS_BPF)
    }

    /// A client command for this engine.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new(programs::find("docker").unwrap_or_else(|| "docker".into()));
        for name in FOREIGN.iter().skip(usize::from(self.socket.is_none())) {
            command.env_remove(name);
        }
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command
    }

    /// Environment variables that connect the client to this engine.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        // Use the classic builder. BuildKit is a separate component that a distribution's engine may lack.
        let mut set = vec![("DOCKER_BUILDKIT", "0".to_owned()), ("COMPOSE_MENU", "0".to_owned())];
        if let Some(socket) = &self.socket {
            set.push(("DOCKER_HOST", format!("unix://{}", socket.display())));
        }
        if let Some(plugins) = &self.plugins {
            set.push(("DOCKER_CONFIG", plugins.display().to_string()));
        }
        set
    }

    /// Stops an engine that this test started and restores the machine's network.
    pub(crate) fn stop(mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        process::send(&daemon.process, Signal::TERM);
        let ended = wait(&mut daemon.process);
        if !ended {
            eprintln!("xtask: dockerd did not stop in time; killing it");
            // Fails only if the process has just exited.
            let _ = daemon.process.kill();
            let _ = daemon.process.wait();
        }
        if let Err(error) = daemon.before.put_back() {
            eprintln!("xtask: {error:#}");
        }
        if let Some(run) = self.socket.as_deref().and_then(Path::parent) {
            unmount(run);
        }
    }

    fn find_compose(&mut self, tree: &Tree) -> Result<()> {
        if command::capture(self.docker().args(["compose", "version"])).is_err() {
            self.plugins = Some(super::plugin::install(tree)?);
            command::capture(self.docker().args(["compose", "version"])).context("Compose does not run")?;
        }
        Ok(())
    }

    fn query(&self) -> Result<String> {
        let version = command::capture(self.docker().args(["info", "--format", "{{.ServerVersion}}"]))?;
        // Without an engine the client may succeed with an empty answer.
        if version.trim().is_empty() { bail!("no engine answers") } else { Ok(version.trim().to_owned()) }
    }

    fn start(&mut self, tree: &Tree, work: &Work, images: &Path) -> Result<()> {
        if !command::is_root() {
            bail!("only root can start one; start Docker, or run as root");
        }
        needs::ensure(tree, &[Part::Containers])?;
        let dockerd = programs::find("dockerd").context("there is no dockerd")?;
        let (socket, log) = (work.join("docker.sock"), work.write("dockerd.log", "")?);
        let mut command = Command::new(dockerd);
        command.arg("--data-root").arg(images).arg("--exec-root").arg(work.join("exec"));
        command
            .arg("--pidfile")
            .arg(work.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone()?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        // SIGTERM gives the engine time to stop its containers.
        process::die_with_parent(&mut command, Signal::TERM);
        println!("  no engine answers; starting one, with its images in {}", images.display());
        let before = Before::look()?;
        let process = command.spawn().context("cannot start dockerd")?;
        self.daemon = Some(Daemon { process, before });
        self.socket = Some(socket);
        let answered = signals::poll(WITHIN, STEP, || {
            let ended = match &mut self.daemon {
                Some(daemon) => daemon.process.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                bail!("it ended");
            }
            Ok(self.query().ok())
        });
        match answered {
            Ok(Some(version)) => {
                self.version = version;
                Ok(())
            }
            failed => {
                let output = fs::read_to_string(&log).unwrap_or_default();
                let last = output.lines().last().unwrap_or("it printed nothing").to_owned();
                let daemon = self.daemon.take();
                Self { version: String::new(), socket: self.socket.take(), plugins: None, daemon }.stop();
                signals::check()?;
                failed?;
                bail!("dockerd does not start: {last}")
            }
        }
    }
}

fn wait(process: &mut Child) -> bool {
    // A second signal would not make it stop sooner.
    let steps = WITHIN.as_millis() / STEP.as_millis();
    for _ in 0..steps {
        if process.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        signals::pause(STEP);
    }
    false
}

/// Unmounts all that the engine left mounted under `folder`, newest first.
fn unmount(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let under = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for mount in under.filter(|mount| mount.starts_with(folder)) {
        if let Err(error) = command::capture(Command::new("umount").arg(mount)) {
            eprintln!("xtask: {} is still mounted: {error:#}", mount.display());
        }
    }
}
