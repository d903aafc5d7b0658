//! The container engine of this machine, or one that is started for the test and ended after it.

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

/// From this release on an engine knows the names of the capabilities that the probe takes.
const KNOWS_BPF: u32 = 23;

/// How long a new engine may take to answer, and to end.
const WITHIN: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(200);

/// What a caller has set for another engine or another project.
const FOREIGN: [&str; 4] = ["DOCKER_CONTEXT", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_FILE"];

/// An engine that answers.
#[derive(Debug)]
pub(crate) struct Engine {
    /// For instance `20.10.24+dfsg1`.
    pub(crate) version: String,
    /// Its socket, where it is ours.
    socket: Option<PathBuf>,
    /// Where the client finds its plugins, where they are ours.
    plugins: Option<PathBuf>,
    daemon: Option<Daemon>,
}

/// No engine answers, and none can be started; with the reason.
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
    /// The engine that answers here, else a new one with its images in `images`.
    ///
    /// # Errors
    /// When none answers and none can be started; with what is missing.
    pub(crate) fn find(tree: &Tree, work: &Work, images: &Path) -> Result<Self> {
        let mut engine = Self { version: String::new(), socket: None, plugins: None, daemon: None };
        if let Ok(version) = engine.ask() {
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

    /// Whether this run owns all its images and containers.
    pub(crate) const fn is_ours(&self) -> bool {
        self.daemon.is_some()
    }

    /// Whether it refuses the names of the probe's capabilities.
    pub(crate) fn is_old(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major < KNOWS_BPF)
    }

    /// The client, with this engine.
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

    /// The client's environment for this engine.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        // BuildKit is a part of its own that a distribution's engine may lack.
        let mut set = vec![("DOCKER_BUILDKIT", "0".to_owned()), ("COMPOSE_MENU", "0".to_owned())];
        if let Some(socket) = &self.socket {
            set.push(("DOCKER_HOST", format!("unix://{}", socket.display())));
        }
        if let Some(plugins) = &self.plugins {
            set.push(("DOCKER_CONFIG", plugins.display().to_string()));
        }
        set
    }

    /// Ends it, if it was started for the test, and puts the machine's network back.
    pub(crate) fn stop(mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        process::send(&daemon.process, Signal::TERM);
        let ended = wait(&mut daemon.process);
        if !ended {
            eprintln!("xtask: dockerd does not end; it is killed");
            // Fails only for one that has just ended by itself.
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

    fn ask(&self) -> Result<String> {
        let version = command::capture(self.docker().args(["info", "--format", "{{.ServerVersion}}"]))?;
        // With no engine the client may succeed with an empty answer.
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
        // With a moment to end its containers.
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
            Ok(self.ask().ok())
        });
        match answered {
            Ok(Some(version)) => {
                self.version = version;
                Ok(())
            }
            failed => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it says nothing").to_owned();
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
    // A second signal does not make it end sooner.
    let steps = WITHIN.as_millis() / STEP.as_millis();
    for _ in 0..steps {
        if process.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        signals::pause(STEP);
    }
    false
}

/// Lets go of what the engine still has mounted under `folder`, the youngest first.
fn unmount(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let under = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for mount in under.filter(|mount| mount.starts_with(folder)) {
        if let Err(error) = command::capture(Command::new("umount").arg(mount)) {
            eprintln!("xtask: {} is left mounted: {error:#}", mount.display());
        }
    }
}
