//! Sends a stream's requests to the gateway.

use protocol::body::AnswerFault;
use protocol::{Key, ShardId};
use std::net::SocketAddr;

use crate::answer::{self, Expected, ExpectedBody, ValidAnswer};
use crate::client::{self, Connection};
use crate::gateway::{GatewayClient, Topology};
use crate::open_loop::Requests;
use crate::scenario::{Operation, Stream};

/// The encoded requests for a stream's keys, with the expected answers.
pub struct GatewayRequests {
    addr: SocketAddr,
    keys: Vec<Key>,
    owners: Vec<ShardId>,
    bytes: Vec<Vec<u8>>,
    body: ExpectedBody,
    topology: Topology,
}

impl GatewayRequests {
    /// The requests of a stream. `owners` are the shards of its keys.
    #[must_use]
    pub fn new(stream: &Stream, owners: Vec<ShardId>, gateway: &GatewayClient, topology: Topology) -> Self {
        let keys = stream.keys.keys().to_vec();
        Self {
            addr: gateway.addr,
            bytes: keys.iter().map(|key| request(&gateway.host, stream.operation, key)).collect(),
            keys,
            owners,
            body: match stream.operation {
                Operation::Read => ExpectedBody::GatewayGet,
                Operation::ReadAbsent => ExpectedBody::NotFound,
                Operation::Write => ExpectedBody::GatewaySet,
            },
            topology,
        }
    }
}

impl Requests for GatewayRequests {
    type Connection = Connection;

    fn connection(&self) -> Connection {
        Connection::new(self.addr)
    }

    async fn send(&self, connection: &mut Connection, key: usize) -> Result<ValidAnswer, AnswerFault> {
        let expected = Expected {
            body: self.body,
            key: self.keys[key].as_str(),
            owner: self.owners[key],
            shards: self.topology.shards.get(),
            any_shard: self.topology.any_shard,
        };
        answer::check(connection.send(&self.bytes[key]).await, &expected)
    }
}

/// Builds the request of a stream for a key.
fn request(host: &str, operation: Operation, key: &Key) -> Vec<u8> {
    match operation {
        Operation::Read | Operation::ReadAbsent => {
            client::get(host, &format!("/data/{}", key.to_path_segment()))
        }
        Operation::Write => {
            let body = serde_json::json!({"key": key.as_str(), "value": {"written": true}});
            client::post(host, "/data", &body.to_string())
        }
    }
}
