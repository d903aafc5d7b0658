//! A gateway in front of stub shards, and a client.

use clap::Parser;
use gateway::config::{Args, Config};
use serde_json::Value;
use service::server::Started;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::stub::Stub;

/// Timeout of every wait in a test.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A running gateway with two workers, unless its options set another number.
pub(crate) struct Bench {
    pub(crate) addr: SocketAddr,
    pub(crate) client: reqwest::Client,
    // A lock, because several tasks share the bench.
    started: Mutex<Option<Started>>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// Asserts that this is the contract's error with `status` and `kind`.
    pub(crate) fn assert_error(&self, status: u16, kind: &str) {
        let body = self.json();
        assert_eq!((self.status, body["kind"].as_str()), (status, Some(kind)), "{self:?}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{self:?}");
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The settings of a gateway in front of these addresses.
pub(crate) fn config(shards: &[SocketAddr], options: &[&str]) -> Config {
    let urls: Vec<String> = shards.iter().map(|addr| format!("http://{addr}")).collect();
    let urls = urls.join(",");
    let fixed = ["gateway", "--bind-address=127.0.0.1", "--shard-urls", &urls];
    let given = |name: &str| options.iter().any(|option| option.starts_with(name));
    let usual = ["--workers=2", "--port=0"];
    let usual: Vec<&str> =
        usual.into_iter().filter(|option| !given(option.split('=').next().unwrap())).collect();
    Config::try_from(Args::try_parse_from([&fixed, &usual[..], options].concat()).unwrap()).unwrap()
}

impl Bench {
    /// A gateway in front of one stub.
    pub(crate) fn over(stub: &Stub, options: &[&str]) -> Self {
        Self::at(&[stub.addr], options)
    }

    /// A gateway in front of these addresses.
    pub(crate) fn at(shards: &[SocketAddr], options: &[&str]) -> Self {
        let started = config(shards, options).build().unwrap().start().unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SOON)
            .build()
            .unwrap();
        Self { addr: started.local_addr(), client, started: Mutex::new(Some(started)) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.answer(self.client.post(self.url(path)).body(body)).await
    }

    /// Reads a key. The read must succeed.
    pub(crate) async fn read(&self, key: &str) -> Value {
        let answer = self.get(&format!("/data/{key}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Writes a value. The write must succeed.
    pub(crate) async fn write(&self, key: &str, value: Value) {
        let body = serde_json::json!({"key": key, "value": value}).to_string();
        let answer = self.post("/data", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub(crate) async fn cache(&self, body: &str) -> Value {
        let answer = self.post("/admin/cache", body.to_owned()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) async fn stats(&self) -> Value {
        self.get("/stats").await.json()
    }

    /// One field of `/stats`.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        self.stats().await[name].as_u64().unwrap()
    }

    /// The samples of `/metrics`, by name with labels.
    pub(crate) async fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        let text = self.get("/metrics").await.text;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// Sends these bytes unchanged on a new connection and reads until the gateway closes it.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        match tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap() {
            // A server may reset a connection if it did not read the whole request. Bytes received before the reset
            // count.
            Err(err) if err.kind() != std::io::ErrorKind::ConnectionReset => panic!("{err}"),
            _ => {}
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(reqwest::header::HeaderName, reqwest::header::HeaderValue)>>();
        Answer { status, headers: headers.into_iter().collect(), text: body.to_owned() }
    }

    /// Sends a request with this method and this exact target on a new connection.
    pub(crate) async fn exchange(&self, method: &str, target: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    /// Stops the gateway and returns the names of tasks that did not end within `grace`.
    pub(crate) async fn stop(self, grace: Duration) -> Vec<String> {
        let started = self.started.lock().unwrap().take().unwrap();
        tokio::task::spawn_blocking(move || started.stop(grace)).await.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(started) = self.started.get_mut().unwrap().take() {
            // With a zero grace period this does not block. The threads end by themselves.
            drop(started.stop(Duration::ZERO));
        }
    }
}

/// Waits until `done` returns true.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Runs all futures concurrently and returns their results in order.
pub(crate) async fn all<T: Send + 'static>(
    futures: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
