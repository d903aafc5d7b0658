//! The other gateways of the lab: their addresses, the calls to them, and where this gateway's settings hold.
//!
//! Nothing here waits for a lookup or a call unless an admin call or the background task does.

mod client;

use axum::http::Uri;
use parking_lot::{Condvar, Mutex};
use protocol::body::{FailedGateway, Gateways, PeerState};
use service::args::SettingError;
use service::members::{Kind, MAX_GATEWAYS, Members};
use service::names::Names;
use service::overload::Overload;
use std::time::Duration;

use self::client::PeerClient;
use crate::metrics::PeerMetrics;
use crate::mitigation::shared_settings::{SharedSettings, Stamped};

/// The gateways that share their settings, as a setting.
const PEERS: Kind = Kind { setting: "PEER_URL", plural: "gateways", max: MAX_GATEWAYS };

/// Parses `PEER_URL`. Empty means no peers, because a compose file passes an unset `${PEER_URL:-}` as empty text.
pub(crate) fn parse(list: &str) -> Result<Members, SettingError> {
    Members::parse(PEERS, (!list.is_empty()).then_some(list))
}

/// The gateways that share their settings with this one.
pub(crate) struct Peers {
    members: Members,
    names: Names,
    client: PeerClient,
    metrics: PeerMetrics,
    /// This gateway among them. Each gateway draws a number at its start, by which it finds itself in its own list.
    gateway: u64,
    known: Mutex<Known>,
    /// Whether the peers were asked after the start.
    asked: Mutex<bool>,
    asking: Condvar,
}

#[derive(Default)]
struct Known {
    peers: Vec<Peer>,
    /// Why the last lookup failed.
    lookup: Option<String>,
    /// Where the next turn begins.
    turn: usize,
}

struct Peer {
    url: String,
    /// The gateway that answered last.
    gateway: Option<u64>,
    /// Its settings in its last answer.
    settings: Stamped,
    /// Why the last call failed.
    problem: Option<String>,
}

impl Peers {
    pub(crate) fn new(members: Members, names: Names, overload: Overload, metrics: PeerMetrics) -> Self {
        // JSON readers represent a number of 53 bits exactly.
        let gateway = fastrand::u64(..1 << 53);
        let client = PeerClient::new(names.clone(), overload);
        let asked = Mutex::new(members.is_empty());
        Self {
            members,
            names,
            client,
            metrics,
            gateway,
            known: Mutex::default(),
            asked,
            asking: Condvar::new(),
        }
    }

    /// The number of this gateway.
    pub(crate) fn gateway(&self) -> u64 {
        self.gateway
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Looks up the addresses of all peers. Without an answer the last ones stay.
    pub(crate) async fn look_up(&self) {
        let found = self.members.resolve(&self.names).await;
        let mut known = self.known.lock();
        match found {
            Ok(urls) => {
                let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
                let added = |url: &&String| !known.peers.iter().any(|peer| peer.url == **url);
                let added: Vec<Peer> = urls.iter().filter(added).map(|url| Peer::at(url.clone())).collect();
                known.peers.retain(|peer| urls.contains(&peer.url));
                known.peers.extend(added);
                known.lookup = None;
            }
            Err(why) => {
                if known.lookup.is_none() {
                    tracing::warn!(peers = %self.members, error = %why, "the other gateways cannot be looked up");
                }
                known.lookup = Some(why);
            }
        }
    }

    /// The URLs of at most `limit` peers, in turn.
    pub(crate) fn next(&self, limit: usize) -> Vec<String> {
        let mut known = self.known.lock();
        let count = known.peers.len();
        let turn = known.turn.min(count);
        let (before, after) = known.peers.split_at(turn);
        let urls: Vec<_> = after.iter().chain(before).take(limit).map(|peer| peer.url.clone()).collect();
        known.turn = (turn + urls.len()) % count.max(1);
        urls
    }

    /// Sends `body`, the settings of this gateway, to a peer. Returns its answer.
    ///
    /// # Errors
    /// A short reason.
    pub(crate) async fn call(&self, url: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let peer = Uri::try_from(url).map_err(|err| err.to_string())?;
        self.client.post(peer, "/admin/peers", body).await
    }

    /// Records the outcome of a call.
    pub(crate) fn ended(&self, url: &str, outcome: Result<PeerState, String>) {
        let counter = if outcome.is_ok() { &self.metrics.answered } else { &self.metrics.failed };
        counter.inc();
        let mut known = self.known.lock();
        let Some(peer) = known.peers.iter_mut().find(|peer| peer.url == url) else { return };
        match outcome {
            Ok(state) => {
                if let Some(problem) = peer.problem.take() {
                    tracing::info!(peer = url, problem, "the other gateway answers again");
                }
                peer.gateway = Some(state.gateway);
                peer.settings = state.settings;
            }
            Err(problem) => {
                if peer.problem.is_none() {
                    tracing::warn!(peer = url, problem, "the other gateway does not take part in settings");
                }
                peer.problem = Some(problem);
            }
        }
    }

    /// At how many gateways `settings`, those of this one, hold. `None` without peers.
    pub(crate) fn report(&self, settings: &SharedSettings) -> Option<Gateways> {
        if self.is_empty() {
            return None;
        }
        let known = self.known.lock();
        let mut report = Gateways { holding: 1, known: 1, failed: Vec::new() };
        let mut counted = vec![self.gateway];
        for peer in &known.peers {
            // A gateway may be listed by several of its addresses, this one too.
            if let Some(gateway) = peer.gateway {
                if counted.contains(&gateway) {
                    continue;
                }
                counted.push(gateway);
            }
            report.known += 1;
            let problem = match &peer.problem {
                Some(problem) => problem.clone(),
                None if settings.hold_at(&peer.settings) => {
                    report.holding += 1;
                    continue;
                }
                None => "it has not answered since the change".to_owned(),
            };
            report.failed.push(FailedGateway { url: peer.url.clone(), problem });
        }
        if let Some(why) = &known.lookup {
            report.failed.push(FailedGateway { url: self.members.to_string(), problem: why.clone() });
        }
        Some(report)
    }

    /// Sets the gauges.
    pub(crate) fn show(&self, settings: &SharedSettings) {
        let Some(Gateways { holding, known, .. }) = self.report(settings) else { return };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.holding.set(number(holding.saturating_sub(1)));
        self.metrics.not_holding.set(number(known.saturating_sub(holding)));
    }

    /// Reports that the peers were asked after the start.
    pub(crate) fn set_asked(&self) {
        *self.asked.lock() = true;
        self.asking.notify_all();
    }

    /// Blocks until the peers were asked after the start, at most for `limit`.
    pub(crate) fn wait_until_asked(&self, limit: Duration) {
        let mut asked = self.asked.lock();
        // The same in both cases: nobody waits longer for other gateways.
        let _ = self.asking.wait_while_for(&mut asked, |asked| !*asked, limit);
    }
}

impl Peer {
    fn at(url: String) -> Self {
        Self { url, gateway: None, settings: Stamped::new(), problem: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::body::StampedValue;
    use serde_json::json;
    use service::metrics::Metrics;

    async fn peers(list: &str) -> Peers {
        let metrics = PeerMetrics::register(&Metrics::default()).unwrap();
        let peers = Peers::new(parse(list).unwrap(), Names::default(), Overload::default(), metrics);
        peers.look_up().await;
        peers
    }

    fn state(gateway: u64, settings: &SharedSettings) -> Result<PeerState, String> {
        Ok(PeerState { gateway, settings: settings.all().clone() })
    }

    #[tokio::test]
    async fn each_gateway_is_counted_once_and_where_the_settings_are_missing_it_is_named() {
        let peers = peers("http://a,http://b,http://c,http://d").await;
        let mut settings = SharedSettings::default();
        let old = settings.clone();
        let cache = StampedValue { value: json!("all"), time_ms: 1, gateway: peers.gateway() };
        settings.merge(&Stamped::from([("cache".to_owned(), cache)]));
        peers.ended("http://a:80", state(peers.gateway(), &settings));
        peers.ended("http://b:80", state(1, &settings));
        peers.ended("http://c:80", state(1, &settings));
        peers.ended("http://d:80", state(2, &old));
        peers.ended("http://unknown:80", state(3, &settings));
        let failed = |problem: &str| {
            vec![FailedGateway { url: "http://d:80".to_owned(), problem: problem.to_owned() }]
        };
        let report = |problem| Some(Gateways { holding: 2, known: 3, failed: failed(problem) });
        assert_eq!(peers.report(&settings), report("it has not answered since the change"));
        peers.ended("http://d:80", Err("no answer".to_owned()));
        assert_eq!(peers.report(&settings), report("no answer"));
        peers.ended("http://d:80", state(2, &settings));
        assert_eq!(peers.report(&settings), Some(Gateways { holding: 3, known: 3, failed: Vec::new() }));
    }

    #[tokio::test]
    async fn peers_take_turns() {
        let peers = peers("http://a,http://b,http://c").await;
        assert_eq!(peers.next(2), ["http://a:80", "http://b:80"]);
        assert_eq!(peers.next(2), ["http://c:80", "http://a:80"]);
        assert_eq!(peers.next(9), ["http://b:80", "http://c:80", "http://a:80"]);
        assert_eq!(peers.next(1), ["http://b:80"]);
    }

    #[tokio::test]
    async fn without_peers_nothing_is_reported_and_a_name_without_address_is() {
        assert_eq!(peers("").await.report(&SharedSettings::default()), None);
        let lost = peers("dns+http://no-such-host.invalid:8000").await;
        let report = lost.report(&SharedSettings::default()).unwrap();
        assert_eq!((report.holding, report.known, report.failed.len()), (1, 1, 1));
        assert_eq!(report.failed[0].url, "dns+http://no-such-host.invalid:8000");
        assert!(lost.next(9).is_empty());
    }
}
