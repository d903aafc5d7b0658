//! Starts `redis-server` for one test, alone or as a cluster.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a server is started on a port of its own. Between choice and use another process may take a port.
const ATTEMPTS: usize = 3;

/// A running server. Dropping it stops the server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server with more options. `None` without `redis-server`, which is a failure in CI.
    pub(crate) fn start(test: &str, options: &[&str]) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            if let Some(server) = Self::try_start(test, free_port(), options)? {
                return Some(server);
            }
        }
        unreachable!("redis-server ends at once on {ATTEMPTS} ports")
    }

    /// Starts a server on a port. `Some(None)` if it ends at once, because another process has taken the port.
    pub(crate) fn try_start(test: &str, port: u16, options: &[&str]) -> Option<Option<Self>> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port"]).arg(port.to_string());
        command.arg("--dir").arg(folder.path()).args(options).stdout(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "whether a skipped test is a failure is CI's to say"
                )]
                let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!ci, "{test} must not be skipped in CI: there is no redis-server");
                println!("SKIPPED {test}: there is no redis-server: apt-get install redis-server");
                return None;
            }
            Err(error) => unreachable!("redis-server does not start: {error}"),
        };
        let mut server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listens = TcpStream::connect(server.address).is_ok();
            if server.child.try_wait().unwrap().is_some() {
                return Some(None);
            }
            if listens {
                return Some(Some(server));
            }
            assert!(Instant::now() < deadline, "redis-server does not listen on {port}");
            std::thread::yield_now();
        }
    }

    /// Runs one command with `redis-cli` and returns its output.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        cli(&["-p", &self.address.port().to_string()], words)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that no process listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn cli(options: &[&str], words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(options).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Starts nodes that do not know each other, or `Some(None)` if another process has taken a port.
fn nodes(test: &str, count: usize) -> Option<Option<Vec<Server>>> {
    // All at once: a port that is free again could be returned twice.
    let held: Vec<TcpListener> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(held);
    let mut nodes = Vec::new();
    for ports in ports.chunks(2) {
        let bus = ports[1].to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
        match Server::try_start(test, ports[0], &options)? {
            Some(node) => nodes.push(node),
            None => return Some(None),
        }
    }
    Some(Some(nodes))
}

/// Starts a cluster: `primaries` nodes, each with one replica. `None` without `redis-server`.
pub(crate) fn cluster(test: &str, primaries: usize) -> Option<Vec<Server>> {
    let mut started = None;
    for _ in 0..ATTEMPTS {
        if started.is_none() {
            started = nodes(test, 2 * primaries)?;
        }
    }
    let Some(nodes) = started else { unreachable!("a node ends at once, in {ATTEMPTS} attempts") };
    let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
    let mut words = vec!["create"];
    words.extend(addresses.iter().map(String::as_str));
    words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    cli(&["--cluster"], &words);
    let deadline = Instant::now() + PATIENCE;
    let is_ready = |node: &Server| {
        let replicas = node
            .cli(&["cluster", "nodes"])
            .lines()
            .filter(|line| line.contains(" slave ") || line.contains(",slave "))
            .count();
        node.cli(&["cluster", "info"]).contains("cluster_state:ok") && replicas == primaries
    };
    while !nodes.iter().all(is_ready) {
        assert!(
            Instant::now() < deadline,
            "the cluster is not ready: {}",
            nodes[0].cli(&["cluster", "nodes"])
        );
    }
    Some(nodes)
}
