//! Parses `INFO`: identity, role, bytes, calls by command.

use std::collections::BTreeMap;

/// Commands that run a script. Its calls are in `commandstats`, and not on the wire.
const SCRIPTING: [&str; 6] = ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"];

/// A node's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `redis` or `valkey`.
    pub server: String,
    /// The server's version.
    pub version: String,
    /// Identifies the process. A new value means a restart.
    pub run_id: String,
    /// The role.
    pub role: Role,
    /// Whether the node is part of a cluster.
    pub is_cluster: bool,
    /// Connected clients, replicas not included.
    pub clients: u64,
    /// Clients that wait in a blocking command. Their later commands are not counted yet.
    pub blocked_clients: u64,
    /// Replicas of this node.
    pub replicas: u64,
    /// `total_net_input_bytes`.
    pub input_bytes: u64,
    /// `total_net_repl_input_bytes`: the part from the node's primary. Absent before Redis 7.
    pub replication_bytes: u64,
    /// Error replies with the prefix ERR. Unknown commands are among them.
    pub errors: u64,
    /// Calls and rejected calls by command name, subcommands added to their command. Lower case.
    pub calls: BTreeMap<String, Calls>,
}

/// A node's role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It owns slots, or the whole key space.
    #[default]
    Primary,
    /// It copies a primary.
    Replica,
}

impl Role {
    /// The name in output and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// How often a command was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Executed.
    pub calls: u64,
    /// Rejected before execution: wrong arity, MOVED, NOPERM and so on.
    pub rejected: u64,
    /// Executed with an error. These are among `calls`.
    pub failed: u64,
}

impl Calls {
    /// Commands on the wire: executed and rejected.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.calls.saturating_add(self.rejected)
    }
}

impl Info {
    /// Parses the reply. `None` when it lacks `run_id` or `total_net_input_bytes`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut info = Self::default();
        let (mut has_bytes, mut valkey) = (false, None);
        for line in text.lines() {
            let Some((field, value)) = line.split_once(':') else { continue };
            let number = || value.trim().parse().unwrap_or_default();
            match field {
                "redis_version" => value.trim().clone_into(&mut info.version),
                "server_name" => value.trim().clone_into(&mut info.server),
                "valkey_version" => valkey = Some(value.trim().to_owned()),
                "run_id" => value.trim().clone_into(&mut info.run_id),
                "role" if value.trim() == "slave" => info.role = Role::Replica,
                "cluster_enabled" => info.is_cluster = number() > 0,
                "connected_clients" => info.clients = number(),
                "blocked_clients" => info.blocked_clients = number(),
                "connected_slaves" => info.replicas = number(),
                "total_net_input_bytes" => (info.input_bytes, has_bytes) = (number(), true),
                "total_net_repl_input_bytes" => info.replication_bytes = number(),
                "errorstat_ERR" => info.errors = count_of(value, "count"),
                _ => {
                    if let Some(command) = field.strip_prefix("cmdstat_") {
                        let name = command.split('|').next().unwrap_or(command).to_ascii_lowercase();
                        let sum = info.calls.entry(name).or_default();
                        sum.calls += count_of(value, "calls");
                        sum.rejected += count_of(value, "rejected_calls");
                        sum.failed += count_of(value, "failed_calls");
                    }
                }
            }
        }
        if let Some(version) = valkey {
            (info.server, info.version) = ("valkey".to_owned(), version);
        } else if info.server.is_empty() {
            "redis".clone_into(&mut info.server);
        }
        (has_bytes && !info.run_id.is_empty()).then_some(info)
    }

    /// Bytes from clients, without the stream from the node's primary.
    #[must_use]
    pub const fn client_bytes(&self) -> u64 {
        self.input_bytes.saturating_sub(self.replication_bytes)
    }

    /// Calls of commands that run a script.
    #[must_use]
    pub fn script_runs(&self) -> u64 {
        SCRIPTING.iter().filter_map(|name| self.calls.get(*name)).map(|calls| calls.calls).sum()
    }

    /// Whether any count is lower than in `before`: `CONFIG RESETSTAT`.
    #[must_use]
    pub fn fell_since(&self, before: &Self) -> bool {
        let fell = |(name, then): (&String, &Calls)| {
            self.calls.get(name).is_none_or(|now| now.received() < then.received())
        };
        self.input_bytes < before.input_bytes || before.calls.iter().any(fell)
    }
}

/// The number after `field=` in a list such as `calls=1,usec=5`.
fn count_of(list: &str, field: &str) -> u64 {
    let value = list.trim().split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}
