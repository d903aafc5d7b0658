//! Ports that speak another protocol, or none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use store::client::Client;
use store::error::StoreError;

/// A server that reads once, and sends `answer`.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 1 << 10];
            let _ = stream.read(&mut buffer).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn other_protocols_are_named() {
    for (answer, name) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "speaks HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "speaks TLS"),
        (b"ERROR\r\n", "speaks memcached"),
        (b"220 mail\r\n", "begins with \"220 mail\""),
    ] {
        let error = Client::connect(answering(answer), None).await.unwrap_err();
        assert!(matches!(error, StoreError::OtherProtocol { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_port_that_closes_or_is_absent_is_named_with_a_remedy() {
    let closes = Client::connect(answering(b""), None).await.unwrap_err();
    assert!(
        matches!(closes, StoreError::ClosedUnanswered { .. }) && closes.to_string().contains("TLS"),
        "{closes}"
    );
    let cut = Client::connect(answering(b"%7\r\n$6\r\nser"), None).await.unwrap_err();
    assert!(matches!(cut, StoreError::Closed { .. }), "{cut}");
    let broken = Client::connect(answering(b"*1\r\n?\r\n"), None).await.unwrap_err();
    assert!(matches!(broken, StoreError::Undecodable { .. }), "{broken}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = Client::connect(nobody, None).await.unwrap_err();
    assert!(absent.to_string().contains("connection refused; check host and port"), "{absent}");
}

#[tokio::test]
async fn a_port_that_is_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Client::connect(listener.local_addr().unwrap(), None).await.unwrap_err();
    assert!(error.to_string().contains("did not reply to HELLO within 2 s"), "{error}");
}
