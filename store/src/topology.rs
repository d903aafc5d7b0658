//! Parses the shards of a cluster from `CLUSTER SHARDS` or `CLUSTER SLOTS`.

use crate::info::Role;
use crate::reply::Reply;
use crate::urls::HostPort;

/// Maximum number of nodes that are read.
pub const MAX_NODES: usize = 1_000;

/// The nodes of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Primaries in order of their slots, each followed by its replicas.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The cluster's id of the node; `host:port` outside of a cluster.
    pub id: String,
    /// Where clients reach it, the preferred address first; never empty.
    pub addresses: Vec<HostPort>,
    /// Its role.
    pub role: Role,
    /// The slots that it or its primary owns.
    pub slots: Vec<SlotRange>,
    /// The id of the primary that it copies.
    pub primary: Option<String>,
    /// Whether the cluster considers it as failed.
    pub has_failed: bool,
}

/// Slots from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRange {
    /// First slot.
    pub first: u16,
    /// Last slot.
    pub last: u16,
}

impl Topology {
    /// Independent nodes, each a shard of its own.
    pub fn of_single(urls: impl IntoIterator<Item = HostPort>) -> Self {
        let node = |url: HostPort| Node {
            id: url.to_string(),
            addresses: vec![url],
            role: Role::Primary,
            slots: Vec::new(),
            primary: None,
            has_failed: false,
        };
        Self { nodes: urls.into_iter().map(node).collect() }
    }

    /// The primary that owns a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<&Node> {
        let owns = |node: &&Node| node.slots.iter().any(|range| (range.first..=range.last).contains(&slot));
        self.nodes.iter().filter(|node| node.role == Role::Primary).find(owns)
    }

    /// Parses `CLUSTER SHARDS`. `asked` is the node that answered. It replaces an address that a node does not report.
    #[must_use]
    pub fn of_shards(reply: &Reply, asked: &HostPort) -> Option<Self> {
        let mut shards = Vec::new();
        for shard in reply.list()?.iter().take(MAX_NODES) {
            let slots: Vec<i64> = shard.field("slots")?.list()?.iter().filter_map(Reply::integer).collect();
            let slots: Vec<SlotRange> =
                slots.chunks_exact(2).filter_map(|pair| range(pair.first()?, pair.get(1)?)).collect();
            let nodes = shard.field("nodes")?.list()?.iter().take(MAX_NODES);
            shards.push((slots, nodes.filter_map(|node| node_of_shard(node, asked)).collect()));
        }
        Some(Self::assemble(shards))
    }

    /// Parses `CLUSTER SLOTS`, where the first node of a range is its primary.
    #[must_use]
    pub fn of_slots(reply: &Reply, asked: &HostPort) -> Option<Self> {
        let mut shards: Vec<(Vec<SlotRange>, Vec<Node>)> = Vec::new();
        for entry in reply.list()?.iter().take(usize::from(crate::slot::SLOTS)) {
            let fields = entry.list()?;
            let range = range(&fields.first()?.integer()?, &fields.get(1)?.integer()?)?;
            let nodes = fields.get(2..)?.iter().enumerate();
            let nodes: Vec<Node> = nodes.filter_map(|(at, node)| node_of_slots(at, node, asked)).collect();
            let same = |(_, others): &&mut (Vec<SlotRange>, Vec<Node>)| {
                others.first().map(|node| &node.id) == nodes.first().map(|node| &node.id)
            };
            match shards.iter_mut().find(same) {
                Some((slots, _)) => slots.push(range),
                None => shards.push((vec![range], nodes)),
            }
        }
        Some(Self::assemble(shards))
    }

    fn assemble(mut shards: Vec<(Vec<SlotRange>, Vec<Node>)>) -> Self {
        for (slots, _) in &mut shards {
            slots.sort_unstable();
        }
        // Shards without slots are last: nodes that have just joined, or have lost their slots.
        shards.sort_by_key(|(slots, nodes)| {
            (slots.is_empty(), slots.first().copied(), nodes.first().map(|node| node.id.clone()))
        });
        let (mut primaries, mut replicas) = (Vec::new(), Vec::new());
        for (slots, nodes) in shards {
            // After a failover the old primary is still listed, as failed.
            let primary = nodes.iter().find(|node| node.role == Role::Primary && !node.has_failed);
            let primary = primary.map(|node| node.id.clone());
            for mut node in nodes {
                node.slots.clone_from(&slots);
                if primary.as_ref() == Some(&node.id) {
                    primaries.push(node);
                } else {
                    if primary.is_some() {
                        node.role = Role::Replica;
                    }
                    node.primary.clone_from(&primary);
                    replicas.push(node);
                }
            }
        }
        let mut nodes: Vec<Node> = primaries;
        nodes.append(&mut replicas);
        nodes.truncate(MAX_NODES);
        Self { nodes }
    }
}

fn range(first: &i64, last: &i64) -> Option<SlotRange> {
    let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < crate::slot::SLOTS);
    let range = SlotRange { first: slot(*first)?, last: slot(*last)? };
    (range.first <= range.last).then_some(range)
}

fn node_of_shard(node: &Reply, asked: &HostPort) -> Option<Node> {
    // Without a plain port only TLS clients reach it, and the kernel sees ciphertext.
    let port = u16::try_from(node.field("port")?.integer()?).ok()?;
    let hosts = ["endpoint", "ip"].map(|field| node.field(field).and_then(Reply::text));
    let is_replica = matches!(node.field("role").and_then(Reply::text), Some("replica" | "slave"));
    Some(Node {
        id: node.field("id")?.text()?.to_owned(),
        addresses: addresses(&hosts, port, asked),
        role: if is_replica { Role::Replica } else { Role::Primary },
        slots: Vec::new(),
        primary: None,
        has_failed: node.field("health").and_then(Reply::text) == Some("fail"),
    })
}

fn node_of_slots(at: usize, node: &Reply, asked: &HostPort) -> Option<Node> {
    let fields = node.list()?;
    let port = u16::try_from(fields.get(1)?.integer()?).ok()?;
    let host = fields.first()?.text();
    // Redis before 4 sends no id.
    let id = fields.get(2).and_then(Reply::text).map(str::to_owned);
    Some(Node {
        id: id.unwrap_or_else(|| format!("{}:{port}", host.unwrap_or_default())),
        addresses: addresses(&[host], port, asked),
        role: if at == 0 { Role::Primary } else { Role::Replica },
        slots: Vec::new(),
        primary: None,
        has_failed: false,
    })
}

/// The node's addresses. An unknown host is that of the node that answered.
fn addresses(hosts: &[Option<&str>], port: u16, asked: &HostPort) -> Vec<HostPort> {
    let mut found: Vec<HostPort> = Vec::new();
    let known = hosts.iter().flatten().filter(|host| !host.is_empty() && **host != "?");
    for host in known {
        let one = HostPort { host: (*host).to_ascii_lowercase(), port };
        if !found.contains(&one) {
            found.push(one);
        }
    }
    if found.is_empty() {
        found.push(HostPort { host: asked.host.clone(), port });
    }
    found
}
