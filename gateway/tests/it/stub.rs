//! A stub shard with scripted replies that records the requests it receives.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct StubRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    /// Number of earlier requests on its connection.
    pub(crate) earlier: usize,
}

/// The reply to a request.
pub(crate) enum Reply {
    /// Answer with a status and a body, and keep the connection.
    Answer(u16, String),
    /// Send these bytes and close the connection.
    Raw(Vec<u8>),
    /// Send these bytes and reset the connection.
    Reset(Vec<u8>),
    /// Close the connection without an answer.
    Cut,
    /// Wait until the gate is open, then send this reply.
    Held(Gate, Box<Reply>),
}

/// Makes the same reply each time.
pub(crate) type MakeReply = fn() -> Reply;

/// Holds replies back until it is opened.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn hold(&self, reply: Reply) -> Reply {
        Reply::Held(self.clone(), Box::new(reply))
    }

    async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

type Behaviour = dyn Fn(&StubRequest, usize) -> Reply + Send + Sync;

/// A stub shard. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) addr: SocketAddr,
    request: Arc<Mutex<Vec<StubRequest>>>,
    frozen: watch::Sender<bool>,
}

impl Stub {
    /// Starts a stub. `behaviour` gets the request and the number of earlier requests.
    pub(crate) async fn start(
        behaviour: impl Fn(&StubRequest, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stub = Self { addr, request: Arc::default(), frozen: watch::Sender::new(false) };
        let (served, behaviour): (_, Arc<Behaviour>) = (stub.clone(), Arc::new(behaviour));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, served.clone(), Arc::clone(&behaviour)));
            }
        });
        stub
    }

    /// A shard that follows the contract: it stores values, and creates absent ones on the fly.
    pub(crate) async fn honest(id: u32) -> Self {
        let store: Mutex<HashMap<String, Value>> = Mutex::default();
        Self::start(move |request, _| {
            let mut store = store.lock().unwrap();
            if request.method == "POST" {
                let body: Value = serde_json::from_str(&request.body).unwrap();
                store.insert(body["key"].as_str().unwrap().into(), body["value"].clone());
                return stored(request, id);
            }
            let made = json!({"data": format!("auto-generated-{}", request.key()), "created_at": 1});
            value(request, id, &store.entry(request.key()).or_insert(made).to_string())
        })
        .await
    }

    /// Answers nothing until [`Stub::thaw`].
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// All data requests received so far.
    pub(crate) fn requests(&self) -> Vec<StubRequest> {
        self.request.lock().unwrap().clone()
    }

    /// The number of data requests received so far.
    pub(crate) fn count(&self) -> usize {
        self.request.lock().unwrap().len()
    }
}

impl StubRequest {
    /// The key of the request.
    pub(crate) fn key(&self) -> String {
        match self.path.strip_prefix("/data/") {
            Some(segment) => protocol::Key::from_path_segment(segment).unwrap().to_string(),
            None => serde_json::from_str::<Value>(&self.body).unwrap()["key"].as_str().unwrap().to_owned(),
        }
    }
}

/// The contract's answer to a read, with `value` unchanged.
pub(crate) fn value(request: &StubRequest, id: u32, value: &str) -> Reply {
    let key = Value::from(request.key());
    Reply::Answer(200, format!(r#"{{"key":{key},"value":{value},"shard_id":{id},"found":true}}"#))
}

/// The contract's answer to a write.
pub(crate) fn stored(request: &StubRequest, id: u32) -> Reply {
    Reply::Answer(200, json!({"key": request.key(), "shard_id": id, "status": "stored"}).to_string())
}

async fn serve(mut stream: TcpStream, stub: Stub, behaviour: Arc<Behaviour>) {
    let (mut buffer, mut earlier) = (Vec::new(), 0);
    while let Some(request) = read(&mut stream, &mut buffer, earlier).await {
        earlier += 1;
        let mut reply = if request.path == "/live" {
            Reply::Answer(200, String::new())
        } else {
            let before = {
                let mut log = stub.request.lock().unwrap();
                log.push(request.clone());
                log.len() - 1
            };
            behaviour(&request, before)
        };
        stub.frozen.subscribe().wait_for(|frozen| !frozen).await.unwrap();
        while let Reply::Held(gate, held) = reply {
            gate.passed().await;
            reply = *held;
        }
        let (bytes, close) = match reply {
            Reply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                ([head.into_bytes(), body.into_bytes()].concat(), false)
            }
            Reply::Reset(bytes) => {
                stream.set_zero_linger().unwrap();
                (bytes, true)
            }
            Reply::Raw(bytes) => (bytes, true),
            Reply::Cut | Reply::Held(..) => (Vec::new(), true),
        };
        if stream.write_all(&bytes).await.is_err() || close {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>, earlier: usize) -> Option<StubRequest> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.trim().parse::<usize>().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = String::from_utf8(buffer[end + 4..whole].to_vec()).unwrap();
                buffer.drain(..whole);
                let mut words = head.split(' ');
                let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
                return Some(StubRequest { method, path, body, earlier });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
