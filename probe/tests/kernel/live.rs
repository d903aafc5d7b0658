//! Real connections over loopback.

use crate::harness::{Client, Watched, get, post, privileges};

#[test]
fn requests_over_keep_alive() {
    if !privileges("requests_over_keep_alive") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    for n in 0..500 {
        client.ask(&get(&format!("user-{n}")));
        if n % 5 == 0 {
            client.ask(&post(br#"{"key":"user-1","value":{}}"#));
        }
        if n % 10 == 0 {
            client.ask(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        }
    }
    let counters = watched.counters(client.sent);
    let requests = counters.requests;
    assert_eq!((requests.get, requests.set, requests.control), (500, 100, 50));
    assert_eq!((requests.repeats, requests.unparsed), (0, [0; 8]));
    assert_eq!(counters.traffic.receive.payload_bytes, client.sent);
}
