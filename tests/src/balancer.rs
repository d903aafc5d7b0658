//! Spreads TCP connections over several servers, one after another.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A balancer on a free port of the loopback address. Dropping it closes its port.
pub struct Balancer {
    /// Its address.
    pub addr: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Starts a balancer over `servers`. Each connection stays at its server.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let servers = Arc::new(Mutex::new(servers));
        let of_task = Arc::clone(&servers);
        let accepting = tokio::spawn(async move {
            for turn in 0usize.. {
                let Ok((mut client, _)) = listener.accept().await else { return };
                let server = {
                    let servers = of_task.lock();
                    servers.get(turn % servers.len().max(1)).copied()
                };
                tokio::spawn(async move {
                    let Some(server) = server else { return };
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = (client.set_nodelay(true), server.set_nodelay(true));
                        // Either end may close or reset its connection, which closes the other.
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { addr, servers, accepting }
    }

    /// Adds a server for later connections.
    pub fn add(&self, server: SocketAddr) {
        self.servers.lock().push(server);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
