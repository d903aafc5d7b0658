//! Tests the watch with a small API server over TLS.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::pods::found::FoundPod;
use crate::pods::pod::tests::value;
use crate::pods::settings::ApiArgs;

#[path = "../../../tests/probe/api_server.rs"]
mod api_server;

use self::api_server::ApiServer;

/// Limit for every wait.
const LIMIT: Duration = Duration::from_secs(20);

/// A running watch.
struct Watched {
    api: ApiServer,
    found: watch::Receiver<Found>,
    stopping: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn pod_watch(api: &ApiServer, renew: u32) -> PodWatch {
    let args = ApiArgs {
        kubernetes_service_host: Some("127.0.0.1".to_owned()),
        kubernetes_service_port: api.port,
        kubernetes_account: api.account.clone(),
    };
    let selection = args.select("SELECTOR", Some("app=shard".to_owned()), None, Some("n-1".to_owned()));
    let mut watch = PodWatch::new(selection.unwrap().unwrap()).unwrap();
    watch.renew = renew;
    watch
}

/// Starts a watch of a server with the pods `shard-0` and `shard-1`, which the API ends after `renew` seconds.
async fn watched(name: &str, renew: u32) -> Watched {
    let api = ApiServer::start(name);
    api.apply(value("shard-0", "Running", &["10.0.0.1"]));
    api.apply(value("shard-1", "Running", &["10.0.0.2"]));
    let watch = pod_watch(&api, renew);
    let (found, stopping) = (watch.found(), CancellationToken::new());
    tokio::spawn(watch.run(stopping.clone()));
    let mut watched = Watched { api, found, stopping };
    watched.until("the list", &[("shard-0", "10.0.0.1"), ("shard-1", "10.0.0.2")]).await;
    watched.watches(1).await;
    watched
}

fn addresses(pods: &[FoundPod]) -> Vec<(String, String)> {
    let shown = |pod: &FoundPod| match &pod.addresses {
        Ok(addresses) => addresses.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(problem) => problem.clone(),
    };
    pods.iter().map(|pod| (pod.name.clone(), shown(pod))).collect()
}

impl Watched {
    fn pods(&self) -> Vec<(String, String)> {
        addresses(self.found.borrow().pods.as_deref().unwrap_or_default())
    }

    fn problem(&self) -> Option<String> {
        self.found.borrow().problem.as_ref().map(|problem| problem.text.clone())
    }

    /// Waits until these are the pods. Returns how long it took.
    async fn until(&mut self, what: &str, expected: &[(&str, &str)]) -> Duration {
        let start = Instant::now();
        let is_there = |found: &Found| {
            let pods = addresses(found.pods.as_deref().unwrap_or_default());
            pods.iter().map(|(name, at)| (name.as_str(), at.as_str())).eq(expected.iter().copied())
        };
        let waited = tokio::time::timeout(LIMIT, self.found.wait_for(is_there)).await.map(drop);
        assert!(waited.is_ok(), "{what}: {:?}", self.found.borrow());
        start.elapsed()
    }

    /// Waits until a problem contains this text, or until there is none.
    async fn until_problem(&mut self, text: Option<&str>) -> Duration {
        let start = Instant::now();
        let is_there = |found: &Found| match (text, &found.problem) {
            (Some(text), Some(problem)) => problem.text.contains(text),
            (text, problem) => text.is_none() && problem.is_none(),
        };
        let waited = tokio::time::timeout(LIMIT, self.found.wait_for(is_there)).await.map(drop);
        assert!(waited.is_ok(), "{text:?}: {:?}", self.found.borrow());
        start.elapsed()
    }

    /// Waits until this many watches have been requested.
    async fn watches(&self, count: usize) {
        let start = Instant::now();
        while self.api.lists_and_watches().1 < count {
            assert!(start.elapsed() < LIMIT, "{:?}", self.api.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn each_change_is_followed_with_one_list_and_one_watch() {
    let mut watched = watched("changes", 50).await;
    watched.api.apply(value("shard-1", "Running", &["10.0.0.3"]));
    watched.until("a new address", &[("shard-0", "10.0.0.1"), ("shard-1", "10.0.0.3")]).await;
    watched.api.bookmark();
    watched.api.delete("shard-0");
    watched.until("a deleted pod", &[("shard-1", "10.0.0.3")]).await;
    watched.api.apply(value("shard-0", "Pending", &[]));
    watched.until("a new pod", &[("shard-0", ""), ("shard-1", "10.0.0.3")]).await;
    watched.api.apply(value("shard-0", "Running", &["10.0.0.4"]));
    watched.until("its address", &[("shard-0", "10.0.0.4"), ("shard-1", "10.0.0.3")]).await;
    watched.api.apply(value("shard-1", "Failed", &["10.0.0.3"]));
    watched.until("a pod that ended", &[("shard-0", "10.0.0.4")]).await;
    let asked = watched.api.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(
        asked[0],
        "GET /api/v1/namespaces/its-own/pods?&fieldSelector=spec.nodeName%3Dn-1&labelSelector=app%3Dshard\
         &resourceVersion=0&resourceVersionMatch=NotOlderThan HTTP/1.1"
    );
    let watch = "GET /api/v1/namespaces/its-own/pods?&watch=true&timeoutSeconds=50&fieldSelector=spec.nodeName%3Dn-1\
                 &labelSelector=app%3Dshard&allowWatchBookmarks=true&resourceVersion=3 HTTP/1.1";
    assert_eq!(asked[1], watch);
}

#[tokio::test]
async fn an_address_that_passes_to_another_pod_is_never_both_pods() {
    let mut watched = watched("passes", 50).await;
    // At no moment may two pods have the same address, so look at every state.
    let mut seen = watched.found.clone();
    let (api, stopping) = (&watched.api, watched.stopping.clone());
    let looks = tokio::spawn(async move {
        let mut looks = 0;
        while let Some(Ok(())) = stopping.run_until_cancelled(seen.changed()).await {
            let pods = addresses(seen.borrow_and_update().pods.as_deref().unwrap());
            let at: Vec<_> = pods.iter().filter(|(_, at)| at == "10.0.0.1").collect();
            assert!(at.len() <= 1, "{pods:?}");
            looks += 1;
        }
        looks
    });
    for n in 0..50 {
        let (old, new) = (n % 2, (n + 1) % 2);
        let name = |shard| format!("shard-{shard}");
        // The new pod's report comes before the end of the old one.
        api.apply(value(&name(new), "Running", &["10.0.0.1"]));
        api.apply(value(&name(old), "Running", &["10.0.0.1"]));
        api.apply(value(&name(old), "Succeeded", &["10.0.0.1"]));
    }
    watched.until("the last state", &[("shard-0", "10.0.0.1")]).await;
    watched.stopping.cancel();
    assert!(looks.await.unwrap() > 0);
}

#[tokio::test]
async fn a_watch_that_ends_or_is_silent_is_renewed_from_its_last_version() {
    let mut watched = watched("renewed", 1).await;
    watched.api.bookmark();
    watched.watches(2).await;
    assert!(watched.api.asked()[2].contains("resourceVersion=4 "), "{:?}", watched.api.asked());
    // The server freezes: it neither ends the watch nor sends anything.
    watched.api.freeze(true);
    let before = watched.api.lists_and_watches();
    tokio::time::sleep(Duration::from_secs(7)).await;
    watched.api.freeze(false);
    watched.watches(before.1 + 1).await;
    watched.api.apply(value("shard-0", "Running", &["10.0.0.9"]));
    let took =
        watched.until("a change afterwards", &[("shard-0", "10.0.0.9"), ("shard-1", "10.0.0.2")]).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(watched.api.lists_and_watches().0, 1, "{:?}", watched.api.asked());
}

#[tokio::test]
async fn what_changed_while_the_server_was_frozen_is_found_within_ten_seconds() {
    let mut watched = watched("frozen", 1).await;
    watched.api.freeze(true);
    // After 1 s the server would end the watch. 6 s of silence later a request waits 5 s for its answer.
    watched.until_problem(Some("no changes of pods from the Kubernetes API: no response within 5 s")).await;
    assert_eq!(watched.pods().len(), 2);
    watched.api.delete("shard-0");
    watched.api.freeze(false);
    let took = watched.until("the change", &[("shard-1", "10.0.0.2")]).await;
    let took = took + watched.until_problem(None).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn after_410_the_pods_are_listed_again() {
    let mut watched = watched("gone", 50).await;
    watched.api.delete("shard-0");
    watched.until("a deleted pod", &[("shard-1", "10.0.0.2")]).await;
    watched.api.compact();
    watched.api.break_watches();
    watched.api.apply(value("shard-3", "Running", &["10.0.0.3"]));
    watched.until("a new pod", &[("shard-1", "10.0.0.2"), ("shard-3", "10.0.0.3")]).await;
    assert_eq!(watched.api.lists_and_watches().0, 2, "{:?}", watched.api.asked());
    // The same as the status of the answer.
    watched.api.refuse_watches(Some(410));
    watched.api.break_watches();
    let start = Instant::now();
    while watched.api.lists_and_watches().0 < 3 {
        assert!(start.elapsed() < LIMIT, "{:?}", watched.api.asked());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(watched.problem(), None);
}

#[tokio::test]
async fn a_role_taken_away_is_a_problem_until_it_is_back() {
    let mut watched = watched("role", 1).await;
    watched.api.refuse(Some(403));
    let refused = "it returned 403 Forbidden: allow the service account to list pods and to watch them";
    watched.until_problem(Some(refused)).await;
    assert!(watched.found.borrow().problem.as_ref().unwrap().is_refusal);
    assert_eq!(watched.pods().len(), 2, "the last known pods stay");
    watched.api.delete("shard-1");
    watched.api.refuse(None);
    let took =
        watched.until_problem(None).await + watched.until("the change", &[("shard-0", "10.0.0.1")]).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Lists are allowed, watches are not.
    watched.api.refuse_watches(Some(403));
    watched.until_problem(Some(refused)).await;
}

#[tokio::test]
async fn a_first_list_that_fails_is_the_reason() {
    let api = ApiServer::start("first");
    api.refuse(Some(500));
    let mut watch = pod_watch(&api, 50);
    watch.first().await;
    let found = watch.found().borrow().clone();
    assert_eq!(found.pods, None);
    assert_eq!(
        found.problem.unwrap().text,
        "no list of pods from the Kubernetes API: it returned 500 Internal Server Error"
    );
    api.refuse(None);
    watch.first().await;
    assert_eq!(watch.found().borrow().pods.as_deref(), Some(&[][..]));
    assert_eq!(api.lists_and_watches(), (2, 0));
}

#[tokio::test]
async fn a_change_that_is_too_large_or_no_json_ends_in_a_new_list() {
    let mut watched = watched("large", 50).await;
    watched.api.line(&"x".repeat(super::super::bounded::CHANGE_MAX_BYTES + 1));
    watched.until_problem(Some("its response is larger than 4 MiB")).await;
    watched.api.delete("shard-0");
    watched.until("the change", &[("shard-1", "10.0.0.2")]).await;
    watched.until_problem(None).await;
    let (lists, _) = watched.api.lists_and_watches();
    watched.api.line(&json!({"type": "ADDED", "object": {"metadata": {}}}).to_string());
    watched.until_problem(Some("its response contains something other than pods")).await;
    watched.until_problem(None).await;
    assert_eq!(watched.api.lists_and_watches().0, lists + 1, "{:?}", watched.api.asked());
    assert_eq!(watched.pods().len(), 1);
}

#[tokio::test]
async fn a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop() {
    let watched = watched("ends", 0).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (lists, watches) = watched.api.lists_and_watches();
    assert!(lists == 1 && (2..=5).contains(&watches), "{lists} lists, {watches} watches");
}

#[tokio::test]
async fn a_renewed_token_is_sent() {
    let mut watched = watched("token", 1).await;
    std::fs::write(watched.api.account.join("token"), "second").unwrap();
    let (_, watches) = watched.api.lists_and_watches();
    watched.watches(watches + 1).await;
    watched.api.delete("shard-1");
    watched.until("the change", &[("shard-0", "10.0.0.1")]).await;
    assert_eq!(watched.problem(), None);
}
