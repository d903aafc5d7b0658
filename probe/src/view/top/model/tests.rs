//! Tests the figures between two readings.

use super::*;
use protocol::probe_api::{ByDirection, ByOperation, ConnectionCounts, OfShard, PreexistingConnections};

fn key(key: &str, requests: u64) -> KernelKey {
    KernelKey { key: key.to_owned(), requests, error: 0 }
}

fn reading(taken_at: f64, requests: [u64; 2]) -> Reading {
    let shards = (0..).zip(requests).map(|(shard_id, requests)| ShardCounts {
        shard_id,
        address: String::new(),
        requests: ByOperation { get: requests - 10, set: 10 },
        payload_bytes: ByDirection { receive: requests * 100, transmit: requests * 200 },
        connections: Some(ConnectionCounts {
            open: 3,
            retransmitted_segments: requests / 100,
            preexisting: Some(PreexistingConnections { open: 2, ..PreexistingConnections::default() }),
            ..ConnectionCounts::default()
        }),
        top_keys: Some(vec![
            key("a", requests / 2),
            key("b", requests / 4),
            key(&format!("{taken_at}"), 1_000),
        ]),
        ..ShardCounts::default()
    });
    let timed = (0..).zip(requests).map(|(shard_id, requests)| ShardLatency {
        shard_id,
        kernel: vec![(Some(1.5), requests - 1), (Some(6.5), 1)],
        app: Some(AppLatency {
            taken_at: taken_at + 0.5,
            requests: requests + 70,
            latency: vec![(Some(1.0), requests)],
        }),
        problem: None,
    });
    let agrees = || Comparison { agrees: Some(true), ..Comparison::default() };
    Reading {
        shards: Shards { taken_at, shards: shards.collect() },
        latencies: Latencies { taken_at, shards: timed.collect() },
        compare: Compare { taken_at, shards: OfShard::numbered([agrees(), agrees()]), ..Compare::default() },
        verdicts: Verdicts::default(),
    }
}

#[test]
fn rates_are_of_the_time_that_passed() {
    let mut model = Model::new(String::new());
    model.observe(reading(1_000.0, [1_000, 2_000]));
    assert_eq!((model.span, model.rows[0].kernel_rate, model.rows[0].app_ms.p50), (None, None, None));
    assert_eq!((model.rows[0].open, model.rows[0].keys.as_deref()), (Some(5), Some(&[][..])));
    model.observe(reading(1_002.0, [1_800, 2_400]));
    assert_eq!(model.span, Some(2.0));
    let expected = Row {
        shard_id: 0,
        kernel_rate: Some(400.0),
        app_rate: Some(400.0),
        bytes_rate: Some(120_000.0),
        kernel_ms: Quantiles { p50: Some(1.5), p99: Some(1.5) },
        app_ms: Quantiles { p50: Some(1.0), p99: Some(1.0) },
        open: Some(5),
        resent_rate: Some(4.0),
        verdict: ShardVerdict::Agrees,
        node: None,
        cause: None,
        keys: Some(vec![("a".to_owned(), 200.0), ("b".to_owned(), 100.0)]),
    };
    assert_eq!(model.rows[0], expected);
    assert_eq!(model.rows[1].shard_id, 1);
}

#[test]
fn the_most_loaded_comes_first_and_equal_ones_by_number() {
    let mut model = Model::new(String::new());
    let order = |model: &Model| model.rows.iter().map(|row| row.shard_id).collect::<Vec<_>>();
    model.observe(reading(1.0, [100, 100]));
    assert_eq!(order(&model), [0, 1]);
    model.observe(reading(2.0, [200, 900]));
    assert_eq!(order(&model), [1, 0]);
}

#[test]
fn a_probe_or_shard_that_began_anew_has_no_rate_for_once() {
    let mut model = Model::new(String::new());
    model.observe(reading(1.0, [1_000, 1_000]));
    let mut restarted = reading(2.0, [500, 1_500]);
    if let Some(app) = &mut restarted.latencies.shards[1].app {
        (app.requests, app.latency) = (3, vec![(Some(1.0), 3)]);
    }
    model.observe(restarted);
    let [first, second] = &model.rows[..] else { unreachable!("two shards") };
    assert_eq!((first.shard_id, first.kernel_rate, first.app_rate), (1, Some(500.0), None));
    assert_eq!((first.app_ms, first.kernel_ms.p50), (Quantiles::default(), Some(1.5)));
    assert_eq!((second.shard_id, second.kernel_rate, second.kernel_ms), (0, None, Quantiles::default()));
}

#[test]
fn what_is_lost_leaves_the_last_reading_on_show() {
    let mut model = Model::new(String::new());
    model.observe(reading(1.0, [100, 100]));
    model.observe(reading(2.0, [200, 200]));
    let rows = model.rows.clone();
    model.lost("no answer".to_owned());
    assert_eq!((model.problem.as_deref(), &model.rows), (Some("no answer"), &rows));
    model.observe(reading(3.0, [300, 300]));
    assert_eq!(model.problem, None);
}

#[test]
fn a_shard_that_cannot_be_read_lacks_only_its_own_figures() {
    let mut model = Model::new(String::new());
    for taken_at in [1.0, 2.0] {
        let mut one = reading(taken_at, [100, 100]);
        one.latencies.shards[0].app = None;
        one.compare.shards[0].of_shard = Comparison::default();
        one.shards.shards[0].connections = None;
        one.shards.shards[0].top_keys = None;
        model.observe(one);
    }
    let row = &model.rows[0];
    assert_eq!((row.kernel_rate, row.app_rate, row.open, row.resent_rate), (Some(0.0), None, None, None));
    assert_eq!((row.verdict, &row.keys), (ShardVerdict::None, &None));
}

#[test]
fn a_shard_that_is_not_watched_has_no_figures_of_the_kernel() {
    let mut model = Model::new(String::new());
    model.observe(reading(1.0, [100, 100]));
    let mut later = reading(2.0, [100, 200]);
    later.compare.shards[0].of_shard =
        Comparison { cause_kind: Some(CauseKind::Unwatched), ..Comparison::default() };
    model.observe(later);
    let row = model.rows.iter().find(|row| row.shard_id == 0).unwrap();
    assert_eq!((row.kernel_rate, row.bytes_rate, row.kernel_ms.p50, row.open), (None, None, None, None));
    assert_eq!(model.rows[0].kernel_rate, Some(100.0));
}
