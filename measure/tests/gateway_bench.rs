//! The benchmark of the gateway runs against the peers that are installed.

use lab::{command, programs};
use lab_tests::{build, skip};
use measure::gateway_bench::{self, Options, Peers, Ratio, Row, TrafficPath};
use std::time::Instant;

const NAME: &str = "the_base_row_has_a_ratio_to_every_installed_peer";

#[test]
fn the_base_row_has_a_ratio_to_every_installed_peer() {
    let has = |name: &str| programs::find(name).is_some();
    let peers = || {
        if !command::is_root() {
            return Err("nginx's cache needs root to mount a tmpfs");
        }
        let peers = ["nginx", "haproxy", "varnishd"].into_iter().filter(|name| has(name)).count();
        if has("wrk") && peers > 0 { Ok(()) } else { Err("wrk or every peer is missing") }
    };
    if skip::unless(NAME, peers()).is_none() {
        return;
    }
    let options = Options {
        programs: build::folder(),
        peers: Peers::Servers,
        rows: vec![Row::Base],
        pairs: 1,
        slice_seconds: 1,
        open_loop_seconds: 0.2,
        warm_up: 200,
        seed: 1,
    };
    let started = Instant::now();
    let report = gateway_bench::run(&options, |what| println!("{what}")).unwrap();
    println!("{}\n{:?}", report.text(), started.elapsed());
    let found = |path: TrafficPath, peer: &str| {
        report.ratios().into_iter().find(|ratio| ratio.path == path && ratio.peer.name() == peer)
    };
    let is_number = |ratio: Ratio| {
        let p99 = ratio.p99.map_or(0.0, |p99| p99.median);
        [ratio.requests.median, ratio.cpu.median, p99].iter().all(|of| of.is_finite() && *of > 0.0)
    };
    for (path, peer, program) in [
        (TrafficPath::Proxied, "nginx", "nginx"),
        (TrafficPath::Proxied, "HAProxy", "haproxy"),
        (TrafficPath::Cached, "nginx", "nginx"),
        (TrafficPath::Cached, "Varnish", "varnishd"),
    ] {
        assert_eq!(found(path, peer).is_some_and(is_number), has(program), "{path:?} {peer}");
    }
    let files = report.files();
    assert!(files[0].content.contains("## Method") && files.len() == 5, "a page and four plots");
}
