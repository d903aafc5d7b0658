//! Tests that the probe counts requests that bypass the gateway.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::poll;
use serde_json::Value;
use std::time::Duration;

/// Waits until the comparison reports the expected number of bypassed requests for every shard, and returns it.
async fn bypassed(lab: &Lab, expected: [u64; SHARDS]) -> Value {
    let named = poll::until(Duration::from_secs(10), || async {
        let compare = lab.agreed().await;
        let counts: Vec<_> =
            compare["shards"].as_array().unwrap().iter().map(|s| s["bypassed"].as_u64()).collect();
        if counts == expected.map(Some) { Ok(compare) } else { Err(compare.to_string()) }
    });
    named.await.unwrap_or_else(|last| panic!("{expected:?} is not what is named: {last}"))
}

async fn directly(lab: &Lab, shard: usize, requests: usize) {
    for n in 0..requests {
        let answer = lab.client.get(lab.at_shard(shard, &format!("/data/direct-{n}"))).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_the_gateway_are_named_to_the_request() {
    if !kernel::available("requests_without_the_gateway_are_named_to_the_request") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    bypassed(&lab, [0; SHARDS]).await;
    let load = lab.load_started(&["run", "zipfian", "--duration", "4", "--rate-factor", "4"]);
    directly(&lab, 2, 37).await;
    directly(&lab, 0, 5).await;
    load.ended().await;
    let compare = bypassed(&lab, [5, 0, 37, 0]).await;
    let shards = compare["shards"].as_array().unwrap();
    let sent = lab.gateway_stats().await.shard_requests;
    for (shard, sent) in shards.iter().zip(sent) {
        // Counted since the baseline. No request was sent before it.
        assert_eq!(shard["gateway"], sent.requests, "{shard}");
        assert_eq!(shard["agrees"], true, "kernel and shard agree all the same: {shard}");
    }
    assert_eq!(shards[2]["cause_kind"], "bypassed");
    assert_eq!(shards[2]["cause"], "37 requests reached the shard without the gateway");
    assert_eq!(shards[1]["cause_kind"], Value::Null);

    // A reset of the gateway's statistics must neither add nor remove bypassed requests.
    let reset = lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap();
    assert_eq!(reset.status(), 200);
    lab.load(&["run", "uniform", "--duration", "2"]).await;
    bypassed(&lab, [5, 0, 37, 0]).await;
}
