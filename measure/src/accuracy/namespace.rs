//! Network namespaces without a name: each lives as long as something holds it, so none is left behind however the
//! process ends. With a namespace go its interfaces and the other ends of its veth pairs; after a kill that may take
//! until TCP has given up the connections in it, so an orderly end and a panic remove the pairs at once ([`Pairs`]).

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace of our own, with its loopback interface up.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// Without the privilege for it (`CAP_SYS_ADMIN`), or without `ip`.
    pub fn new() -> Result<Self> {
        let made = std::thread::spawn(|| -> Result<File> {
            // SAFETY: unshare changes this thread alone, which ends right after.
            #[expect(unsafe_code, reason = "the standard library knows no namespaces")]
            let failed = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            if failed != 0 {
                return Err(std::io::Error::last_os_error()).context("no network namespace can be made");
            }
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let Ok(made) = made.join() else { bail!("no network namespace can be made") };
        let namespace = Self(made?);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Does `job` in the namespace. Sockets and processes made by it stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.0.as_raw_fd();
        let outcome = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                // SAFETY: setns changes this thread alone, which ends with the job; the file is open for as long.
                #[expect(unsafe_code, reason = "the standard library knows no namespaces")]
                let failed = unsafe { libc::setns(file, libc::CLONE_NEWNET) };
                if failed != 0 { Err(std::io::Error::last_os_error()) } else { Ok(job()) }
            });
            worker.join()
        });
        match outcome {
            Ok(outcome) => outcome.context("the network namespace cannot be entered"),
            Err(_) => bail!("the job in the network namespace panicked"),
        }
    }

    /// Runs `ip` with these arguments in the namespace.
    ///
    /// # Errors
    /// When it is missing or says no.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        self.run(|| ip(args))?
    }

    /// A counter of `/proc/net/netstat` in the namespace, by name (`TcpExt`).
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn netstat(&self, name: &str) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let (_, value) =
            pairs.find(|(other, _)| *other == name).with_context(|| format!("no counter {name}"))?;
        Ok(value.parse()?)
    }

    /// Packets that came by this interface and were dropped, a full queue of the processor's (`netdev_max_backlog`)
    /// included.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn dropped(&self, interface: &str) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        let (_, figures) = lines
            .find(|(name, _)| *name == interface)
            .with_context(|| format!("no interface {interface}"))?;
        // Received: bytes, packets, errors, dropped.
        Ok(figures.split_whitespace().nth(3).context("no figures")?.parse()?)
    }

    /// Joins the namespace to the one of this process by a veth pair; gives the address it has on its end.
    ///
    /// # Errors
    /// When `ip` says no.
    pub fn join_ours(&self) -> Result<Ipv4Addr> {
        let (pid, pair) = (std::process::id(), PAIRS.fetch_add(1, Ordering::Relaxed));
        let (ours, theirs) = pair_addresses(pid, pair);
        let name = pair_name(pid, pair);
        let owner = pid.to_string();
        self.ip(&["link", "add", "up0", "type", "veth", "peer", "name", &name, "netns", &owner])?;
        self.ip(&["addr", "add", &format!("{theirs}/31"), "dev", "up0"])?;
        self.ip(&["link", "set", "up0", "up"])?;
        ip(&["addr", "add", &format!("{ours}/31"), "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        Ok(theirs)
    }
}

/// How many veth pairs this process has made.
static PAIRS: AtomicU32 = AtomicU32::new(0);

/// Removes this process's veth pairs when dropped.
#[derive(Debug)]
pub struct Pairs;

impl Drop for Pairs {
    fn drop(&mut self) {
        for pair in 0..PAIRS.load(Ordering::Relaxed) {
            // Fails if its namespace is gone already, and the pair with it.
            let _ = ip(&["link", "del", &pair_name(std::process::id(), pair)]);
        }
    }
}

/// The name of this side of a pair.
fn pair_name(pid: u32, pair: u32) -> String {
    format!("acc{pid}v{pair}")
}

/// Two neighbouring addresses of 198.18.0.0/15, which is set apart for tests of networks (RFC 2544); 16 pairs a process.
fn pair_addresses(pid: u32, pair: u32) -> (Ipv4Addr, Ipv4Addr) {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (pid % 4096) * 32 + (pair % 16) * 2;
    (Ipv4Addr::from(base), Ipv4Addr::from(base + 1))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("ip (package iproute2) cannot be run")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
