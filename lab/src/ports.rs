//! The lab's ports, and the process that occupies one.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Result, bail};

/// Number of shards in the lab.
pub const SHARDS: u16 = 4;

/// Number of nodes of a store in place of the shards: three primaries, each with a replica.
pub const NODES: u16 = 6;

/// The ports of one lab, all relative to the gateway's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    base: u16,
}

impl Ports {
    /// The gateway's default port. The contract's ports are: gateway 8000, shards 9000 … 9003, probe 9010, Prometheus
    /// 9090.
    pub const DEFAULT_BASE: u16 = 8000;
    /// The highest base that leaves a valid port for Prometheus.
    pub const HIGHEST_BASE: u16 = u16::MAX - 1090;

    /// Creates the ports of `base`, at most [`Ports::HIGHEST_BASE`]. The command line checks this limit.
    #[must_use]
    pub const fn new(base: u16) -> Self {
        Self { base }
    }

    /// Whether these are the contract's ports.
    #[must_use]
    pub const fn are_default(self) -> bool {
        self.base == Self::DEFAULT_BASE
    }

    /// The base, equal to the gateway's port.
    #[must_use]
    pub const fn base(self) -> u16 {
        self.base
    }

    /// The gateway's port.
    #[must_use]
    pub const fn gateway(self) -> u16 {
        self.base
    }

    /// The port of shard `id`.
    #[must_use]
    pub const fn shard(self, id: u16) -> u16 {
        self.base + 1000 + id
    }

    /// The port of node `id` of a store in place of the shards.
    #[must_use]
    pub const fn node(self, id: u16) -> u16 {
        self.base + 1000 + id
    }

    /// The port where node `id` of a store talks to the other nodes.
    #[must_use]
    pub const fn bus(self, id: u16) -> u16 {
        self.base + 1020 + id
    }

    /// The port of the probe and the live page.
    #[must_use]
    pub const fn probe(self) -> u16 {
        self.base + 1010
    }

    /// The port of the live page's scenario starter.
    #[must_use]
    pub const fn scenarios(self) -> u16 {
        self.base + 1011
    }

    /// The port of Prometheus.
    #[must_use]
    pub const fn prometheus(self) -> u16 {
        self.base + 1090
    }

    /// The shards' addresses by id, in the format that gateway and probe expect.
    #[must_use]
    pub fn shard_urls(self) -> String {
        (0..SHARDS).map(|id| url(self.shard(id))).collect::<Vec<_>>().join(",")
    }

    /// Checks that all ports are free.
    ///
    /// # Errors
    /// When a port is in use. The error has its purpose and, if known, the process that uses it.
    pub fn check(self, with_probe: bool) -> Result<()> {
        let mut wanted = vec![(self.gateway(), "the gateway".to_owned())];
        wanted.extend((0..SHARDS).map(|id| (self.shard(id), format!("shard {id}"))));
        if with_probe {
            wanted.push((self.scenarios(), "the scenario starter".to_owned()));
        }
        self.check_all(wanted, with_probe)
    }

    /// Checks that all ports of a store's nodes are free.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_store(self, with_probe: bool) -> Result<()> {
        let nodes = (0..NODES).flat_map(|id| {
            [(self.node(id), format!("node {id}")), (self.bus(id), format!("the cluster bus of node {id}"))]
        });
        self.check_all(nodes.collect(), with_probe)
    }

    fn check_all(self, mut wanted: Vec<(u16, String)>, with_probe: bool) -> Result<()> {
        if with_probe {
            wanted.push((self.probe(), "the probe".to_owned()));
        }
        for (port, service) in wanted {
            if let Err(why) = Self::free(port) {
                bail!(
                    "port {port} ({service}) {why}; stop that process, or choose other ports with --port-base N"
                );
            }
        }
        Ok(())
    }

    /// Checks that `port` is free.
    ///
    /// # Errors
    /// The reason why it is not free, with the process that uses it if known.
    pub fn free(port: u16) -> std::result::Result<(), String> {
        let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { return Ok(()) };
        Err(match holder(port) {
            Some(holder) => format!("is in use by {holder}"),
            None => format!("cannot be used: {error}"),
        })
    }
}

/// The URL of a part of the lab.
#[must_use]
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The process that listens on `port`. `None` if this user may not see it.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|file| listening_inode(&fs::read_to_string(file).ok()?, port))?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path(), &socket).then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
    })
}

fn holds(process: &Path, socket: &str) -> bool {
    fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == socket))
}

/// The inode of the socket that listens on `port`, in the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit(':').next()?;
        let listens = *fields.get(3)? == LISTEN && u16::from_str_radix(local, 16).ok()? == port;
        listens.then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::{Ports, holder, listening_inode};

    #[test]
    fn the_default_ports_are_the_contracts() {
        let ports = Ports::new(Ports::DEFAULT_BASE);
        assert_eq!(
            (ports.gateway(), ports.shard(0), ports.shard(3), ports.probe()),
            (8000, 9000, 9003, 9010)
        );
        assert_eq!(Ports::new(Ports::DEFAULT_BASE).prometheus(), 9090);
        assert_eq!(Ports::new(Ports::HIGHEST_BASE).prometheus(), u16::MAX);
        assert!(ports.shard_urls().starts_with("http://127.0.0.1:9000,http://127.0.0.1:9001,"));
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let holder = holder(port).expect("this process may see itself");
        assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
        if port <= Ports::HIGHEST_BASE {
            let error = Ports::new(port).check(false).expect_err("the port is taken").to_string();
            assert!(error.contains(&port.to_string()) && error.contains("the gateway"), "{error}");
        }
    }

    #[test]
    fn only_listening_sockets_hold_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
            1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1\n";
        assert_eq!(listening_inode(table, 8000), Some(22));
        assert_eq!(listening_inode(table, 8001), None);
    }
}
