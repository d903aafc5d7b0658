//! Address families, and servers that differ only by address.

use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, get, post};
use crate::accuracy::namespace::Namespace;
use crate::accuracy::relay::{self, NetworkFaults};
use crate::accuracy::rule::Rule;
use crate::accuracy::server::{Server, ServerOptions};

pub(super) fn rows() -> Vec<Row> {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let mapped = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let mut rows = vec![
        Row::new("IPv4", move |size| family(size, v4, v4, v4)),
        Row::new("IPv6", move |size| family(size, v6, v6, v6)),
        Row::new("IPv4 to an IPv6 socket", move |size| family(size, any, v4, v4)),
        Row::new("IPv4-mapped IPv6 at both ends", move |size| family(size, any, mapped, mapped)),
    ];
    let servers = (0..4).map(|index| {
        Row::new(&format!("4 namespaces, one port: server {index}"), move |size| apart(size, index))
    });
    rows.extend(servers);
    rows.push(Row::new("published port", published_port));
    rows.push(Row::new("same address in another namespace", same_loopback));
    rows.push(Row::new("same address in another namespace, not loopback", same_address));
    rows
}

/// A server bound to `bind`. The probe has its address as `known`, and the client connects to `to`.
fn family(size: Size, bind: IpAddr, known: IpAddr, to: IpAddr) -> Result<Case> {
    let rounds = size.of(500, 5_000);
    let server = Server::start(None, SocketAddr::new(bind, 0), known, ServerOptions::default())?;
    Ok(Case::on(server, Rule::Exact, move |server| exchange(SocketAddr::new(to, server.addr.port()), rounds)))
}

/// A server in a separate namespace. The servers of other namespaces have the same port.
fn apart(size: Size, index: u64) -> Result<Case> {
    let rounds = size.of(250, 2_500) * (index + 1);
    let namespace = Namespace::new()?;
    let server = Server::in_namespace(&namespace, ServerOptions::default())?;
    Ok(Case::on(server, Rule::Exact, move |server| {
        let driven = exchange(server.addr, rounds)?;
        Ok(WorkloadResult { note: format!("reached at {}", server.addr), ..driven })
    }))
}

/// Clients use another port, which the network translates before the server's socket.
fn published_port(size: Size) -> Result<Case> {
    const PUBLISHED: u16 = 8080;
    let rounds = size.of(100, 1_000);
    let (near, far) = (Namespace::new()?, Namespace::new()?);
    let server = Server::in_namespace(&far, ServerOptions::default())?;
    let ip = server.addr.ip();
    let network = relay::join(&near, &far, &ip.to_string(), NetworkFaults::default(), 1)?;
    near.nft(&format!(
        "table ip published {{\nchain out {{\ntype nat hook output priority -100;\n\
         ip daddr {ip} tcp dport {PUBLISHED} dnat to {}\n}}\n}}",
        server.addr
    ))?;
    Ok(Case::on(server, Rule::Exact, move |_| {
        let driven = near.run(|| exchange(SocketAddr::new(ip, PUBLISHED), rounds))??;
        Ok(WorkloadResult { note: network.words(), ..driven })
    }))
}

/// Two servers on one loopback address and port, in separate namespaces. The probe watches the one in its own.
fn same_loopback(size: Size) -> Result<Case> {
    let server = Server::on_loopback()?;
    both(size, server, Namespace::new()?)
}

/// The same, for an address that the probe reaches over a network.
fn same_address(size: Size) -> Result<Case> {
    let server = Server::in_namespace(&Namespace::new()?, ServerOptions::default())?;
    let other = Namespace::new()?;
    other.ip(&["addr", "add", &format!("{}/32", server.addr.ip()), "dev", "lo"])?;
    both(size, server, other)
}

/// Sends requests to `server`, and to another server at its address in the namespace `other`.
fn both(size: Size, server: Server, other: Namespace) -> Result<Case> {
    let rounds = size.of(250, 2_500);
    let addr = server.addr;
    Server::start(Some(&other), addr, addr.ip(), ServerOptions::default())?;
    Ok(Case::on(server, Rule::Exact, move |server| {
        let elsewhere = other.run(|| exchange(server.addr, rounds))??;
        let driven = exchange(server.addr, rounds)?;
        let foreign = elsewhere.sent.get + elsewhere.sent.set;
        Ok(WorkloadResult { note: format!("{foreign} more requests in the other namespace"), ..driven })
    }))
}

fn exchange(addr: SocketAddr, rounds: u64) -> Result<WorkloadResult> {
    let mut connection = Client::connect(addr)?;
    for _ in 0..rounds {
        connection.exchange(&get("a"))?;
        connection.exchange(&post(b"{}"))?;
    }
    Ok(Sent { get: rounds, set: rounds }.into())
}
