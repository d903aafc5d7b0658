//! Numbers the nodes of a store for the kernel's maps, and follows their roles.

use probe_common::MAX_SHARDS;
use store::info::Role;
use store::topology::{Node, SlotRange, Topology};
use store::urls::HostPort;

use crate::shards::WatchedShard;

/// Room for nodes that join later.
const SPARE: u32 = 4;

/// All nodes that were ever seen. A node keeps its number.
#[derive(Debug)]
pub(crate) struct Fleet {
    nodes: Vec<FleetNode>,
    capacity: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FleetNode {
    /// The cluster's id, or `host:port`.
    pub(crate) id: String,
    /// Where clients reach it; never empty.
    pub(crate) addresses: Vec<HostPort>,
    /// `None` once the node has left the cluster.
    pub(crate) role: Option<Role>,
    /// The number of a replica's primary.
    pub(crate) primary: Option<u32>,
    /// The slots that it or its primary owns.
    pub(crate) slots: Vec<SlotRange>,
    /// Whether the cluster considers it as failed.
    pub(crate) has_failed: bool,
}

impl FleetNode {
    /// Whether the node takes part in the verdict: a primary with slots, or without a cluster.
    pub(crate) fn is_judged(&self, is_cluster: bool) -> bool {
        self.role == Some(Role::Primary) && (!is_cluster || !self.slots.is_empty())
    }

    /// The preferred address.
    pub(crate) fn address(&self) -> String {
        self.addresses.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The role's name.
    pub(crate) fn role_name(&self) -> &'static str {
        self.role.map_or("gone", Role::name)
    }
}

impl Fleet {
    /// The nodes of a topology, with room for some more.
    pub(crate) fn new(topology: &Topology) -> Self {
        let nodes = u32::try_from(topology.nodes.len()).unwrap_or(MAX_SHARDS);
        let capacity = nodes.saturating_add(SPARE).min(MAX_SHARDS) as usize;
        let mut fleet = Self { nodes: Vec::new(), capacity };
        fleet.follow(topology);
        fleet
    }

    /// The number of nodes that the kernel's maps have room for.
    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.capacity).unwrap_or(MAX_SHARDS)
    }

    /// All nodes, in order of number.
    pub(crate) fn nodes(&self) -> &[FleetNode] {
        &self.nodes
    }

    /// Takes over a newer topology. Returns how many nodes have no number, because there is no room.
    pub(crate) fn follow(&mut self, topology: &Topology) -> usize {
        let mut left_out = 0;
        let mut seen = vec![false; self.capacity];
        for node in &topology.nodes {
            let known = self.nodes.iter().position(|known| known.id == node.id);
            let at = match known {
                Some(at) => at,
                None if self.nodes.len() < self.capacity => {
                    self.nodes.push(FleetNode::from(node));
                    self.nodes.len() - 1
                }
                None => {
                    left_out += 1;
                    continue;
                }
            };
            if let Some(known) = self.nodes.get_mut(at) {
                *known = FleetNode { primary: known.primary, ..FleetNode::from(node) };
            }
            if let Some(seen) = seen.get_mut(at) {
                *seen = true;
            }
        }
        let number = |id: &String| self.nodes.iter().position(|node| node.id == *id);
        let primaries: Vec<Option<u32>> = self
            .nodes
            .iter()
            .map(|known| {
                let node = topology.nodes.iter().find(|node| node.id == known.id)?;
                number(node.primary.as_ref()?).and_then(|at| u32::try_from(at).ok())
            })
            .collect();
        for ((node, primary), seen) in self.nodes.iter_mut().zip(primaries).zip(seen) {
            node.primary = primary;
            if !seen {
                node.role = None;
                node.slots.clear();
            }
        }
        left_out
    }

    /// Sets the role of a node outside of a cluster, where only the node itself reports it.
    pub(crate) fn set_role(&mut self, node: usize, role: Role) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.role = Some(role);
        }
    }

    /// The numbers of nodes that take no part in the verdict.
    pub(crate) fn left_out(&self, is_cluster: bool) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| !node.is_judged(is_cluster)).map(|(at, _)| at).collect()
    }

    /// The nodes as the HTTP interface shows them.
    pub(crate) fn watched(&self) -> Vec<WatchedShard> {
        let shard = |(id, node): (u32, &FleetNode)| WatchedShard {
            id,
            url: format!("redis://{}", node.address()),
            address: node.address(),
        };
        (0..).zip(&self.nodes).map(shard).collect()
    }
}

impl From<&Node> for FleetNode {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.clone(),
            addresses: node.addresses.clone(),
            role: Some(node.role),
            primary: None,
            slots: node.slots.clone(),
            has_failed: node.has_failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: Role, slots: &[(u16, u16)], primary: Option<&str>) -> Node {
        Node {
            id: id.to_owned(),
            addresses: vec![HostPort { host: id.to_owned(), port: 1 }],
            role,
            slots: slots.iter().map(|(first, last)| SlotRange { first: *first, last: *last }).collect(),
            primary: primary.map(str::to_owned),
            has_failed: false,
        }
    }

    #[test]
    fn a_node_keeps_its_number_through_failover_and_return() {
        let (p, r) = (Role::Primary, Role::Replica);
        let first = vec![
            node("a", p, &[(0, 8_191)], None),
            node("b", p, &[(8_192, 16_383)], None),
            node("c", r, &[(0, 8_191)], Some("a")),
        ];
        let mut fleet = Fleet::new(&Topology { nodes: first.clone() });
        assert_eq!((fleet.capacity(), fleet.left_out(true)), (7, vec![2]));
        assert_eq!(fleet.nodes()[2].primary, Some(0));
        let after = vec![node("c", p, &[(0, 8_191)], None), node("b", p, &[(8_192, 16_383)], None)];
        assert_eq!(fleet.follow(&Topology { nodes: after }), 0);
        assert_eq!((fleet.left_out(true), fleet.nodes()[0].role_name()), (vec![0], "gone"));
        assert_eq!(fleet.follow(&Topology { nodes: first }), 0);
        assert_eq!((fleet.left_out(true), fleet.nodes()[0].role), (vec![2], Some(p)));
        // A primary that has just joined owns no slot, so it is not compared.
        let more: Vec<Node> = (0..9).map(|n| node(&format!("n{n}"), p, &[], None)).collect();
        assert_eq!(fleet.follow(&Topology { nodes: more }), 5);
        assert_eq!((fleet.nodes().len(), fleet.left_out(true).len(), fleet.left_out(false).len()), (7, 7, 3));
    }
}
