//! Binds one port for several runtimes.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

/// Length of each listener's backlog.
const BACKLOG: i32 = 1024;
/// Largest number of bytes that the kernel holds for a client that does not read. Connections inherit it from their
/// listener. The kernel's own limit is 4 MiB.
const UNSENT_MAX_BYTES: u32 = 128 * 1024;

/// Error of binding a port.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}{}", hint(source))]
pub struct BindError {
    /// The requested address.
    pub addr: SocketAddr,
    /// The system's error.
    #[source]
    pub source: std::io::Error,
}

fn hint(err: &std::io::Error) -> &'static str {
    match err.kind() {
        std::io::ErrorKind::AddrInUse => "; stop the process that uses it, or set PORT to a free port",
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege, so set PORT to a higher port"
        }
        _ => "",
    }
}

/// Binds one listener a runtime on the same port; port 0 selects a free one.
///
/// # Errors
/// Returns an error when the address cannot be bound.
pub(crate) fn listeners(addr: SocketAddr, count: NonZeroUsize) -> Result<Vec<TcpListener>, BindError> {
    let all = || {
        // With SO_REUSEPORT a second lab would silently share the port. So the port is first bound without it. The claim
        // keeps another start out between this and the listeners.
        let _claim = (addr.port() != 0).then(|| claim(addr)).transpose()?;
        let exclusive = socket(addr)?;
        exclusive.bind(&addr.into())?;
        let addr = exclusive.local_addr()?.as_socket().unwrap_or(addr);
        drop(exclusive);
        (0..count.get()).map(|_| shared(addr)).collect::<Result<Vec<_>, _>>()
    };
    all().map_err(|source| BindError { addr, source })
}

/// Claims an address by a socket in the abstract namespace. Like a port it belongs to the network namespace, and it ends
/// with its process.
fn claim(addr: SocketAddr) -> std::io::Result<UnixListener> {
    UnixListener::bind_addr(&UnixAddr::from_abstract_name(format!("hot-partition-lab/{addr}"))?)
}

fn socket(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted process bind the port while connections of the previous process are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn shared(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused_although_listeners_share_ports() {
        let two = NonZeroUsize::new(2).unwrap();
        let first = listeners("127.0.0.1:0".parse().unwrap(), two).unwrap();
        let addr = first[0].local_addr().unwrap();
        assert_eq!((first.len(), first[1].local_addr().unwrap()), (2, addr));
        let refused = listeners(addr, two).unwrap_err().to_string();
        assert!(
            refused.contains(&addr.to_string()) && refused.contains("set PORT to a free port"),
            "{refused}"
        );
        assert_eq!(refused.lines().count(), 1);
    }

    #[test]
    fn of_five_simultaneous_starts_exactly_one_owns_the_port() {
        let one = NonZeroUsize::MIN;
        for round in 0..100 {
            let free = listeners("127.0.0.1:0".parse().unwrap(), one).unwrap();
            let addr = free[0].local_addr().unwrap();
            drop(free);
            let barrier = std::sync::Barrier::new(5);
            let start = || {
                barrier.wait();
                listeners(addr, one).ok()
            };
            let owners = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..5).map(|_| scope.spawn(start)).collect();
                // Each keeps its port until all have tried.
                let owners: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
                owners.iter().flatten().count()
            });
            assert_eq!(owners, 1, "round {round}");
        }
    }
}
