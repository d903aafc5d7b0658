//! Tests the kernel's counts by key.

use std::collections::BTreeMap;

use probe::signal::keys::{CAPACITY, name_of};
use protocol::Key;

use crate::harness::{Client, Watched, get, post, privileges};

#[test]
fn each_read_counts_for_its_key_however_it_is_sent() {
    if !privileges("each_read_counts_for_its_key_however_it_is_sent") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    let sixty_four = "k".repeat(64);
    let long = ["a".repeat(100), "b".repeat(412)].concat();
    for (key, times) in
        [("x", 7), ("user_1", 5), ("caf%C3%A9", 2), ("caf\u{e9}", 1), (&sixty_four, 4), (&long, 3)]
    {
        for _ in 0..times {
            client.exchange(&get(key));
        }
    }
    client.exchange(&get("x?a=b"));
    client.exchange(&get("x#y"));
    client.exchange(&post(b"GET /data/body HTTP/1.1\r\n\r\n"));
    client.exchange(&get("not/a/key"));
    // Split at each byte, then eight in one segment.
    let split = get("split");
    for at in 1..split.len() {
        let (one, other) = split.split_at(at);
        client.send(one);
        watched.server.wait_for(client.sent);
        client.exchange(other);
    }
    let pipelined: Vec<u8> = (0..8).flat_map(|number| get(&format!("p{}", number % 2))).collect();
    client.send(&pipelined);

    let table = watched.keys(client.sent);
    let keys = table.top(usize::MAX);
    let counted: BTreeMap<&str, u64> = keys.iter().map(|key| (key.key.as_str(), key.requests)).collect();
    let long_name = keys.iter().find(|key| key.key.contains('…')).unwrap().key.clone();
    assert!(
        long_name.starts_with('#') && long_name.ends_with(&format!("…{}", "b".repeat(64))),
        "{long_name}"
    );
    for (key, name) in [(long.as_str(), long_name.as_str()), ("café", "café"), (&sixty_four, &sixty_four)] {
        assert_eq!(name_of(&Key::new(key).unwrap()), name, "a key's name can be told without the kernel");
    }
    let expected = BTreeMap::from([
        ("x", 9),
        ("user_1", 5),
        ("café", 3),
        (sixty_four.as_str(), 4),
        (long_name.as_str(), 3),
        ("split", split.len() as u64 - 1),
        ("p0", 4),
        ("p1", 4),
    ]);
    assert_eq!(counted, expected);
    assert!(keys.iter().all(|key| key.error == 0));
    // Two spellings of one key are two entries.
    assert_eq!((table.used, table.evictions), (expected.len() + 1, 0));
    assert_eq!(expected.values().sum::<u64>(), watched.counters(client.sent).requests.get);
}

#[test]
fn a_full_table_bounds_what_it_does_not_know() {
    if !privileges("a_full_table_bounds_what_it_does_not_know") {
        return;
    }
    let mut watched = Watched::v4();
    let mut client = Client::connect("127.0.0.1", watched.server.port);
    // Five times as many keys as the table holds, and one key that repeats.
    let sent = 5 * CAPACITY;
    for number in 0..sent / 8 {
        let requests: Vec<u8> = (0..8)
            .flat_map(|eighth| get(&format!("key-{}", number * 8 + eighth)))
            .chain(get("hot"))
            .collect();
        client.send(&requests);
        // One segment at a time, because segments can be reordered when this thread changes CPUs.
        watched.server.wait_for(client.sent);
    }
    let table = watched.keys(client.sent);
    assert_eq!(table.used, CAPACITY);
    assert_eq!(table.evictions as usize, sent + 1 - CAPACITY);
    let keys = table.top(usize::MAX);
    let first = &keys[0];
    assert_eq!((first.key.as_str(), first.requests, first.error), ("hot", sent as u64 / 8, 0));
    // Every other key was read once.
    assert!(keys[1..].iter().all(|key| key.requests <= 1 && 1 <= key.requests + key.error));
}
