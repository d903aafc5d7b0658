//! Implements `--healthcheck URL`: the containers' health check without shell and curl.

use axum::http::Uri;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Longer than a busy process needs, shorter than the timeout of container engines.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `url` once, from the first address of its host that accepts a connection.
///
/// # Errors
/// Returns an error when no 2xx answer arrives within two seconds.
pub(crate) fn check(url: &str) -> io::Result<()> {
    let bad_url = || io::Error::new(io::ErrorKind::InvalidInput, "give http://host:port/path");
    let uri: Uri = url.parse().map_err(|_| bad_url())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(bad_url)?;
    let host = authority.host().trim_matches(['[', ']']);
    let addrs: Vec<_> = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs()?.collect();
    let stream = connect(&addrs)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // In one write: a server that answers after a part of the request would reset the connection.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    (&stream).write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("the response is {:?}", line.trim_end()))),
    }
}

/// Connects to the first address that accepts.
fn connect(addrs: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::NotFound.into();
    for addr in addrs {
        match TcpStream::connect_timeout(addr, TIMEOUT / 2) {
            Ok(stream) => return Ok(stream),
            Err(err) => last = err,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::{check, connect};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Answers one request with `status` and returns the URL for it.
    fn answering(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ready", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        });
        url
    }

    #[test]
    fn only_an_answer_of_success_is_healthy() {
        assert!(check(&answering("200 OK")).is_ok());
        let draining = check(&answering("503 Service Unavailable")).unwrap_err();
        assert!(draining.to_string().contains("503"), "{draining}");
    }

    #[test]
    fn an_address_that_refuses_is_passed_over() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        assert_eq!(connect(&[refusing, listening]).unwrap().peer_addr().unwrap(), listening);
        assert!(connect(&[refusing]).is_err() && connect(&[]).is_err());
    }

    #[test]
    fn a_bad_url_is_unhealthy() {
        for url in ["", "127.0.0.1:80/ready", "https://127.0.0.1/ready"] {
            assert_eq!(check(url).unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{url}");
        }
    }

    #[test]
    fn nobody_listening_is_unhealthy() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(check(&format!("http://{free}/ready")).is_err());
    }
}
