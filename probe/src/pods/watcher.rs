//! Follows the pods of a selection through the API.
//!
//! A watch starts with a list from the API server's cache. Each further response contains the changes since the one
//! before. After an error the last known pods stay.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper::StatusCode;
use kube::runtime::watcher::{Config, Error, Event, ListSemantic, watcher};
use kube::{Api, Client};
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::found::{Found, Problem};
use super::known::Known;
use super::pod::Pod;
use super::selection::{ApiServer, Selection};
use super::transport::{Refused, Transport, tls};
use super::warnings::Warnings;
use crate::error::chain::chain;

mod retries;

use self::retries::Retries;

/// Range of the seconds after which the API ends a watch, so that a new one follows. The watches of many probes spread
/// over the range.
const RENEW: std::ops::RangeInclusive<u32> = 45..=55;

/// Maximum time for the first list before the probe starts without it.
const FIRST_TIMEOUT: Duration = Duration::from_secs(5);

type Events = Pin<Box<dyn Stream<Item = Result<Event<Pod>, Error>> + Send>>;

/// A watch of the pods of one selection.
pub(crate) struct PodWatch {
    selection: Selection,
    tls: ClientConfig,
    /// Seconds after which the API ends a watch. A watch that is silent for 5 s more is renewed too.
    renew: u32,
    known: Known,
    /// The pods of a list that is not complete yet.
    listed: Vec<Pod>,
    found: watch::Sender<Found>,
    warnings: Warnings,
    /// Whether the current problem is logged.
    is_logged: bool,
}

/// Checks that the server's certificate can be verified.
pub(super) fn check(server: &ApiServer) -> Result<(), String> {
    tls(&server.ca).map(drop)
}

impl PodWatch {
    /// Starts without any pods.
    pub(crate) fn new(selection: Selection) -> Result<Self, String> {
        Ok(Self {
            tls: tls(&selection.server.ca)?,
            selection,
            renew: fastrand::u32(RENEW),
            known: Known::default(),
            listed: Vec::new(),
            found: watch::Sender::default(),
            warnings: Warnings::default(),
            is_logged: false,
        })
    }

    /// Subscribes to the pods.
    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    /// Lists the pods once.
    pub(crate) async fn first(&mut self) {
        let mut events = self.events(&Arc::default());
        let first = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let is_end = matches!(event, Event::InitDone);
                        self.take(event);
                        if is_end {
                            return;
                        }
                    }
                    Err(error) => return self.fail(problem(&error)),
                }
            }
        };
        if tokio::time::timeout(FIRST_TIMEOUT, first).await.is_err() {
            let text = format!("{NO_LIST}: no response within {} s", FIRST_TIMEOUT.as_secs());
            self.fail(Problem { is_refusal: false, text });
        }
    }

    /// Follows the pods until `stopping`.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        // Without a result the watch was stopped, which is the only way to end it.
        let _ = stopping.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut retries = Retries::default();
        loop {
            let accepted = Arc::new(Notify::new());
            let mut events = self.events(&accepted);
            loop {
                let event = tokio::select! {
                    biased;
                    () = accepted.notified() => {
                        self.recover();
                        continue;
                    }
                    event = events.next() => event,
                };
                let error = match event {
                    Some(Ok(event)) => {
                        self.take(event);
                        continue;
                    }
                    Some(Err(error)) => error,
                    None => break,
                };
                let is_gone = is_gone(&error);
                if is_gone {
                    tracing::debug!(
                        "the API no longer has the changes since the last one; listing the pods again"
                    );
                } else {
                    self.fail(problem(&error));
                }
                tokio::time::sleep(retries.delay()).await;
                // A change that cannot be decoded is lost. A watch that fails again and again may have a wrong start.
                if is_gone || is_undecodable(&error) || retries.are_many() {
                    break;
                }
            }
        }
    }

    /// A list and the changes after it. Errors do not end the stream.
    fn events(&self, accepted: &Arc<Notify>) -> Events {
        let Selection { server, namespace, labels, node } = &self.selection;
        let transport = Transport::new(server.clone(), self.tls.clone(), Arc::clone(accepted));
        let api: Api<Pod> = Api::namespaced(Client::new(transport, namespace), namespace);
        let config = Config {
            label_selector: Some(labels.clone()),
            field_selector: node.as_ref().map(|node| format!("spec.nodeName={node}")),
            timeout: Some(self.renew),
            list_semantic: ListSemantic::Any,
            // With pages the list would not come from the API server's cache.
            page_size: None,
            ..Config::default()
        };
        Box::pin(watcher(api, config))
    }

    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(pod) => {
                self.listed.push(pod);
                return;
            }
            Event::InitDone => self.known.replace(std::mem::take(&mut self.listed)),
            Event::Apply(pod) => self.known.apply(&pod),
            Event::Delete(pod) => self.known.delete(&pod),
        }
        let pods = Some(self.known.found());
        self.found.send_if_modified(|found| {
            let is_new = found.pods != pods;
            found.pods = pods;
            is_new
        });
    }

    fn fail(&mut self, problem: Problem) {
        self.is_logged |= self.warnings.warn(&problem.text);
        let problem = Some(problem);
        self.found.send_if_modified(|found| {
            let is_new = found.problem != problem;
            found.problem = problem;
            is_new
        });
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.is_logged) {
            tracing::info!("the pods are watched again");
        }
        self.found.send_if_modified(|found| found.problem.take().is_some());
    }
}

const NO_LIST: &str = "no list of pods from the Kubernetes API";
const NO_WATCH: &str = "no changes of pods from the Kubernetes API";

/// An object in a response cannot be decoded.
const NO_POD: &str = "its response contains something other than pods";

/// Whether the API no longer has the changes that were asked for.
fn is_gone(error: &Error) -> bool {
    let gone = StatusCode::GONE.as_u16();
    match error {
        Error::WatchError(status) => status.code == gone,
        Error::WatchStartFailed(error) | Error::WatchFailed(error) => match error {
            kube::Error::Api(status) => status.code == gone,
            kube::Error::Service(error) => {
                error.downcast_ref::<Refused>().is_some_and(|refused| refused.0 == StatusCode::GONE)
            }
            _ => false,
        },
        Error::InitialListFailed(_) | Error::NoResourceVersion => false,
    }
}

/// Whether a change is lost.
fn is_undecodable(error: &Error) -> bool {
    match error {
        Error::WatchFailed(error) => matches!(error, kube::Error::SerdeError(_) | kube::Error::Api(_)),
        Error::NoResourceVersion => true,
        Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::WatchError(_) => false,
    }
}

fn problem(error: &Error) -> Problem {
    let (what, (is_refusal, why)) = match error {
        Error::InitialListFailed(error) => (NO_LIST, reason(error)),
        Error::WatchStartFailed(error) | Error::WatchFailed(error) => (NO_WATCH, reason(error)),
        Error::WatchError(status) => (NO_WATCH, returned(status.code)),
        Error::NoResourceVersion => (NO_LIST, (false, "its response has no resourceVersion".to_owned())),
    };
    Problem { is_refusal, text: format!("{what}: {why}") }
}

/// Whether the API refuses the service account, and a short reason.
fn reason(error: &kube::Error) -> (bool, String) {
    match error {
        // The client takes any other object for a status.
        kube::Error::Api(status) if status.code == 0 => (false, NO_POD.to_owned()),
        kube::Error::Api(status) => returned(status.code),
        kube::Error::Service(error) => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(Refused(status)), _) => returned(status.as_u16()),
            (None, Some(error)) => reason(error),
            (None, None) => (false, chain(error.as_ref())),
        },
        kube::Error::ReadEvents(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => reason(error),
            None => (false, chain(error)),
        },
        kube::Error::SerdeError(error) => (false, format!("{NO_POD}: {error}")),
        error => (false, chain(error)),
    }
}

fn returned(code: u16) -> (bool, String) {
    let status = StatusCode::from_u16(code).map_or_else(|_| code.to_string(), |status| status.to_string());
    if matches!(code, 401 | 403) {
        let allow =
            "allow the service account to list pods and to watch them (with a Role, see deploy/kubernetes)";
        return (true, format!("it returned {status}: {allow}"));
    }
    (false, format!("it returned {status}"))
}

#[cfg(test)]
mod tests;
