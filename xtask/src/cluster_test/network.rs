//! Makes the network namespaces of control plane and nodes, on one bridge that leads nowhere else.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::{command, programs};

/// Namespace of the control plane.
pub(crate) const CONTROL: &str = "hpl-cp";

/// The nodes: name, namespace and cgroup in one.
pub(crate) const NODES: [&str; 2] = ["hpl-n1", "hpl-n2"];

/// The control plane's address on the bridge.
pub(crate) const API_ADDRESS: &str = "172.30.0.1";

/// The address of node `index`, from 0.
pub(crate) fn node_address(index: usize) -> String {
    format!("172.30.0.{}", index + 11)
}

/// The pods' addresses at node `index`.
pub(crate) fn pod_range(index: usize) -> String {
    format!("10.244.{}.0/24", index + 1)
}

/// The file of a namespace.
pub(crate) fn file(namespace: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(namespace)
}

/// `program` in the network of `namespace`. `ip netns exec` would also mount a `/sys` without cgroups.
pub(crate) fn inside(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", file(namespace).display())).arg(program);
    command
}

/// Makes the namespaces, links and routes.
///
/// # Errors
/// When a namespace exists or a command fails.
pub(crate) fn create() -> Result<()> {
    ip(&format!("netns add {CONTROL}"))?;
    ip(&format!("-n {CONTROL} link set lo up"))?;
    ip(&format!("-n {CONTROL} link add br0 type bridge"))?;
    ip(&format!("-n {CONTROL} addr add {API_ADDRESS}/24 dev br0"))?;
    ip(&format!("-n {CONTROL} link set br0 up"))?;
    for (index, node) in NODES.iter().enumerate() {
        let (address, pods) = (node_address(index), pod_range(index));
        ip(&format!("netns add {node}"))?;
        ip(&format!("-n {node} link set lo up"))?;
        ip(&format!("-n {CONTROL} link add v{index} type veth peer name eth0 netns {node}"))?;
        ip(&format!("-n {CONTROL} link set v{index} master br0 up"))?;
        ip(&format!("-n {node} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {node} link set eth0 up"))?;
        ip(&format!("-n {node} route add default via {API_ADDRESS}"))?;
        ip(&format!("-n {CONTROL} route add {pods} via {address}"))?;
        for (other, _) in NODES.iter().enumerate().filter(|(other, _)| *other != index) {
            ip(&format!("-n {node} route add {} via {}", pod_range(other), node_address(other)))?;
        }
        command::capture(inside(node, "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]))?;
    }
    Ok(())
}

/// Sends each new forwarded connection to the policy agent. The node's own connections, such as the kubelet's checks, are
/// always allowed. The agent's own rules need `queue` in nftables, which not every kernel has.
///
/// # Errors
/// When iptables fails.
pub(crate) fn queue_for_policies(node: &str) -> Result<()> {
    for rule in [
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-m addrtype --src-type LOCAL -j ACCEPT",
        "-j NFQUEUE --queue-num 100",
    ] {
        let mut iptables = inside(node, "iptables");
        iptables.args(["-t", "mangle", "-A", "POSTROUTING"]).args(rule.split(' '));
        command::capture(&mut iptables)?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    let program = programs::find("ip").context("there is no ip")?;
    command::capture(Command::new(program).args(arguments.split(' '))).map(drop)
}
