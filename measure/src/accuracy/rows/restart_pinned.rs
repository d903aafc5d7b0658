//! Probes with a pinned set start and stop under load, and the last one reports all requests.

use anyhow::{Context, Result};
use protocol::probe_api::ShardCounts;
use std::sync::atomic::AtomicBool;

use super::restart::{CLIENTS, Ends, all_sent, exchange_until, grown, only, verdict};
use crate::accuracy::bpffs::Bpffs;
use crate::accuracy::case::{Size, together};
use crate::accuracy::probe::Stage;
use crate::accuracy::report::Line;
use crate::accuracy::rule::{RowVerdict, unparsed_words};
use crate::accuracy::server::Server;

/// The row's name.
pub(crate) const NAME: &str = "probe restarted under load, pinned";

/// The counts of probes and server.
#[derive(Debug)]
struct Seen {
    /// The last probe's count at the end.
    last: ShardCounts,
    /// The server's count at the end.
    end: u64,
    /// Requests that the server counted while no probe ran.
    between: u64,
    /// The longest gap during a replacement of programs, in seconds.
    gap: f64,
    /// Whether every probe but the first adopted the pinned set.
    adopted: bool,
    /// Whether the last probe's own comparison agrees at the end.
    agrees: Option<bool>,
}

/// Runs the row.
pub(crate) fn run(stage: &Stage, size: Size) -> Result<Line> {
    let bpffs = Bpffs::mount()?;
    let server = Server::on_loopback()?;
    let enough = AtomicBool::new(false);
    let (restarts, wanted) = (size.of(3, 20), size.of(1_000, 5_000));
    std::thread::scope(|scope| {
        // Ends the clients, also after an error.
        let _ends = Ends(&enough);
        let begin = || scope.spawn(|| together(CLIENTS, |_| exchange_until(&server, &enough)));
        let seen = observe(
            stage,
            &server,
            &bpffs,
            (restarts, wanted),
            (begin, |load| all_sent(&enough, load, &server)),
        )?;
        Ok(line(&seen, restarts))
    })
}

fn observe<L>(
    stage: &Stage,
    server: &Server,
    bpffs: &Bpffs,
    (restarts, wanted): (u64, u64),
    (begin, all_sent): (impl FnOnce() -> L, impl FnOnce(L) -> Result<u64>),
) -> Result<Seen> {
    let grown = |by: u64| grown(stage, server, by);
    let folder = bpffs.folder();
    let mut probe = stage.start_pinned(&[server], &folder);
    let load = begin();
    grown(wanted)?;
    let (mut between, mut gap, mut adopted) = (0, 0.0_f64, true);
    for restart in 0..restarts {
        // Alternately by a signal and by a kill.
        if restart % 2 == 0 {
            probe.stop();
        } else {
            drop(probe);
        }
        let stopped = server.counts().get;
        grown(wanted)?;
        between += server.counts().get - stopped;
        probe = stage.start_pinned(&[server], &folder);
        let pinned = probe.status()?.counting.pinned.context("nothing is pinned")?;
        adopted &= pinned.adopted;
        gap = gap.max(pinned.gap_seconds);
        grown(wanted)?;
    }
    let end = all_sent(load)?;
    let agrees = verdict(stage, &probe);
    let last = only(&probe)?;
    probe.stop();
    Ok(Seen { last, end, between, gap, adopted, agrees })
}

fn line(seen: &Seen, restarts: u64) -> Line {
    let Seen { last, end, between, gap, adopted, agrees } = seen;
    let verdict = if !adopted {
        RowVerdict::Wrong("a probe did not adopt the pinned set".to_owned())
    } else if last.data() != *end {
        RowVerdict::Wrong(format!("the last probe reports {}, not {end}", last.data()))
    } else if last.unparsed_segments() > 0 {
        RowVerdict::Wrong(format!("unparsed: {}", unparsed_words(last)))
    } else if *agrees != Some(true) {
        RowVerdict::Wrong("the last probe does not agree with the server at rest".to_owned())
    } else {
        RowVerdict::Exact
    };
    Line {
        name: NAME.to_owned(),
        truth: Some(*end),
        counted: Some(last.data()),
        unparsed: last.unparsed_segments(),
        repeats: last.repeated_requests,
        agrees: *agrees,
        verdict,
        note: format!(
            "{restarts} restarts, every other one by a kill. {between} requests arrived while no probe ran. \
             Gap while programs were replaced: {gap} s"
        ),
    }
}
