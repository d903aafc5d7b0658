//! The equation of the request counts holds.
//!
//! received = served + rejected + shed + in flight, with abandoned requests and resets.

use std::io::Write;

use crate::lab::{Lab, answer, connect, head, reset};

#[test]
fn an_abandoned_request_is_booked_as_rejected_wherever_it_was() {
    let lab = Lab::start(&["--base-latency-ms=60000", "--shard-concurrency=1"]);
    // One request is in service, one is waiting, and one is in the middle of its body.
    let mut in_service = lab.connect();
    in_service.write_all(&head("GET", "/data/a")).unwrap();
    lab.stats_when(|stats| stats.active_requests == 1);
    let mut waiting = lab.connect();
    waiting.write_all(&head("GET", "/data/b")).unwrap();
    lab.stats_when(|stats| stats.active_requests == 2);
    let mut sending = lab.connect();
    sending.write_all(b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    let stats = lab.stats_when(|stats| stats.requests_received == 3);
    assert_eq!((stats.total_accesses, stats.requests_rejected), (3, 0));
    for (gone, stream) in (1..).zip([sending, waiting, in_service]) {
        reset(stream);
        let stats = lab.stats_when(|stats| stats.requests_rejected == gone);
        assert_eq!((stats.requests_received, stats.total_accesses), (3, 3 - gone));
    }
    assert_eq!(lab.stats().active_requests, 0);
}

#[test]
fn a_request_in_flight_over_a_reset_belongs_to_the_count_before() {
    let lab = Lab::start(&["--base-latency-ms=400", "--shard-concurrency=0"]);
    let mut old = lab.connect();
    old.write_all(&head("GET", "/data/a")).unwrap();
    lab.stats_when(|stats| stats.total_accesses == 1);
    lab.post("/admin/reset", "");
    assert_eq!(lab.stats().total_accesses, 0);
    assert_eq!(lab.get("/data/b").status, 200);
    assert_eq!(answer(old).status, 200);
    let stats = lab.stats();
    assert_eq!((stats.total_accesses, stats.requests_served, stats.requests_received), (1, 2, 2));
}

#[test]
fn the_books_balance_through_resets_under_load() {
    let lab = Lab::start(&["--shard-max-keys=50"]);
    let addr = lab.addr;
    let rounds = 150;
    let outcomes: Vec<[u64; 3]> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|client| {
                scope.spawn(move || {
                    let mut seen = [0; 3];
                    for n in 0..rounds {
                        let path = match n % 3 {
                            0 => format!("/data/key-{}", (n * 7 + client) % 200),
                            1 => "/data/%FF".into(),
                            _ => format!("/data/key-{}", n % 5),
                        };
                        let mut stream = connect(addr);
                        stream.write_all(&head("GET", &path)).unwrap();
                        match answer(stream).status {
                            200 => seen[0] += 1,
                            400 | 404 => seen[1] += 1,
                            status => panic!("{status}"),
                        }
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..30 {
            assert_eq!(lab.post("/admin/reset", "").status, 200);
            let stats = lab.stats();
            let ended = stats.requests_served + stats.requests_rejected + stats.requests_shed;
            assert!(ended <= stats.requests_received, "{stats:?}");
            assert!(stats.total_accesses <= stats.requests_received && stats.total_keys <= 50, "{stats:?}");
        }
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let sum = |i: usize| outcomes.iter().map(|seen| seen[i]).sum::<u64>();
    let stats = lab.stats();
    assert_eq!((stats.requests_served, stats.requests_rejected, stats.requests_shed), (sum(0), sum(1), 0));
    assert_eq!(stats.requests_received, 3 * rounds);
    lab.post("/admin/reset", "");
    lab.get("/data/x");
    assert_eq!(lab.stats().total_accesses, 1);
}
