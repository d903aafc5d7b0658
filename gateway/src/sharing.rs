//! Keeps the settings of all gateways the same.
//!
//! A change is sent to all peers at once, before its call is answered. Every second each gateway also exchanges its
//! settings with some peers, so a gateway that was away or has just started has them soon. An exchange carries the
//! settings of both. What a gateway takes over is not sent on, so a change makes no more calls than there are peers.

use futures_util::future::join_all;
use protocol::body::PeerState;
use service::clock::unix_milliseconds;
use service::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::mitigation::shared_settings::parse_state;
use crate::state::Shared;

/// Time between two turns of exchanges.
const PERIOD: Duration = Duration::from_secs(1);

/// Number of peers asked in a turn. Up to this number each peer is asked in every turn.
const ASKED: usize = 8;

/// The topic of this module's problems in `/ready`.
pub(crate) const TOPIC: &str = "gateways";

/// How long a start waits for the answers of other gateways, lookup included.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(2);

/// Exchanges settings with all peers. Returns when all have answered or are late, after at most about a second.
pub(crate) async fn with_all(shared: &Shared) {
    exchange(shared, usize::MAX).await;
}

/// Exchanges settings every second, until the process stops. At the start all peers are asked.
pub(crate) async fn run(shared: Arc<Shared>, stopping: CancellationToken) {
    let first = async {
        shared.peers.look_up().await;
        with_all(&shared).await;
    };
    // Without an answer in time the gateway starts with its own settings.
    let _ = timeout(START_TIMEOUT, stopping.run_until_cancelled(first)).await;
    shared.health.set_problem(TOPIC, None);
    shared.peers.set_asked();
    let mut turns = interval(PERIOD);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(turns.tick()).await.is_some() {
        let turn = async {
            shared.peers.look_up().await;
            exchange(&shared, ASKED).await;
        };
        if stopping.run_until_cancelled(turn).await.is_none() {
            return;
        }
    }
}

/// Takes over what is newer in the settings of a peer, `body`. Returns those of this gateway.
///
/// # Errors
/// 400 with the setting, its value and the allowed values.
pub(crate) fn accept(shared: &Shared, body: &[u8]) -> Result<PeerState, Problem> {
    let theirs = parse_state(body, shared.placement.count().get().into(), unix_milliseconds())?;
    merge(shared, &theirs)?;
    Ok(ours(shared))
}

async fn exchange(shared: &Shared, limit: usize) {
    let urls = shared.peers.next(limit);
    let Ok(body) = serde_json::to_vec(&ours(shared)) else { return };
    let calls = urls.iter().map(|url| async {
        let answer = shared.peers.call(url, &body).await;
        shared.peers.ended(url, answer.and_then(|answer| answered(shared, &answer)));
    });
    join_all(calls).await;
    shared.peers.show(&shared.mitigations.shared());
}

fn answered(shared: &Shared, answer: &[u8]) -> Result<PeerState, String> {
    let unusable = |problem: Problem| format!("its answer cannot be used: {}", problem.body.detail);
    let theirs = parse_state(answer, shared.placement.count().get().into(), unix_milliseconds());
    let theirs = theirs.map_err(unusable)?;
    merge(shared, &theirs).map_err(unusable)?;
    Ok(theirs)
}

fn merge(shared: &Shared, theirs: &PeerState) -> Result<(), Problem> {
    // The answer of this gateway to itself has no news.
    if shared.mitigations.merge(&theirs.settings)? {
        tracing::info!(peer = theirs.gateway, "statistics and cache are reset for another gateway");
        shared.reset();
    }
    Ok(())
}

fn ours(shared: &Shared) -> PeerState {
    PeerState { gateway: shared.peers.gateway(), settings: shared.mitigations.shared().all().clone() }
}
