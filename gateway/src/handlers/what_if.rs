//! Handler of `GET /admin/what-if`: the predicted effect of each mitigation.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hotspot::judge::MIN_REQUESTS;
use hotspot::predict::max_over_mean;
use hotspot::what_if::KeyRate;
use protocol::Key;
use protocol::body::{OfferedLoad, WhatIf};
use std::sync::Arc;

use crate::error::Error;
use crate::mitigation::what_if::OfferedTraffic;
use crate::state::{Core, Shared};

pub(crate) async fn show(State(core): State<Arc<Core>>) -> Response {
    // Ranking keys and trying placements takes milliseconds. A blocking thread keeps this core's requests from waiting.
    let shared = Arc::clone(&core.shared);
    match tokio::task::spawn_blocking(move || what_if(&shared)).await {
        Ok(what_if) => Json(what_if).into_response(),
        Err(_) => core.refuse(Error::Internal { what: "the load cannot be ranked" }),
    }
}

fn what_if(shared: &Shared) -> WhatIf {
    let load = OfferedTraffic::of(shared.stats.keys());
    let requests: u64 = load.requests.iter().sum();
    let part = |n: u64| n as f64 / requests.max(1) as f64;
    let rate = |key: &KeyRate<Key>| key.reads + key.writes;
    let per_second = if load.seconds > 0.0 { requests as f64 / load.seconds } else { 0.0 };
    let top = load.traffic.keys.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    let shares: Vec<f64> = load.requests.iter().map(|n| part(*n)).collect();
    let offered = OfferedLoad {
        requests,
        reads: load.reads,
        writes: requests - load.reads,
        window_seconds: load.seconds,
        requests_per_second: per_second,
        max_over_mean: (requests > 0).then(|| max_over_mean(&shares)),
        shares,
        top_key: top.map(|key| key.key.clone()),
        top_key_share: top.map(|key| rate(key) / per_second),
    };
    if requests < MIN_REQUESTS {
        let note = format!(
            "not enough traffic: {requests} requests in {:.0} s; at least {MIN_REQUESTS} are needed",
            load.seconds
        );
        return WhatIf { offered, options: Vec::new(), note: Some(note) };
    }
    let options = load.options(&shared.mitigations.settings(), shared.placement.scheme());
    WhatIf { offered, options, note: None }
}
