//! Bodies of `/admin/hot-keys` at a probe: merged counts keep their bounds, and there is a verdict or a reason.
//!
//! Input: the answer of one gateway on each line. They are read once, then once more.

#![no_main]

use hotspot::detector::Detector;
use libfuzzer_sys::fuzz_target;
use probe::fuzzing::{GatewayKeys, gateways, verdict};
use protocol::ShardId;
use protocol::shard_urls::ShardUrls;

const SHARDS: usize = 2;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read: Vec<GatewayKeys> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let urls = ShardUrls::parse("http://a:1").unwrap();
    let url = urls.get(ShardId(0)).unwrap();
    let body = gateways(read.iter().map(|keys| (url, keys.clone())));
    assert!(body.top_keys.len() <= 20 && body.gateways.len() == read.len());
    assert!(body.top_keys.iter().all(|key| key.count >= key.error), "{:?}", body.top_keys);
    let mut detector = Detector::default();
    for _ in 0..4 {
        match verdict(&mut detector, SHARDS, &read) {
            Ok(verdict) => {
                assert!(verdict.shard_id.is_none_or(|shard| shard < SHARDS), "{verdict:?}");
                assert!(!verdict.sentence.is_empty());
            }
            Err(why) => assert!(!why.contains('\n')),
        }
    }
});
