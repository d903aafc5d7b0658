//! Compares the kernel programs' byte counts with nftables counters.
//!
//! Both count an skb from its IP header. On connections that stay open, two identities are exact. nftables bytes
//! equal the probe's IP bytes. IP bytes equal payload + 52 × skbs (20 IP, 20 TCP, 12 timestamps), while no SACK is
//! sent.
//!
//! nftables also counts segments of sockets in `TIME_WAIT`, which are no longer full sockets. A cgroup's programs do
//! not see these.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use lab_tests::nft::Counters;
use serde_json::Value;

/// IP and TCP headers with timestamps, without SACK, in bytes.
const HEADERS: u64 = 20 + 20 + 12;

async fn shards(lab: &Lab) -> Vec<Value> {
    lab.probe_json("/api/shards").await["shards"].as_array().cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probes_bytes_are_those_of_nftables() {
    if !kernel::available("the_probes_bytes_are_those_of_nftables") {
        return;
    }
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    // Opens the gateway's connections first. None may open or close while both witnesses count.
    lab.load(&["saturate", "--connections", "8", "--requests", "4000"]).await;
    lab.agreed().await;
    let ports: Vec<u16> = lab.shard_addrs().iter().map(std::net::SocketAddr::port).collect();
    let nft = Counters::start(&ports).unwrap();
    let before = shards(&lab).await;
    let nft_before: Vec<_> = ports.iter().map(|port| nft.read(*port).unwrap()).collect();
    lab.load(&["saturate", "--connections", "8", "--requests", "20000"]).await;
    lab.agreed().await;
    let after = shards(&lab).await;
    for id in 0..SHARDS {
        let (received, sent) = nft.read(ports[id]).unwrap();
        for (direction, now, then) in
            [("receive", received, nft_before[id].0), ("transmit", sent, nft_before[id].1)]
        {
            let grown = |family: &str| {
                let value = |shards: &[Value]| shards[id][family][direction].as_u64().unwrap();
                value(&after) - value(&before)
            };
            let (payload, ip) = (grown("payload_bytes"), grown("ip_bytes"));
            let (nft_bytes, nft_packets) = (now.bytes - then.bytes, now.packets - then.packets);
            // The polls of /stats before and after the readings are also traffic, a few kB at most.
            let residual = nft_bytes.abs_diff(ip);
            assert!(payload > 100_000, "there was traffic");
            assert!(residual <= 4_000, "shard {id} {direction}: {nft_bytes} by nftables, {ip} by the probe");
            let unexplained = nft_bytes.abs_diff(payload + HEADERS * nft_packets);
            println!(
                "shard {id} {direction}: payload {payload} + headers {} = nftables {nft_bytes} - {unexplained}; \
                 IP {ip} = nftables - {residual}",
                HEADERS * nft_packets
            );
            assert!(
                unexplained <= 4_000,
                "shard {id} {direction}: {unexplained} bytes are neither payload nor headers"
            );
        }
    }
}
