//! Compares the counts with hyper's on the same bytes.
//!
//! The hyper server is set up like the shards' servers.
//!
//! The parser must count the requests that hyper passes to the service.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use probe_common::http::head::MAX_HEAD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cases::CASES;
use crate::connection::counts;

/// Returns the number of requests of each kind that hyper passes to the service.
fn handed_on(stream: &[u8]) -> (u32, u32, u32) {
    let counts = Arc::new(Mutex::new((0, 0, 0)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let counting = Arc::clone(&counts);
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(stream).await.unwrap();
        client.shutdown().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let counts = Arc::clone(&counting);
            async move {
                let path = request.uri().path();
                let key =
                    path.strip_prefix("/data/").is_some_and(|key| !key.is_empty() && !key.contains('/'));
                {
                    let mut counts = counts.lock().unwrap();
                    match *request.method() {
                        Method::GET if key => counts.0 += 1,
                        Method::POST if path == "/data" => counts.1 += 1,
                        _ => counts.2 += 1,
                    }
                }
                // In these cases the body is sometimes incomplete.
                let _ = request.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        // hyper reports a refused request as an error.
        let _ = hyper::server::conn::http1::Builder::new()
            // The stream ends here, and the responses are still needed.
            .half_close(true)
            .max_header_size(MAX_HEAD as usize)
            .max_buf_size(2 * MAX_HEAD as usize)
            .serve_connection(TokioIo::new(server), service)
            .await;
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.unwrap();
    });
    *counts.lock().unwrap()
}

#[test]
fn hyper_hands_on_what_the_cases_say() {
    for (stream, expected, what) in CASES {
        assert_eq!(handed_on(stream), *expected, "{what}: {}", stream.escape_ascii());
    }
}

#[test]
fn hyper_takes_every_byte_in_a_target_as_the_parser_does() {
    for byte in 0..=u8::MAX {
        for (before, after) in [("/data/k", ""), ("/x", ""), ("/data/k?q", ""), ("/data/k#", "")] {
            let stream =
                [b"GET ", before.as_bytes(), &[byte], after.as_bytes(), b" HTTP/1.1\r\nhost: x\r\n\r\n"]
                    .concat();
            assert_eq!(handed_on(&stream), counts(&stream), "{}", stream.escape_ascii());
        }
    }
}

#[test]
fn hyper_takes_heads_as_long_as_the_parser_does() {
    for length in [MAX_HEAD, MAX_HEAD + 1] {
        let frame = "GET /data/a HTTP/1.1\r\nx: \r\n\r\n".len();
        let stream = format!("GET /data/a HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(length as usize - frame));
        assert_eq!(handed_on(stream.as_bytes()), counts(stream.as_bytes()), "{length}");
    }
}
