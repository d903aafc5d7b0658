//! An even load in an open loop. The outcome of each request is recorded.

use anyhow::Result;
use load::answer::{self, Expected, ExpectedBody, ValidAnswer};
use load::client::{Answer, ClientError, Connection, get};
use load::keys::{Distribution, KeySpace};
use load::open_loop::{self, Requests, Shared};
use load::scenario::Stream;
use load::schedule::Schedule;
use parking_lot::Mutex;
use protocol::body::AnswerFault;
use protocol::{ErrorBody, Key, ShardId, placement};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The number of keys of each shard. All are drawn alike, so the load of the shards is even.
const KEYS_PER_SHARD: usize = 100;

/// Largest number of requests in flight: more than a frozen shard can hold up until its requests time out.
const IN_FLIGHT: usize = 4_000;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// With the right answer.
    Answered,
    /// With an error answer of this kind.
    Failed(String),
    /// No connection was accepted, so no request was sent.
    Refused,
    /// The request was sent, and no complete answer came.
    Lost(String),
    /// With a wrong answer.
    Wrong(String),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was sent, since the load began.
    pub(crate) at: Duration,
    /// The shard of its key.
    pub(crate) shard: usize,
    /// From the time it was sent to its end.
    pub(crate) latency: Duration,
    pub(crate) outcome: Outcome,
}

/// What became of a load.
pub(crate) struct Sent {
    /// All requests, in the order of their ends.
    pub(crate) samples: Vec<Sample>,
    /// Requests not sent, because too many were in flight.
    pub(crate) dropped: u64,
    /// The longest time from due to sent.
    pub(crate) max_lag: Duration,
}

/// A load that runs.
pub(crate) struct Traffic(JoinHandle<Result<Sent>>);

impl Traffic {
    /// Reads `rate` keys a second from the gateway at `addr`, from `begin` on for `seconds`.
    pub(crate) fn start(
        addr: SocketAddr,
        shards: NonZeroU32,
        rate: f64,
        seconds: f64,
        begin: Instant,
    ) -> Self {
        Self(tokio::spawn(async move {
            let keys = even_keys(shards)?;
            let samples = Arc::new(Mutex::new(Vec::new()));
            let reads = Reads {
                addr,
                shards,
                begin,
                owners: keys.owners(shards),
                keys: keys.keys().to_vec(),
                samples: Arc::clone(&samples),
            };
            let stream = Stream::reads("even", rate, IN_FLIGHT, keys);
            let shared = Shared { shards, start: begin, progress: Arc::default() };
            let tally = open_loop::run(stream, Schedule::new(rate, seconds), 1, reads, shared).await?;
            let samples = std::mem::take(&mut *samples.lock());
            Ok(Sent { samples, dropped: tally.dropped, max_lag: tally.max_lag })
        }))
    }

    /// Waits until the last request has ended.
    pub(crate) async fn ended(self) -> Result<Sent> {
        self.0.await?
    }
}

/// Keys of all shards, the same number for each.
pub(crate) fn even_keys(shards: NonZeroU32) -> Result<KeySpace, protocol::KeyError> {
    let mut left = vec![KEYS_PER_SHARD; shards.get() as usize];
    let mut keys = Vec::new();
    for number in 0_u32.. {
        let key = Key::new(&format!("user-{number}"))?;
        let left_of_home = &mut left[placement::modulo(&key, shards).index()];
        if *left_of_home > 0 {
            *left_of_home -= 1;
            keys.push(key);
        }
        if left.iter().all(|left| *left == 0) {
            break;
        }
    }
    Ok(KeySpace::of(keys, Distribution::Uniform))
}

struct Reads {
    addr: SocketAddr,
    shards: NonZeroU32,
    begin: Instant,
    keys: Vec<Key>,
    owners: Vec<ShardId>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Requests for Reads {
    type Connection = Connection;

    fn connection(&self) -> Connection {
        Connection::new(self.addr)
    }

    async fn send(&self, connection: &mut Connection, key: usize) -> Result<ValidAnswer, AnswerFault> {
        let (name, owner) = (self.keys[key].as_str(), self.owners[key]);
        let request = get(&self.addr.to_string(), &format!("/data/{name}"));
        let sent = Instant::now();
        let answer = connection.send(&request).await;
        let latency = sent.elapsed();
        let unhappy = unhappy(&answer);
        let expected = Expected {
            body: ExpectedBody::GatewayGet,
            key: name,
            owner,
            shards: self.shards.get(),
            any_shard: false,
        };
        let checked = answer::check(answer, &expected);
        let outcome = match (&checked, unhappy) {
            (Ok(_), _) => Outcome::Answered,
            (Err(_), Some(outcome)) => outcome,
            (Err(fault), None) => Outcome::Wrong(format!("{fault:?}")),
        };
        let at = sent.saturating_duration_since(self.begin);
        self.samples.lock().push(Sample { at, shard: owner.index(), latency, outcome });
        checked
    }
}

/// The outcome of a request without an answer, or with an error answer.
fn unhappy(answer: &Result<Answer<'_>, ClientError>) -> Option<Outcome> {
    match answer {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => {
            let body: Option<ErrorBody> = serde_json::from_slice(answer.body).ok();
            let kind = body.map(|body| body.kind.name().to_owned());
            Some(Outcome::Failed(kind.unwrap_or_else(|| answer.status.to_string())))
        }
        Err(ClientError::Connection(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            Some(Outcome::Refused)
        }
        Err(ClientError::Connection(error)) => Some(Outcome::Lost(error.kind().to_string())),
        Err(error) => Some(Outcome::Lost(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::even_keys;
    use std::num::NonZeroU32;

    #[test]
    fn each_shard_has_as_many_keys() {
        let shards = NonZeroU32::new(4).expect("not 0");
        let owners = even_keys(shards).expect("valid keys").owners(shards);
        let of = |shard: usize| owners.iter().filter(|owner| owner.index() == shard).count();
        assert_eq!([0, 1, 2, 3].map(of), [100; 4]);
    }
}
