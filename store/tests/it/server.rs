//! Starts a `redis-server` for one test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server. Dropping it stops the server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server with more options. `None` without `redis-server`, which is a failure in CI.
    pub(crate) fn start(test: &str, options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
        let server = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(server.address).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen on {port}");
            std::thread::yield_now();
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
