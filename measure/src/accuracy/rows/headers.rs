//! IP options, IPv6 extension headers, and packets of more than 64 KB.

use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::accuracy::case::{Case, Row, Sent, Size, WorkloadResult};
use crate::accuracy::client::{Client, get};
use crate::accuracy::namespace::Namespace;
use crate::accuracy::rule::Rule;
use crate::accuracy::server::{Server, ServerOptions};

/// A socket option by level and name.
type SocketOption = (i32, i32);

/// An IPv6 options header of 8 bytes: the next header, no further words, an unknown option to be skipped.
const SKIPPED: &[u8] = &[0, 0, 0x1e, 4, 0, 0, 0, 0];
const NOPS: &[u8] = &[1; 4];
/// Record route, with room for nine addresses.
const RECORD_ROUTE: &[u8] = &{
    let mut option = [0; 40];
    (option[0], option[1], option[2]) = (7, 39, 4);
    option
};

pub(super) fn rows() -> Vec<Row> {
    let options: [(&str, SocketOption, &[u8]); 4] = [
        ("IPv4 options: NOPs", (libc::IPPROTO_IP, libc::IP_OPTIONS), NOPS),
        ("IPv4 options: record route", (libc::IPPROTO_IP, libc::IP_OPTIONS), RECORD_ROUTE),
        ("IPv6 destination options", (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS), SKIPPED),
        ("IPv6 hop-by-hop options", (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS), SKIPPED),
    ];
    let options = options
        .into_iter()
        .map(|(name, option, value)| Row::new(name, move |size| with_option(size, option, value)));
    let big = [("BIG TCP, IPv4", false), ("BIG TCP, IPv6", true)];
    let big = big.into_iter().map(|(name, v6)| Row::new(name, move |size| big_tcp(size, v6)));
    options.chain(big).collect()
}

fn with_option(size: Size, option: SocketOption, value: &'static [u8]) -> Result<Case> {
    let ip = if option.0 == libc::IPPROTO_IPV6 {
        IpAddr::from(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    };
    let connections = size.of(20, 200);
    let server = Server::start(None, SocketAddr::new(ip, 0), ip, ServerOptions::default())?;
    let rule = Rule::NeverOver { heads_per_segment: 1, why: "a header that the programs cannot follow" };
    Ok(Case::on(server, rule, move |server| {
        for _ in 0..connections {
            let mut client = Client::connect_with(server.addr, option, value)?;
            client.exchange(&get("first"))?;
            client.exchange(&get("second"))?;
        }
        Ok(Sent { get: 2 * connections, set: 0 }.into())
    }))
}

/// Segment batches of up to 256 KB, which exist within a machine or between large adapters.
fn big_tcp(size: Size, v6: bool) -> Result<Case> {
    const REQUESTS: u64 = 4_000;
    const TABLE: &str = "inet big";
    let namespace = Namespace::new()?;
    // With Ethernet's MTU there are segments to batch.
    namespace.ip(&["link", "set", "lo", "mtu", "1500"])?;
    namespace.allow_big_tcp("lo")?;
    namespace.nft(&format!(
        "table {TABLE} {{\nchain big {{\ntype filter hook output priority 0;\ntcp dport 9000 meta length > 65535 counter\n}}\n}}"
    ))?;
    let server = if v6 {
        Server::in_namespace_v6(&namespace, ServerOptions::default())?
    } else {
        Server::in_namespace(&namespace, ServerOptions::default())?
    };
    let rounds = size.of(5, 50);
    Ok(Case::on(server, Rule::Exact, move |server| {
        let mut client = Client::connect_in(&namespace, server.addr)?;
        let batch = get("as-long-as-a-key-of-a-user-may-be").repeat(REQUESTS as usize);
        for _ in 0..rounds {
            client.send(&batch)?;
            client.answers(REQUESTS)?;
        }
        let listing = namespace.nft(&format!("list table {TABLE}"))?;
        let packets = listing.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
        let packets: u64 = packets.context("no counter")?.parse()?;
        if packets == 0 {
            bail!("no packet was larger than 65,535 bytes");
        }
        let sent = Sent { get: REQUESTS * rounds, set: 0 };
        Ok(WorkloadResult { note: format!("{packets} packets of more than 65,535 bytes"), ..sent.into() })
    }))
}
