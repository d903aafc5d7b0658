//! The lab of one row, with what its fault needs.

use anyhow::{Context as _, Result, ensure};
use lab_tests::build;
use lab_tests::lab::{Lab, Options};
use lab_tests::process::{Process, TestProcess as _};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::Value;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use tempfile::NamedTempFile;

use super::AFFECTED;
use super::client_faults::Clients;
use super::proxy::Proxy;
use super::traffic::even_keys;

/// The name of the affected shard where it has one, its first address and the one that it moves to.
const NAME: &str = "shard-1.faults.test";
const FIRST: &str = "127.0.0.1";
pub(crate) const MOVED: &str = "127.0.0.2";

/// What a lab has besides the usual.
#[derive(Default)]
pub(crate) struct Wiring {
    /// Whether the gateway reaches the affected shard through a proxy.
    pub(crate) proxied: bool,
    /// Whether gateway and probe know the affected shard by name.
    pub(crate) named: bool,
    /// The gateway's limit of descriptors.
    pub(crate) open_files: Option<u32>,
    /// Time-out of the gateway's calls in milliseconds.
    pub(crate) upstream_timeout_ms: u32,
    /// Settings of all processes.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The proxy in front of the OpenTelemetry collector.
    pub(crate) collector: Option<Proxy>,
    /// The file with the offset of the processes' clock.
    pub(crate) clock: Option<NamedTempFile>,
}

/// A running lab.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) wiring: Wiring,
    /// The clients that are the fault, while it lasts.
    pub(crate) clients: Option<Clients>,
    gateway_urls: String,
    probe_urls: String,
}

impl Stage {
    /// Starts a lab with a probe. It waits for its turn among the labs of this process.
    pub(crate) async fn start(wiring: Wiring) -> Result<Self> {
        let shard = wiring.settings.clone();
        let mut lab = Lab::start(Options { shard, ..Options::default() }).await;
        let addresses = lab.shard_addrs();
        let proxy = if wiring.proxied { Some(Proxy::start(addresses[AFFECTED]).await?) } else { None };
        let mut probe: Vec<String> = addresses.iter().map(|addr| format!("http://{addr}")).collect();
        if wiring.named {
            name(FIRST)?;
            probe[AFFECTED] = format!("http://{NAME}:{}", addresses[AFFECTED].port());
        }
        let mut gateway = probe.clone();
        if let Some(proxy) = &proxy {
            gateway[AFFECTED] = format!("http://{}", proxy.addr);
        }
        let (gateway_urls, probe_urls) = (gateway.join(","), probe.join(","));
        lab.gateway.kill();
        let mut stage = Self { lab, proxy, wiring, clients: None, gateway_urls, probe_urls };
        stage.start_gateway().await?;
        stage.start_probe()?;
        stage.lab.probe.as_mut().context("a probe")?.ready().await;
        stage.agreed().await?;
        Ok(stage)
    }

    pub(crate) fn shards(&self) -> Result<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.lab.shards.len())?).context("a lab has shards")
    }

    /// The addresses of all processes that have metrics.
    pub(crate) fn servers(&self) -> Result<Vec<SocketAddr>> {
        self.lab.parts().map(Process::address).collect()
    }

    pub(crate) fn probe(&mut self) -> Result<&mut Process> {
        self.lab.probe.as_mut().context("the lab has no probe")
    }

    /// Starts a gateway in place of the one that has ended, at its address.
    pub(crate) async fn start_gateway(&mut self) -> Result<()> {
        let port = self.lab.gateway.address()?.port();
        let mut settings = self.wiring.settings.clone();
        settings.extend([
            ("PORT", port.to_string()),
            ("SHARD_URLS", self.gateway_urls.clone()),
            ("UPSTREAM_TIMEOUT_MS", self.wiring.upstream_timeout_ms.to_string()),
        ]);
        let program = build::binary("gateway");
        self.lab.gateway = match self.wiring.open_files {
            Some(limit) => {
                let script = format!("ulimit -n {limit}; exec \"$0\"");
                let arguments = ["-c", &script, &program.to_string_lossy()];
                Process::start_program(Path::new("/bin/sh"), &arguments, &settings)
            }
            None => Process::start_program(&program, &[], &settings),
        };
        self.lab.gateway.ready().await;
        Ok(())
    }

    /// Starts a probe, at the address of the last one.
    pub(crate) fn start_probe(&mut self) -> Result<()> {
        let port = self.lab.probe.as_ref().map(Process::address).transpose()?.map_or(0, |addr| addr.port());
        let mut settings = self.wiring.settings.clone();
        settings.extend([("PORT", port.to_string()), ("SHARD_URLS", self.probe_urls.clone())]);
        self.lab.set_probe(settings);
        // The lab waits for the process in this thread.
        tokio::task::block_in_place(|| self.lab.start_probe());
        Ok(())
    }

    /// Starts a shard that has ended, at its address.
    pub(crate) fn start_shard(&mut self, id: usize) -> Result<()> {
        tokio::task::block_in_place(|| (*self.lab).start_shard(id))
    }

    /// Starts the shard that has ended at another address of this machine, and gives its name this address.
    pub(crate) async fn move_shard(&mut self, id: usize, host: &str) -> Result<()> {
        let old = self.lab.shards[id].address()?;
        // It moves back in the next repetition.
        let host = if old.ip().to_string() == host { FIRST } else { host };
        let settings = [
            ("BIND_ADDRESS", host.to_owned()),
            ("PORT", old.port().to_string()),
            ("SHARD_ID", id.to_string()),
            ("BASE_LATENCY_MS", "0".to_owned()),
            ("LOAD_LATENCY_FACTOR_MS", "0".to_owned()),
            ("SHARD_CONCURRENCY", "0".to_owned()),
        ];
        self.lab.shards[id] = Process::of_lab("shard", &[], &settings);
        name(host)?;
        self.lab.shards[id].ready().await;
        Ok(())
    }

    /// Switches mitigations.
    pub(crate) async fn mitigate(&self, wish: &Value) -> Result<()> {
        let url = self.lab.at_gateway("/admin/mitigation");
        let answer = self.lab.client.post(url).json(wish).send().await?;
        ensure!(answer.status() == 200, "/admin/mitigation answers {}", answer.status());
        Ok(())
    }

    /// Reads each key of the load once.
    pub(crate) async fn read_every_key(&self) -> Result<()> {
        for key in even_keys(self.shards()?)?.keys() {
            let answer = self.lab.client.get(self.lab.at_gateway(&format!("/data/{key}"))).send().await?;
            ensure!(answer.status() == 200, "{key}: {}", answer.status());
        }
        Ok(())
    }

    /// Waits until kernel and application agree on every shard.
    pub(crate) async fn agreed(&self) -> Result<()> {
        self.lab.at_rest().await.map(drop).map_err(anyhow::Error::msg)
    }
}

/// Gives this process, and those it starts, an `/etc/hosts` of their own. It must be called before other threads exist.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn hosts_of_our_own() -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    std::fs::copy("/etc/hosts", file.path())?;
    // SAFETY: it does not unshare file descriptors.
    #[expect(unsafe_code, reason = "rustix leaves shared descriptors to its caller")]
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot create a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount_bind(file.path(), "/etc/hosts").context("cannot mount a file at /etc/hosts")?;
    Ok(file)
}

/// Gives [`NAME`] this address.
fn name(address: &str) -> Result<()> {
    let hosts = std::fs::read_to_string("/etc/hosts")?;
    let others: Vec<&str> = hosts.lines().filter(|line| !line.ends_with(NAME)).collect();
    let is_ours =
        std::fs::read_to_string("/proc/self/mounts")?.lines().any(|line| line.contains(" /etc/hosts "));
    ensure!(
        is_ours,
        "the row `moved` needs an /etc/hosts of its own: run it as root with `cargo xtask faults`"
    );
    Ok(std::fs::write("/etc/hosts", format!("{}\n{address} {NAME}\n", others.join("\n")))?)
}
