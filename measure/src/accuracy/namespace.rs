//! Network namespaces without a name.
//!
//! A namespace exists while a process or descriptor refers to it, so none remains when the process ends. The
//! kernel removes its interfaces and the other ends of its veth pairs with it. After a kill this can take until TCP
//! has given up the connections in it. An orderly end or a panic therefore removes the pairs at once ([`Pairs`]).

use anyhow::{Context, Result, bail};
use rustix::net::netdevice::name_to_index;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A private network namespace with its loopback interface up.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Creates a namespace.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn new() -> Result<Self> {
        // A separate thread enters the new namespace and ends in it.
        let made = std::thread::spawn(|| -> Result<File> {
            // SAFETY: it does not unshare file descriptors, and this thread ends directly afterwards.
            #[expect(unsafe_code, reason = "rustix leaves shared descriptors to its caller")]
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot create a network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let Ok(made) = made.join() else { bail!("cannot create a network namespace") };
        let namespace = Self(made?);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Runs `job` in the namespace. Its sockets and processes stay there.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or the job panics.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        let outcome = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| job())
            });
            worker.join()
        });
        match outcome {
            Ok(outcome) => outcome.context("the network namespace cannot be entered"),
            Err(_) => bail!("the job in the network namespace panicked"),
        }
    }

    /// Runs `ip` with these arguments in the namespace.
    pub(crate) fn ip(&self, args: &[&str]) -> Result<()> {
        self.run(|| ip(args))?
    }

    /// Returns a counter of `/proc/net/netstat` in the namespace, by name (`TcpExt`).
    pub(crate) fn netstat(&self, name: &str) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let (_, value) =
            pairs.find(|(other, _)| *other == name).with_context(|| format!("no counter {name}"))?;
        Ok(value.parse()?)
    }

    /// Returns the received packets that this interface dropped. It includes drops because of a full CPU queue
    /// (`netdev_max_backlog`).
    pub(crate) fn dropped(&self, interface: &str) -> Result<u64> {
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        let (_, figures) = lines
            .find(|(name, _)| *name == interface)
            .with_context(|| format!("no interface {interface}"))?;
        // The fields are received bytes, packets, errors and drops.
        Ok(figures.split_whitespace().nth(3).context("no figures")?.parse()?)
    }

    /// Runs an `nft` script in the namespace and returns its output.
    pub(crate) fn nft(&self, script: &str) -> Result<String> {
        let output = self
            .run(|| Command::new("nft").arg(script).output())?
            .context("nft (package nftables) cannot be run")?;
        if !output.status.success() {
            bail!("nft {script}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Allows segment batches of up to 256 KB on an interface (BIG TCP), also for IPv4, which older `ip` programs
    /// cannot set.
    pub(crate) fn allow_big_tcp(&self, interface: &str) -> Result<()> {
        self.ip(&["link", "set", interface, "gso_max_size", "262144"])?;
        self.run(|| set_gso_ipv4_max_size(interface, 262_144))?
    }

    /// Connects the namespace to that of this process with a veth pair. Returns the namespace's address.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn join_ours(&self) -> Result<Ipv4Addr> {
        let (pid, pair) = self.make_pair()?;
        let (ours, theirs) = pair_addresses(pid, pair);
        self.set_addresses((pid, pair), &[&format!("{ours}/31")], &[&format!("{theirs}/31")])?;
        Ok(theirs)
    }

    /// Like [`join_ours`](Self::join_ours), over IPv6.
    pub(crate) fn join_ours_v6(&self) -> Result<Ipv6Addr> {
        let (pid, pair) = self.make_pair()?;
        // Unique local addresses (RFC 4193) that end in the pair's IPv4 addresses.
        let local = |v4: Ipv4Addr| Ipv6Addr::from(0xfd39 << 112 | u128::from(u32::from(v4)));
        let (ours, theirs) = pair_addresses(pid, pair);
        let (own, peer) = (format!("{}/127", local(ours)), format!("{}/127", local(theirs)));
        // `nodad` skips duplicate address detection.
        self.set_addresses((pid, pair), &[&own, "nodad"], &[&peer, "nodad"])?;
        Ok(local(theirs))
    }

    fn make_pair(&self) -> Result<(u32, u32)> {
        let (pid, pair) = (std::process::id(), PAIRS.fetch_add(1, Ordering::Relaxed));
        let (name, owner) = (pair_name(pid, pair), pid.to_string());
        self.ip(&["link", "add", "up0", "type", "veth", "peer", "name", &name, "netns", &owner])?;
        Ok((pid, pair))
    }

    fn set_addresses(&self, (pid, pair): (u32, u32), ours: &[&str], theirs: &[&str]) -> Result<()> {
        let name = pair_name(pid, pair);
        self.ip(&[&["addr", "add", "dev", "up0"], theirs].concat())?;
        self.ip(&["link", "set", "up0", "up"])?;
        ip(&[&["addr", "add", "dev", &name], ours].concat())?;
        ip(&["link", "set", &name, "up"])
    }
}

/// Number of veth pairs that this process has created.
static PAIRS: AtomicU32 = AtomicU32::new(0);

/// Removes this process's veth pairs when dropped.
#[derive(Debug)]
pub struct Pairs;

impl Drop for Pairs {
    fn drop(&mut self) {
        for pair in 0..PAIRS.load(Ordering::Relaxed) {
            // Fails if the namespace, and with it the pair, is already gone.
            let _ = ip(&["link", "del", &pair_name(std::process::id(), pair)]);
        }
    }
}

/// Returns the name of this side of a pair.
fn pair_name(pid: u32, pair: u32) -> String {
    format!("acc{pid}v{pair}")
}

/// Returns two adjacent addresses of 198.18.0.0/15, which is reserved for network tests (RFC 2544). Each process has
/// 64 pairs.
fn pair_addresses(pid: u32, pair: u32) -> (Ipv4Addr, Ipv4Addr) {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (pid % 1024) * 128 + (pair % 64) * 2;
    (Ipv4Addr::from(base), Ipv4Addr::from(base + 1))
}

/// Sets `IFLA_GSO_IPV4_MAX_SIZE` of an interface (`rtnetlink(7)`; since Linux 6.3).
fn set_gso_ipv4_max_size(interface: &str, bytes: u32) -> Result<()> {
    const GSO_IPV4_MAX_SIZE: u16 = 63;
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK)?;
    let protocol = Protocol::from(libc::NETLINK_ROUTE);
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
    let index = name_to_index(&Socket::new(Domain::IPV4, Type::DGRAM, None)?, interface)?;
    // `struct nlmsghdr`, `struct ifinfomsg`, one attribute.
    let mut message = Vec::new();
    message.extend(40_u32.to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(8_u16.to_ne_bytes());
    message.extend(GSO_IPV4_MAX_SIZE.to_ne_bytes());
    message.extend(bytes.to_ne_bytes());
    socket.send(&message)?;
    let mut answer = [0; 64];
    let length = (&socket).read(&mut answer)?;
    // `struct nlmsgerr`: a negative error number after the header, or 0.
    let error = answer.get(16..20).filter(|_| length >= 20).context("no answer from rtnetlink")?;
    match i32::from_ne_bytes(error.try_into()?) {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error)).context("gso_ipv4_max_size cannot be set"),
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("ip (package iproute2) cannot be run")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
