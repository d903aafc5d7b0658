//! Traffic of fred on a cluster: client HOST:PORT SECONDS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fred::interfaces::TrackingInterface;
use fred::prelude::*;
use fred::types::RespVersion;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("HOST:PORT");
    let seconds = arguments.next().expect("SECONDS").parse().expect("a number");
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut config = Config::from_url(&format!("redis-cluster://{address}"))?;
    let plain = Builder::from_config(config.clone()).build()?;
    let listener = Builder::from_config(config.clone()).build_subscriber_client()?;
    config.version = RespVersion::RESP3;
    let tracked = Builder::from_config(config).build()?;
    plain.init().await?;
    listener.init().await?;
    tracked.init().await?;

    let messages = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&messages);
    listener.on_message(move |_| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    listener.subscribe("news").await?;

    // fred reports invalidations. The cache is the application's.
    let cache: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let invalidated = Arc::clone(&cache);
    tracked.on_invalidation(move |invalidation| {
        let mut cache = invalidated.lock().unwrap();
        for key in invalidation.keys {
            cache.remove(key.as_str().unwrap_or_default());
        }
        Ok(())
    });
    tracked.start_tracking(None, false, false, false, false).await?;

    let (mut rounds, mut cached) = (0_u64, 0_u64);
    while Instant::now() < end {
        let pipeline = plain.pipeline();
        for n in 0..100 {
            let () = pipeline.set(format!("rust-{n}"), n, None, None, false).await?;
            let () = pipeline.hset(format!("rust-hash-{n}"), ("field", rounds)).await?;
        }
        let replies: Vec<Value> = pipeline.all().await?;
        assert_eq!(replies.len(), 200);
        for n in 0..200 {
            let key = format!("rust-{}", n / 2);
            if cache.lock().unwrap().contains_key(&key) {
                cached += 1;
                continue;
            }
            let value: String = tracked.get(&key).await?;
            cache.lock().unwrap().insert(key, value);
        }
        let transaction = plain.multi();
        let () = transaction.incr("{rust}a").await?;
        let () = transaction.expire("{rust}a", 60, None).await?;
        let _: Vec<Value> = transaction.exec(true).await?;
        let () = plain.publish("news", rounds).await?;
        rounds += 1;
    }
    for client in [&plain, &tracked] {
        client.quit().await?;
    }
    listener.quit().await?;
    let messages = messages.load(Ordering::Relaxed);
    let features = "pipeline, MULTI, RESP2 and RESP3, client-side cache, pub/sub";
    println!(
        r#"{{"client":"fred 10.1.0","features":"{features}","rounds":{rounds},"messages":{messages},"cached":{cached}}}"#
    );
    Ok(())
}
