//! Tests single packets through the programs, without a network.
//!
//! Every packet has a new socket here.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use aya::programs::{CgroupSkb, TestRun, TestRunOptions};
use probe::kernel::endpoints::EndpointsMap;
use probe::kernel::object;
use probe::kernel::object::Switches;
use probe::kernel::ports::PortsMap;
use probe::signal::requests::RequestsMap;
use probe::signal::traffic::TrafficMap;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::requests::{REASONS, Reason, Requests};
use probe_common::traffic::Traffic;

use crate::harness::{get, post, privileges};

const PORT: u16 = 9000;
const SHARD: u32 = 3;
const V4: [u8; 4] = [10, 1, 2, 3];
const V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

/// Length of the Ethernet header in front of every packet.
const ETHERNET: usize = 14;

/// The loaded programs, watching one shard at an IPv4 and an IPv6 address.
struct Programs {
    ebpf: Ebpf,
    requests: RequestsMap,
    traffic: TrafficMap,
}

impl Programs {
    fn load() -> Self {
        let mut ebpf = object::load(object::embedded().unwrap(), Switches::default()).unwrap();
        for name in ["ingress", "egress"] {
            program(&mut ebpf, name).load().unwrap();
        }
        let mut shards: aya::maps::HashMap<_, Endpoint, Listener> =
            ebpf.take_map("SHARDS").unwrap().try_into().unwrap();
        let endpoints = BTreeMap::from([(Endpoint::v4(V4, PORT), SHARD), (Endpoint::v6(V6, PORT), SHARD)]);
        let mut ports = PortsMap::new(ebpf.take_map(PortsMap::NAME).unwrap()).unwrap();
        ports.set(endpoints.keys()).unwrap();
        for (endpoint, shard) in endpoints {
            shards.insert(endpoint, Listener::anywhere(shard), 0).unwrap();
        }
        let requests =
            RequestsMap::new(ebpf.take_map(RequestsMap::NAME).unwrap(), RequestsMap::NAME).unwrap();
        let traffic = TrafficMap::new(ebpf.take_map(TrafficMap::NAME).unwrap(), TrafficMap::NAME).unwrap();
        Self { ebpf, requests, traffic }
    }

    /// Runs a program on one packet, which must pass unchanged.
    fn run(&mut self, name: &str, packet: &[u8]) {
        let mut out = vec![0; packet.len() + 64];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = program(&mut self.ebpf, name).test_run(options).unwrap();
        assert_eq!(result.return_value, 1, "a packet was dropped");
        // The kernel overwrites the Ethernet header with zeros.
        let length = result.data_size_out as usize;
        assert_eq!(out[ETHERNET..length], packet[ETHERNET..], "a packet was changed");
    }

    fn counts(&self) -> (Requests, Traffic) {
        (self.requests.read(SHARD).unwrap(), self.traffic.read(SHARD).unwrap())
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut CgroupSkb {
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

/// A packet with this payload. The kernel expects an Ethernet header and removes it.
fn packet(from: (Endpoint, u16), to: (Endpoint, u16), payload: &[u8]) -> Vec<u8> {
    let tcp_length = 20 + payload.len() as u16;
    let mapped = |endpoint: Endpoint| {
        endpoint.address.starts_with(Endpoint::v4([0; 4], 0).address.first_chunk::<12>().unwrap())
    };
    let mut packet = vec![0; 12];
    if mapped(from.0) {
        packet.extend([8, 0, 0x45, 0]);
        packet.extend((20 + tcp_length).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(&from.0.address[12..]);
        packet.extend(&to.0.address[12..]);
    } else {
        packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        packet.extend(tcp_length.to_be_bytes());
        packet.extend([6, 64]);
        packet.extend(from.0.address);
        packet.extend(to.0.address);
    }
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

fn v4(host: [u8; 4]) -> Endpoint {
    Endpoint::v4(host, 0)
}

fn to_shard(payload: &[u8]) -> Vec<u8> {
    packet((v4([10, 9, 9, 9]), 40_000), (v4(V4), PORT), payload)
}

fn from_shard(payload: &[u8]) -> Vec<u8> {
    packet((v4(V4), PORT), (v4([10, 9, 9, 9]), 40_000), payload)
}

#[test]
fn packets_of_a_shard_are_counted_in_bytes_and_packets() {
    if !privileges("packets_of_a_shard_are_counted_in_bytes_and_packets") {
        return;
    }
    let mut programs = Programs::load();
    programs.run("ingress", &to_shard(b""));
    programs.run("ingress", &to_shard(&get("abc")));
    programs.run("egress", &from_shard(&[7; 1000]));
    let (_, traffic) = programs.counts();
    let length = get("abc").len() as u64;
    assert_eq!(
        (traffic.receive.payload_bytes, traffic.receive.ip_bytes, traffic.receive.packets),
        (length, length + 80, 2)
    );
    assert_eq!(
        (traffic.transmit.payload_bytes, traffic.transmit.ip_bytes, traffic.transmit.packets),
        (1000, 1040, 1)
    );
}

#[test]
fn headers_with_options_are_followed() {
    if !privileges("headers_with_options_are_followed") {
        return;
    }
    let mut programs = Programs::load();
    let with_options = |packet: &[u8]| {
        let (head, tail) = packet.split_at(ETHERNET + 20);
        let mut packet = [head, &[1; 8], tail].concat();
        packet[ETHERNET] = 0x47;
        packet
    };
    programs.run("ingress", &with_options(&to_shard(&get("abc"))));
    programs.run("egress", &with_options(&from_shard(&[7; 1000])));
    // Another port of the shard's address.
    let elsewhere = packet((v4([10, 9, 9, 9]), 40_000), (v4(V4), PORT + 1), &get("abc"));
    programs.run("ingress", &with_options(&elsewhere));
    let (requests, traffic) = programs.counts();
    assert_eq!((requests.get, traffic.receive.packets, traffic.transmit.packets), (1, 1, 1));
    let length = get("abc").len() as u64;
    assert_eq!((traffic.receive.payload_bytes, traffic.transmit.payload_bytes), (length, 1000));
}

#[test]
fn only_the_servers_side_of_a_shards_own_address_counts() {
    if !privileges("only_the_servers_side_of_a_shards_own_address_counts") {
        return;
    }
    let mut programs = Programs::load();
    let payload = get("abc");
    let client = (v4([10, 9, 9, 9]), 40_000);
    // Packets to ignore: the client's side of the same connection, another port, another address with the shard's
    // port, another protocol.
    programs.run("egress", &to_shard(&payload));
    programs.run("ingress", &from_shard(&payload));
    programs.run("ingress", &packet(client, (v4(V4), PORT + 1), &payload));
    programs.run("ingress", &packet(client, (v4([10, 1, 2, 4]), PORT), &payload));
    let mut udp = to_shard(&payload);
    udp[ETHERNET + 9] = 17;
    programs.run("ingress", &udp);
    assert_eq!(programs.counts(), (Requests::default(), Traffic::default()));
}

#[test]
fn heads_are_counted_by_kind_over_both_families() {
    if !privileges("heads_are_counted_by_kind_over_both_families") {
        return;
    }
    let mut programs = Programs::load();
    let v6 =
        |payload: &[u8]| packet((Endpoint::v6([9; 16], 0), 40_000), (Endpoint::v6(V6, 0), PORT), payload);
    programs.run("ingress", &to_shard(&get("abc")));
    programs.run("ingress", &v6(&get("abc?x=1")));
    programs.run("ingress", &v6(&post(b"{}")));
    programs.run("ingress", &to_shard(b"GET /stats HTTP/1.1\r\n\r\n"));
    // Every packet has a new socket, so the rest of an incomplete head never arrives.
    programs.run("ingress", &to_shard(b"GET /data/abc HTTP/1.1\r\nhost: x\r\n"));
    let (requests, _) = programs.counts();
    assert_eq!((requests.get, requests.set, requests.control, requests.unparsed), (2, 1, 1, [0; REASONS]));
}

#[test]
fn pipelines_across_many_windows_are_counted() {
    if !privileges("pipelines_across_many_windows_are_counted") {
        return;
    }
    let mut programs = Programs::load();
    let mut expected = 0;
    for depth in 1..=64 {
        let requests: Vec<u8> = (0..depth).flat_map(|n| get(&"k".repeat(n % 19 + 1))).collect();
        // The kernel's test packets are limited to a page.
        if requests.len() < 3_500 {
            programs.run("ingress", &to_shard(&requests));
            expected += depth as u64;
        }
    }
    assert!(expected > 500, "{expected}");
    assert_eq!(programs.counts().0.get, expected);
}

#[test]
fn what_cannot_be_parsed_is_counted_by_reason() {
    if !privileges("what_cannot_be_parsed_is_counted_by_reason") {
        return;
    }
    let mut programs = Programs::load();
    programs.run("ingress", &to_shard(b"the middle of a body"));
    programs.run("ingress", &to_shard(b"GET /data/abc HTTP/2.0\r\n\r\n"));
    programs.run("ingress", &to_shard(b"POST /data HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
    let (requests, _) = programs.counts();
    for reason in [Reason::Joined, Reason::Malformed, Reason::Chunked] {
        assert_eq!(requests.unparsed[reason as usize], 1, "{}", reason.name());
    }
    assert_eq!((requests.unparsed.iter().sum::<u64>(), requests.set), (3, 1));
}

#[test]
fn nothing_a_packet_holds_makes_a_program_drop_it() {
    if !privileges("nothing_a_packet_holds_makes_a_program_drop_it") {
        return;
    }
    let mut programs = Programs::load();
    for length in [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 511, 512, 1_500] {
        for byte in [0, b'G', b'\r', b'\n', 0xff] {
            programs.run("ingress", &to_shard(&vec![byte; length]));
            programs.run("egress", &from_shard(&vec![byte; length]));
        }
    }
    // Header lengths that point past the packet's end.
    let mut short = to_shard(b"");
    short[ETHERNET + 20 + 12] = 0xf0;
    programs.run("ingress", &short);
    programs.run("egress", &short);
    let mut options = to_shard(&get("abc"));
    options[ETHERNET] = 0x4f;
    programs.run("ingress", &options);
}

#[test]
fn what_sockets_keep_is_void_after_a_probe_that_may_not_have_said_so() {
    if !privileges("what_sockets_keep_is_void_after_a_probe_that_may_not_have_said_so") {
        return;
    }
    let endpoints = BTreeMap::from([(Endpoint::v4(V4, PORT), Listener::anywhere(SHARD))]);
    let mut ebpf = object::load(object::embedded().unwrap(), Switches::default()).unwrap();
    let changes = ebpf.take_map(EndpointsMap::CHANGES).unwrap();
    let Map::Array(data) = &changes else { panic!("{changes:?}") };
    let seen: Array<_, u32> =
        Map::Array(MapData::from_id(data.info().unwrap().id()).unwrap()).try_into().unwrap();
    let mut shards = ebpf.take_map(EndpointsMap::NAME).unwrap();
    let mut before: aya::maps::HashMap<_, Endpoint, Listener> = (&mut shards).try_into().unwrap();
    // An earlier probe added this entry and ended.
    before.insert(Endpoint::v4(V4, PORT), Listener::anywhere(SHARD), 0).unwrap();
    let mut map = EndpointsMap::new(shards, changes).unwrap();
    assert_eq!((map.watched(), seen.get(&0, 0).unwrap()), (&endpoints, 0));
    map.set(&endpoints).unwrap();
    assert_eq!(seen.get(&0, 0).unwrap(), 1);
    // Nothing has changed since then.
    map.set(&endpoints).unwrap();
    assert_eq!(seen.get(&0, 0).unwrap(), 1);
    map.set(&BTreeMap::new()).unwrap();
    assert_eq!((map.watched().len(), seen.get(&0, 0).unwrap()), (0, 2));
}

#[test]
fn the_verifiers_limit_is_far() {
    if !privileges("the_verifiers_limit_is_far") {
        return;
    }
    // `BPF_COMPLEXITY_LIMIT_INSNS`: the maximum number of instructions that the verifier processes.
    const LIMIT: u32 = 1_000_000;
    let mut programs = Programs::load();
    for name in ["ingress", "egress"] {
        let looked_at =
            program(&mut programs.ebpf, name).info().unwrap().verified_instruction_count().unwrap();
        println!("{name}: {looked_at} instructions verified");
        assert!(looked_at < LIMIT / 2, "{name}: {looked_at}");
    }
}
