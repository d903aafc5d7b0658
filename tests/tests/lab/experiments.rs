//! What every experiment rests on: a window of a stream, read by application and kernel to the request; and refusals.

use lab_tests::experiment::rig::{Growth, Rig, nothing};
use lab_tests::experiment::window::Stream;
use lab_tests::kernel;
use serde_json::json;

const STREAM: Stream = Stream { rate: 200.0, keys: 50, exponent: 0.99, warm: 1.0, measured: 2.0 };

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_read_by_both_witnesses_and_refused_for_a_reason() {
    if !kernel::available("a_window_is_read_by_both_witnesses_and_refused_for_a_reason") {
        return;
    }
    let rig = Rig::start(&[], &[], false).await;
    rig.mitigate(&nothing()).await.unwrap();
    let before = rig.read_at_rest().await.unwrap();
    let window = loop {
        match STREAM.send(&rig, 1, async || Ok(())).await {
            Ok(window) => break window,
            // The generator of a busy machine refuses, and says so.
            Err(why) => assert!(why.contains("no report: "), "{why}"),
        }
    };
    let (all, whole) = (window.all(), rig.read_at_rest().await.unwrap().since(&before));
    assert_eq!(whole.app, whole.kernel);
    assert_eq!(whole.app.iter().sum::<u64>(), whole.offered);
    let [one, two] = window.halves();
    assert_eq!(one.offered + two.offered, all.offered);
    assert!(all.offered > 0 && all.offered < window.report["sent"].as_u64().unwrap(), "{all:?}");
    assert!(Growth::is_steady(&[one.clone(), one]).is_ok());
    assert_eq!(all.hit_ratio()[0], 0.0);

    let why = STREAM.send(&rig, 1, async || Err("not settled".to_owned())).await.unwrap_err();
    assert!(why == "not settled" || why.contains("no report: "), "{why}");
    let refused = rig.load(&["stream", "--rate", "1", "--duration", "1"]).await.unwrap_err();
    assert!(refused.contains("answers are too few"), "{refused}");
    let refused = rig.mitigate(&json!({"cache": "some"})).await.unwrap_err();
    assert!(refused.starts_with("/admin/mitigation is 400"), "{refused}");
}
