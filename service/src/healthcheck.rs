//! `--healthcheck URL`: the health check of a container, whose image has no shell and no curl.

use std::time::Duration;

/// Longer than a busy process takes, shorter than a container engine waits.
const DEADLINE: Duration = Duration::from_secs(2);

/// Requests `url` once.
///
/// # Errors
/// When no 2xx answer comes within two seconds.
pub(crate) fn check(url: &str) -> Result<(), ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        // A proxy of the environment is not the way to this container's own port.
        .proxy(None)
        .max_redirects(0)
        .build()
        .new_agent();
    agent.get(url).call().map(drop)
}

#[cfg(test)]
mod tests {
    use super::check;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Answers one request with `status`, and gives the URL to ask.
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
    fn nobody_listening_is_unhealthy() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(check(&format!("http://{free}/ready")).is_err());
    }
}
