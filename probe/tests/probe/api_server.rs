//! A small Kubernetes API server. It lists and watches pods over TLS.
//!
//! Responses of a watch are chunked, with one change in a line, as those of the real one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The server. Its threads end with the process.
pub(crate) struct ApiServer {
    pub(crate) port: u16,
    /// The service account's folder.
    pub(crate) account: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    /// The version of the last change.
    version: u64,
    /// Version and line of each change.
    changes: Vec<(u64, String)>,
    /// A watch from an older version gets 410.
    oldest: u64,
    /// The status of every answer, if not 200.
    refusal: Option<u16>,
    /// The status of the answer to a watch, if not 200.
    watch_refusal: Option<u16>,
    /// Whether requests wait, and watches are silent.
    is_frozen: bool,
    /// Incremented to break all watches.
    breaks: u64,
    /// First lines of the requests with the right token.
    asked: Vec<String>,
}

impl ApiServer {
    pub(crate) fn start(name: &str) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            );
        let config = Arc::new(config.unwrap());

        let account = tempfile::Builder::new().prefix(name).tempdir().unwrap().keep();
        std::fs::write(account.join("ca.crt"), authority.pem()).unwrap();
        std::fs::write(account.join("namespace"), "its-own").unwrap();
        std::fs::write(account.join("token"), "first\n").unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { version: 1, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let api = Self { port, account, shared };
        let (shared, token) = (Arc::clone(&api.shared), api.account.join("token"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared, token) = (Arc::clone(&config), Arc::clone(&shared), token.clone());
                std::thread::spawn(move || {
                    let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    // Errors of clients that reject the certificate or close are ignored.
                    let _ = serve(&mut BufReader::new(tls), &shared, &token);
                });
            }
        });
        api
    }

    /// First lines of the requests with the right token.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.clone()
    }

    /// How many lists were requested, and how many watches.
    pub(crate) fn lists_and_watches(&self) -> (usize, usize) {
        let asked = self.asked();
        let watches = asked.iter().filter(|line| line.contains("watch=true")).count();
        (asked.len() - watches, watches)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }

    /// Adds or changes a pod.
    pub(crate) fn apply(&self, mut pod: Value) {
        self.change(|state| {
            state.version += 1;
            pod["metadata"]["resourceVersion"] = state.version.to_string().into();
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let kind = if state.pods.insert(name, pod.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            state.tell(kind, &pod);
        });
    }

    /// Removes a pod.
    pub(crate) fn delete(&self, name: &str) {
        self.change(|state| {
            state.version += 1;
            let mut pod = state.pods.remove(name).unwrap();
            pod["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.tell("DELETED", &pod);
        });
    }

    /// Sends a bookmark.
    pub(crate) fn bookmark(&self) {
        self.change(|state| {
            state.version += 1;
            let metadata = json!({"resourceVersion": state.version.to_string(), "creationTimestamp": null});
            let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": null}});
            state.tell("BOOKMARK", &pod);
        });
    }

    /// Sends a line to all watches, as it is.
    pub(crate) fn line(&self, line: &str) {
        self.change(|state| {
            state.version += 1;
            let version = state.version;
            state.changes.push((version, line.to_owned()));
        });
    }

    /// Forgets all changes: a watch that starts at an older version ends with 410.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.changes.clear();
        });
    }

    /// Refuses every request with this status. Watches go on.
    pub(crate) fn refuse(&self, status: Option<u16>) {
        self.change(|state| state.refusal = status);
    }

    /// Refuses new watches with this status.
    pub(crate) fn refuse_watches(&self, status: Option<u16>) {
        self.change(|state| state.watch_refusal = status);
    }

    /// Freezes the server: it accepts connections, and sends nothing.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.change(|state| state.is_frozen = is_frozen);
    }

    /// Breaks the connections of all watches.
    pub(crate) fn break_watches(&self) {
        self.change(|state| state.breaks += 1);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // Removing the folder is best effort.
        let _ = std::fs::remove_dir_all(&self.account);
    }
}

impl State {
    fn tell(&mut self, kind: &str, object: &Value) {
        self.changes.push((self.version, json!({"type": kind, "object": object}).to_string()));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn thawed(&self) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| state.is_frozen).unwrap()
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Serves the requests of one connection.
fn serve(reader: &mut BufReader<Tls>, shared: &Shared, token: &Path) -> std::io::Result<()> {
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let first = lines.first().cloned().unwrap_or_default();
        let expected = format!("authorization: Bearer {}", std::fs::read_to_string(token)?.trim());
        let is_allowed = lines.contains(&expected);
        let mut state = shared.thawed();
        if is_allowed {
            state.asked.push(first.clone());
        }
        let is_watch = first.contains("watch=true");
        let watch_refusal = state.watch_refusal.filter(|_| is_watch);
        let refusal = if is_allowed { state.refusal.or(watch_refusal) } else { Some(401) };
        if let Some(code) = refusal {
            drop(state);
            whole(reader.get_mut(), code, &json!({"kind": "Status", "status": "Failure"}))?;
        } else if is_watch {
            drop(state);
            watch(reader.get_mut(), shared, &first)?;
        } else {
            let metadata = json!({"resourceVersion": state.version.to_string()});
            let items: Vec<_> = state.pods.values().cloned().collect();
            drop(state);
            let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items});
            whole(reader.get_mut(), 200, &list)?;
        }
    }
}

fn whole(tls: &mut Tls, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    tls.write_all(head.as_bytes())?;
    tls.write_all(body.as_bytes())?;
    tls.flush()
}

/// Sends changes until the watch's time is over.
fn watch(tls: &mut Tls, shared: &Shared, request: &str) -> std::io::Result<()> {
    let number = |name: &str| -> u64 {
        let value = request.split_once(&format!("{name}=")).unwrap().1;
        let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        value[..digits].parse().unwrap()
    };
    let mut version = number("resourceVersion");
    let end = Instant::now() + Duration::from_secs(number("timeoutSeconds"));
    tls.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    tls.flush()?;
    let breaks = shared.lock().breaks;
    loop {
        let mut state = shared.lock();
        let lines: Vec<String> = loop {
            if state.breaks != breaks {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            if !state.is_frozen {
                if version < state.oldest {
                    let status = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
                        "message": "too old resource version"});
                    break vec![json!({"type": "ERROR", "object": status}).to_string()];
                }
                let new = state.changes.iter().filter(|(changed, _)| *changed > version);
                let new: Vec<_> = new.map(|(_, line)| line.clone()).collect();
                if !new.is_empty() {
                    version = state.version;
                    break new;
                }
                if Instant::now() >= end {
                    drop(state);
                    tls.write_all(b"0\r\n\r\n")?;
                    return tls.flush();
                }
            }
            state = shared.changed.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
        };
        drop(state);
        for line in lines {
            // A chunk is not a line: the client has to put lines together.
            let line = line + "\n";
            let (one, other) = line.as_bytes().split_at(line.len() / 2);
            for chunk in [one, other] {
                tls.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                tls.write_all(chunk)?;
                tls.write_all(b"\r\n")?;
                tls.flush()?;
            }
        }
    }
}
