//! Starts one server in front of the shards, and ends it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::process::{Log, Process, Signal, send_to};
use lab::{programs, signals};
use tempfile::TempDir;

use super::group::Group;
use super::memory_folder::MemoryFolder;
use super::side::{Side, TrafficPath};

/// Longest wait for a server's start, and for its orderly end.
const TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);

/// Seconds for which all caches keep a value: the gateway's maximum.
const TIME_TO_LIVE: &str = "86400";

/// The size of each cache. nginx's holds 1,000,000 values of 1 KiB, in two pages of 4 KiB with the head at most.
pub(super) const CACHE_BYTES: u64 = 8 << 30;

const NGINX_PROXIED: &str = include_str!("../../peers/nginx-proxied.conf");
const NGINX_CACHED: &str = include_str!("../../peers/nginx-cached.conf");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
const VARNISH: &str = include_str!("../../peers/varnish.vcl");

/// A running server. Dropping it ends all its processes.
pub(super) struct Server {
    pub(super) side: Side,
    pub(super) address: SocketAddr,
    process: Process,
    group: Group,
    // Unmounted before its parent folder is removed, after the processes have ended.
    cache: Option<MemoryFolder>,
    _folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it accepts connections. `programs` is the folder of the gateway.
    ///
    /// # Errors
    /// When it does not start. The error has its last output.
    pub(super) fn start(
        side: Side,
        path: TrafficPath,
        shards: &[SocketAddr],
        programs: &Path,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gateway-bench-").tempdir()?;
        let cache = (side == Side::Nginx && path == TrafficPath::Cached)
            .then(|| MemoryFolder::mount(folder.path().join("cache"), CACHE_BYTES))
            .transpose()?;
        let group = Group::new(&format!("{}-{}", side.program(), path.name()));
        let port = if side.is_gateway() { 0 } else { free_port()? };
        let mut command = match side {
            Side::Gateway => gateway(programs, path, shards),
            Side::Release => gateway(&programs.with_file_name("release"), path, shards),
            _ => peer(side, path, shards, port, folder.path())?,
        };
        group.enter(&mut command)?;
        let process = Process::start(side.name(), command, Log::unnamed()?)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { side, address, process, group, cache, _folder: folder };
        server.address = started(&mut server.process, |process| match side {
            _ if side.is_gateway() => process.reported_address(),
            _ => TcpStream::connect(address).is_ok().then_some(address),
        })?;
        Ok(server)
    }

    /// Returns the CPU microseconds of all its processes so far.
    pub(super) fn cpu_microseconds(&self) -> f64 {
        self.group.cpu_microseconds(&self.process)
    }

    /// Returns the source of the CPU time.
    pub(super) const fn cpu_source(&self) -> &'static str {
        self.group.source()
    }

    /// Returns the memory in bytes, with the cache on tmpfs.
    pub(super) fn memory(&self) -> u64 {
        self.group.memory(&self.process) + self.cache.as_ref().map_or(0, MemoryFolder::used)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let processes = self.group.pids(&self.process);
        let exists = |pid: &&u32| Path::new(&format!("/proc/{pid}")).exists();
        self.process.terminate();
        // Also after a signal: nginx's master has to wait for its workers.
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline
            && (self.process.is_running() || processes.iter().any(|pid| exists(&pid)))
        {
            signals::pause(STEP);
        }
        // nginx's workers outlive a master that is killed.
        for pid in processes.iter().filter(exists) {
            // It may have ended by itself.
            let _ = send_to(pid.cast_signed(), Signal::KILL);
        }
        self.process.kill();
    }
}

/// Waits until a process serves, and returns its address.
///
/// # Errors
/// When it ends or does not start. The error has its last output.
pub(crate) fn started(
    process: &mut Process,
    serves_at: impl Fn(&Process) -> Option<SocketAddr>,
) -> Result<SocketAddr> {
    let begun = signals::poll(TIMEOUT, STEP, || {
        ensure!(process.is_running(), "{} ended at its start; {}", process.name(), process.last_words());
        Ok(serves_at(process))
    })?;
    begun.with_context(|| format!("{} did not start; {}", process.name(), process.last_words()))
}

/// Returns the command that starts a gateway.
pub(super) fn gateway(programs: &Path, path: TrafficPath, shards: &[SocketAddr]) -> Command {
    let urls = shards.iter().map(|shard| format!("http://{shard}")).collect::<Vec<_>>().join(",");
    let mut command = program(&programs.join("gateway"));
    command.env("PORT", "0").env("SHARD_URLS", urls);
    if path == TrafficPath::Cached {
        command.env("CACHE_ENABLED", "true").env("CACHE_TTL_SECONDS", TIME_TO_LIVE);
        command.env("CACHE_MAX_BYTES", CACHE_BYTES.to_string());
    }
    command
}

/// Returns a command that inherits no settings.
pub(crate) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LOG_FORMAT", "json");
    command
}

fn peer(side: Side, path: TrafficPath, shards: &[SocketAddr], port: u16, folder: &Path) -> Result<Command> {
    let template = match (side, path) {
        (Side::Nginx, TrafficPath::Proxied) => NGINX_PROXIED,
        (Side::Nginx, TrafficPath::Cached) => NGINX_CACHED,
        (Side::Haproxy, _) => HAPROXY,
        _ => VARNISH,
    };
    let mut configuration = template
        .replace("@PORT@", &port.to_string())
        .replace("@DIR@", &folder.display().to_string())
        .replace("@CACHE_BYTES@", &CACHE_BYTES.to_string())
        .replace("@OPEN_FILES@", &open_files().to_string())
        .replace("@OPEN_FILE_CACHE@", &open_file_cache().to_string());
    if let (Side::Nginx, TrafficPath::Cached) = (side, path) {
        configuration = configuration.replace("@CACHE@", &folder.join("cache").display().to_string());
    }
    let server = |(id, shard): (usize, &SocketAddr)| match side {
        Side::Nginx => format!("server {shard};"),
        _ => format!("server shard{id} {shard}"),
    };
    let servers: Vec<String> = shards.iter().enumerate().map(server).collect();
    configuration = configuration.replace("@SERVERS@", &servers.join("\n        "));
    for (id, shard) in shards.iter().enumerate() {
        configuration = configuration
            .replace(&format!("@SHARD{id}@"), &shard.to_string())
            .replace(&format!("@SHARD_PORT{id}@"), &shard.port().to_string());
    }
    let file = folder.join("configuration");
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let name = side.program();
    let found = programs::find(name).with_context(|| format!("there is no {name}: install it"))?;
    let mut command = program(&found);
    match side {
        Side::Nginx => command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(file),
        Side::Haproxy => command.arg("-db").arg("-f").arg(file),
        _ => {
            command.args(["-F", "-j", "none", "-T", "none", "-n"]).arg(folder.join("varnish"));
            command.arg("-f").arg(file).arg("-a").arg(format!("127.0.0.1:{port}"));
            command.args(["-t", TIME_TO_LIVE, "-s", &format!("malloc,{CACHE_BYTES}")])
        }
    };
    Ok(command)
}

/// Returns the largest number of open files of a process.
fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20).min(1 << 20)
}

/// Returns the number of files that a worker of nginx keeps open. The rest is for connections.
pub(super) fn open_file_cache() -> u64 {
    open_files().saturating_sub(2_000).clamp(1_000, 200_000)
}

/// Returns a port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
