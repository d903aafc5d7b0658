//! Tests the client against servers that need not be shards.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use protocol::shard_urls::ShardUrls;

use super::*;

/// Sends `answer` once per message on the returned sender, and counts the requests.
fn serve(answer: Vec<u8>) -> (ShardUrl, Arc<AtomicUsize>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = ShardUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let (count, (allow, allowed)) = (Arc::clone(&requests), channel());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            count.fetch_add(1, Ordering::SeqCst);
            if allowed.recv().is_err() {
                break;
            }
            // The reader may have closed early.
            let _ = stream.write_all(&answer);
        }
    });
    (urls.iter().next().unwrap().clone(), requests, allow)
}

#[tokio::test]
async fn an_answer_longer_than_a_mebibyte_is_refused() {
    let stats = StatsClient::default();
    let rest = r#"{"shard_id":0,"total_keys":0,"total_accesses":1,"requests_received":1,"started_at":5.5,
    "active_requests":0,"requests_served":1,"requests_rejected":0,"requests_shed":0,"top_keys":[],"hot_keys":[],
    "verdict":{"state":"balanced","requests":1,"window_seconds":10.0,"sentence":"The load is balanced."}}"#;
    for (length, fits) in [(MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        // Without a length, as a malicious server might answer.
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.extend(std::iter::repeat_n(b' ', length - rest.len()));
        answer.extend_from_slice(rest.as_bytes());
        let (url, _, allow) = serve(answer);
        allow.send(()).unwrap();
        let read = stats.read(&url).await;
        assert_eq!(read.is_ok(), fits, "{length}: {read:?}");
        if let Err(problem) = read {
            assert_eq!(problem, "/stats is larger than 1 MiB");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (other, requests, allow_other) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: {other}/stats\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (url, _, allow) = serve(answer.into_bytes());
    (0..2).for_each(|_| [&allow, &allow_other].iter().for_each(|allow| allow.send(()).unwrap()));
    let stats = StatsClient::default();
    assert_eq!(stats.read(&url).await.unwrap_err(), "/stats answers 302 Found");
    assert_eq!(stats.hot_keys(&url).await.unwrap_err(), "/admin/hot-keys answers 302 Found");
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = ShardUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // An answer before the request would be another error.
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        let mut sent = 0;
        while let Ok(length) = stream.write(&interim) {
            sent += length;
        }
        sent
    });
    let problem = StatsClient::default().read(urls.iter().next().unwrap()).await.unwrap_err();
    assert!(problem.ends_with("its response is incomplete"), "{problem}");
    // Only what the client has read and what the sockets buffer was sent.
    let sent = server.join().unwrap();
    assert!(sent < 16 << 20, "{sent}");
}

#[tokio::test]
async fn a_few_interim_answers_are_skipped_each_time_on_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = ShardUrls::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(4_000);
        while stream.read(&mut [0; 4_096]).is_ok_and(|length| length > 0) {
            let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: {MAX_BYTES}\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(&vec![b' '; MAX_BYTES]).unwrap();
        }
    });
    let stats = StatsClient::default();
    for _ in 0..5 {
        let body = stats.get(urls.iter().next().unwrap(), "/stats").await;
        assert_eq!(body.map(|answer| answer.body.len()), Ok(MAX_BYTES));
    }
}

#[tokio::test]
async fn those_who_wait_for_a_shards_metrics_share_an_answer() {
    let body = "shard_requests_total{operation=\"get\"} 3\n\
                shard_request_duration_seconds_bucket{le=\"+Inf\"} 3\n";
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let (url, requests, allow) = serve(answer.into_bytes());
    let stats = StatsClient::default();
    let all = futures_util::future::join_all((0..50).map(|_| stats.metrics(&url)));
    let (all, ()) = tokio::join!(all, async { (0..100).for_each(|_| allow.send(()).unwrap()) });
    assert!(all.iter().all(|reading| reading.as_ref().is_ok_and(|metrics| metrics.requests == 3)), "{all:?}");
    // One request for the first call, and one for all calls that arrived meanwhile.
    assert!(requests.load(Ordering::SeqCst) <= 2, "{requests:?}");
    // Later calls do not get an old answer.
    let before = requests.load(Ordering::SeqCst);
    stats.metrics(&url).await.unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), before + 1);
}
