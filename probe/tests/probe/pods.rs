//! Tests shards that are pods, with a simulated Kubernetes API.
//!
//! The probe's binary requests the pods over TLS, and the kernel counts at their addresses.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{TIMEOUT, privileges};
use crate::process::{Running, command, error_line};
use crate::shard::Shard;

/// A small API server. It returns one list of pods to clients with the token.
struct Api {
    port: u16,
    /// Status and body of the answer.
    answer: Arc<Mutex<(u16, Value)>>,
    /// First lines of the requests with the right token.
    asked: Arc<Mutex<Vec<String>>>,
    /// The service account's folder.
    account: PathBuf,
}

impl Api {
    fn start(name: &str) -> Self {
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
        let api =
            Self { port, answer: Arc::new(Mutex::new((500, json!({})))), asked: Arc::default(), account };
        let (answer, asked, token) =
            (Arc::clone(&api.answer), Arc::clone(&api.asked), api.account.join("token"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                // Errors of clients that reject the certificate or close are ignored.
                let _ = serve(tls, &answer, &asked, &token);
            }
        });
        api
    }

    fn answer(&self, status: u16, body: Value) {
        *self.answer.lock().unwrap() = (status, body);
    }

    /// Sets the list to one running pod of shard 0 at this address.
    fn pod_at(&self, ip: &str, port: u16) {
        let pod = json!({
            "metadata": {"name": "shard-0", "namespace": "lab", "labels": {"apps.kubernetes.io/pod-index": "0"}},
            "spec": {"nodeName": "node-7", "containers": [{"name": "shard", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
        });
        let metadata = json!({"resourceVersion": "12"});
        self.answer(
            200,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": [pod]}),
        );
    }

    /// A probe that looks for the pod of `shard`. It also has the shard's URL.
    fn probe(&self, shard: &str) -> std::process::Command {
        let mut command = command(&["run", "--port", "0", "--shard-urls", shard]);
        command
            .env("KUBERNETES_SELECTOR", "app.kubernetes.io/component=shard")
            .env("KUBERNETES_NAMESPACE", "lab")
            .env("NODE_NAME", "node-7")
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", self.port.to_string())
            .env("KUBERNETES_ACCOUNT", &self.account);
        command
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // Removing the folder is best effort.
        let _ = std::fs::remove_dir_all(&self.account);
    }
}

/// Serves one request per connection.
fn serve(
    tls: StreamOwned<ServerConnection, std::net::TcpStream>,
    answer: &Mutex<(u16, Value)>,
    asked: &Mutex<Vec<String>>,
    token: &std::path::Path,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(tls);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let expected = format!("authorization: Bearer {}", std::fs::read_to_string(token)?.trim());
    let (status, body) = if lines.contains(&expected) {
        asked.lock().unwrap().push(lines.first().cloned().unwrap_or_default());
        answer.lock().unwrap().clone()
    } else {
        (401, json!({"kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401}))
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let mut tls = reader.into_inner();
    tls.write_all(head.as_bytes())?;
    tls.write_all(body.as_bytes())?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn addresses(probe: &Running) -> Value {
    probe.json("/status")["shards"][0]["addresses"].clone()
}

fn read(ip: &str, port: u16, times: usize) {
    for n in 0..times {
        ureq::get(format!("http://{ip}:{port}/data/key-{n}"))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
    }
}

fn counted(probe: &Running) -> u64 {
    probe.json("/api/shards")["shards"][0]["requests"]["get"].as_u64().unwrap()
}

#[test]
fn a_pod_is_counted_where_it_is_also_after_it_has_moved() {
    if !privileges("a_pod_is_counted_where_it_is_also_after_it_has_moved") {
        return;
    }
    // One process that any loopback address reaches. It represents a pod that moves and keeps its count.
    let shard = Shard::start_at("0.0.0.0:0".parse().unwrap(), 0);
    let port = shard.addr.port();
    let api = Api::start("moves");
    api.pod_at("127.0.0.41", port);
    let probe = Running::follow(&mut api.probe(&format!("http://127.0.0.1:{port}")));
    assert_eq!(addresses(&probe), json!([format!("127.0.0.41:{port}")]));
    assert_eq!(
        api.asked.lock().unwrap().first().unwrap().as_str(),
        "GET /api/v1/namespaces/lab/pods?resourceVersion=0&labelSelector=app%2Ekubernetes%2Eio%2Fcomponent%3Dshard\
         &fieldSelector=spec%2EnodeName%3Dnode%2D7 HTTP/1.1"
    );
    probe.settled();
    read("127.0.0.41", port, 7);
    let agreed = probe.settled();
    assert_eq!((&agreed["kernel"], &agreed["app"]), (&7.into(), &7.into()), "{agreed}");

    // The token is renewed, then the pod moves.
    std::fs::write(api.account.join("token"), "second\n").unwrap();
    api.pod_at("127.0.0.42", port);
    wait_until("the new address", || addresses(&probe) == json!([format!("127.0.0.42:{port}")]));
    let before = counted(&probe);
    probe.settled();
    read("127.0.0.42", port, 11);
    let agreed = probe.settled();
    assert_eq!((counted(&probe) - before, &agreed["agrees"]), (11, &true.into()), "{agreed}");
    assert_eq!((&agreed["kernel"], &agreed["app"]), (&11.into(), &11.into()), "{agreed}");
    // The old address is no longer watched.
    read("127.0.0.41", port, 3);
    assert_eq!(counted(&probe) - before, 11);
    assert_eq!(shard.received.load(Ordering::SeqCst), 21);

    // The API fails. The known addresses stay, and the problem is logged once.
    api.answer(500, json!({"kind": "Status"}));
    let asked = api.asked.lock().unwrap().len();
    wait_until("two more questions", || api.asked.lock().unwrap().len() >= asked + 2);
    assert_eq!(addresses(&probe), json!([format!("127.0.0.42:{port}")]));
    // Without a pod there is nothing to count here.
    api.answer(200, json!({"kind": "PodList", "items": []}));
    wait_until("no address", || addresses(&probe) == json!([]));
    let compare = probe.json("/api/compare")["shards"][0].clone();
    assert_eq!(
        (&compare["agrees"], &compare["cause_kind"]),
        (&Value::Null, &"unwatched".into()),
        "{compare}"
    );
    assert!(compare["cause"].as_str().unwrap().contains("it has no running pod on node node-7"), "{compare}");
    let (code, log) = probe.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("it returned 500").count(), 1, "{log}");
}

#[test]
fn an_api_that_refuses_is_named_and_the_probe_runs() {
    if !privileges("an_api_that_refuses_is_named_and_the_probe_runs") {
        return;
    }
    let shard = Shard::start(0);
    let api = Api::start("refuses");
    api.answer(403, json!({"kind": "Status", "reason": "Forbidden"}));
    let probe = Running::follow(&mut api.probe(&shard.url()));
    let status = probe.json("/status")["shards"][0].clone();
    assert!(
        status["problem"].as_str().unwrap().contains("403 Forbidden: allow the service account to list pods"),
        "{status}"
    );
    api.pod_at("127.0.0.1", shard.addr.port());
    wait_until("the pod", || addresses(&probe) == json!([shard.addr.to_string()]));
    // The probe sends no request to a server with a certificate of another authority.
    let stranger = Api::start("stranger");
    stranger.pod_at("127.0.0.1", shard.addr.port());
    let mut command = stranger.probe(&shard.url());
    let second = Running::follow(command.env("KUBERNETES_ACCOUNT", &api.account));
    let status = second.json("/status")["shards"][0].clone();
    assert!(status["problem"].as_str().unwrap().contains("certificate"), "{status}");
    assert!(stranger.asked.lock().unwrap().is_empty());
    assert_eq!((second.stop().0, probe.stop().0), (Some(0), Some(0)));
}

#[test]
fn what_is_missing_outside_a_cluster_is_one_line() {
    let api = Api::start("outside");
    let refused = |name: &str, value: &str, says: &str| {
        let output = api.probe("http://127.0.0.1:9").env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let line = error_line(&output);
        assert!(line.contains(says), "{line}");
    };
    refused("KUBERNETES_SERVICE_HOST", "", "KUBERNETES_SERVICE_HOST");
    refused("KUBERNETES_ACCOUNT", "/nowhere", "KUBERNETES_ACCOUNT=\"/nowhere\" cannot be used");
    std::fs::write(api.account.join("ca.crt"), "nothing").unwrap();
    refused("RTT", "off", "it holds no certificate");
}
