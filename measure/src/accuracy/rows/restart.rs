//! One probe stops and another starts under load: no request is counted twice, and the gap is known.

use anyhow::{Context, Result, bail};
use protocol::probe_api::ShardCounts;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::accuracy::case::{Sent, Size, together};
use crate::accuracy::client::{Client, get};
use crate::accuracy::probe::{Probe, Stage};
use crate::accuracy::report::Line;
use crate::accuracy::rule::{RowVerdict, unparsed_words};
use crate::accuracy::server::Server;

/// The row's name.
pub(crate) const NAME: &str = "probe restarted under load";

pub(super) const CLIENTS: u64 = 4;

/// The counts of both probes and the server at the relevant moments.
#[derive(Debug)]
struct Moments {
    /// The server's count before the first probe was started, and when it was ready.
    at_start: (u64, u64),
    /// The first probe's last reading.
    first: u64,
    /// The server's count before and after that reading.
    at_first: (u64, u64),
    /// The server's count when the second probe was ready.
    at_second: u64,
    /// The second probe's count at the end.
    second: ShardCounts,
    /// The server's count at the end.
    end: u64,
    /// Whether the second probe's own comparison agrees at the end.
    agrees: Option<bool>,
}

/// Runs the row.
pub(crate) fn run(stage: &Stage, size: Size) -> Result<Line> {
    let server = Server::on_loopback()?;
    let enough = AtomicBool::new(false);
    let wanted = size.of(2_000, 20_000);
    std::thread::scope(|scope| {
        // Ends the clients, also after an error.
        let _ends = Ends(&enough);
        let load = scope.spawn(|| together(CLIENTS, |_| exchange_until(&server, &enough)));
        let moments = observe(stage, &server, wanted, || all_sent(&enough, load, &server))?;
        Ok(line(&moments))
    })
}

/// Ends the clients when dropped.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ends the clients, waits for them, and returns the server's count at rest.
pub(super) fn all_sent(
    enough: &AtomicBool,
    load: ScopedJoinHandle<'_, Result<Sent>>,
    server: &Server,
) -> Result<u64> {
    enough.store(true, Ordering::SeqCst);
    let Ok(sent) = load.join() else { bail!("a client panicked") };
    let (sent, end) = (sent?, server.counts().get);
    if sent.get != end {
        bail!("error in the suite: its clients sent {sent:?}, its server counted {end}");
    }
    Ok(end)
}

pub(super) fn exchange_until(server: &Server, enough: &AtomicBool) -> Result<Sent> {
    let mut connection = Client::connect(server.addr)?;
    let mut sent = Sent::default();
    while !enough.load(Ordering::SeqCst) {
        connection.exchange(&get("a"))?;
        sent.get += 1;
    }
    Ok(sent)
}

fn observe(
    stage: &Stage,
    server: &Server,
    wanted: u64,
    all_sent: impl FnOnce() -> Result<u64>,
) -> Result<Moments> {
    let grown = |by: u64| grown(stage, server, by);
    grown(1)?;
    let before = server.counts().get;
    let probe = stage.start_probe(&[server]);
    let at_start = (before, server.counts().get);
    grown(wanted)?;
    let before = server.counts().get;
    let first = only(&probe)?.data();
    let at_first = (before, server.counts().get);
    probe.stop();
    let probe = stage.start_probe(&[server]);
    let at_second = server.counts().get;
    grown(wanted)?;
    let end = all_sent()?;
    let agrees = verdict(stage, &probe);
    let second = only(&probe)?;
    probe.stop();
    Ok(Moments { at_start, first, at_first, at_second, second, end, agrees })
}

/// Waits until the server has answered this many more requests.
pub(super) fn grown(stage: &Stage, server: &Server, by: u64) -> Result<()> {
    let target = server.counts().get + by;
    let reached = stage.until(Duration::from_secs(60), || {
        let now = server.counts().get;
        if now >= target { Ok(()) } else { Err(format!("{now} of {target} requests")) }
    });
    reached.map_err(anyhow::Error::msg)
}

/// Whether the probe agrees with its only server; absent without a verdict within 10 s.
pub(super) fn verdict(stage: &Stage, probe: &Probe<'_>) -> Option<bool> {
    let agrees = stage.until(Duration::from_secs(10), || {
        let compared = probe.compared().map_err(|error| error.to_string())?;
        compared.first().and_then(|first| first.agrees).ok_or_else(|| "no verdict".to_owned())
    });
    agrees.ok()
}

pub(super) fn only(probe: &Probe<'_>) -> Result<ShardCounts> {
    probe.counted()?.into_iter().next().context("the probe reports no server")
}

fn line(moments: &Moments) -> Line {
    let Moments { at_start, first, at_first, at_second, second, end, agrees } = moments;
    let counted = first + second.data();
    // The exact moments of a probe's start and of a reading are unknown. At each of them, every client may have one
    // request that the kernel has seen and the server has not.
    let bounds =
        |from: (u64, u64), to: (u64, u64)| (to.0.saturating_sub(from.1 + CLIENTS), to.1 - from.0 + CLIENTS);
    let (first_least, first_most) = bounds(*at_start, *at_first);
    let (least, most) = bounds((at_first.0, *at_second), (*end, *end));
    let before_least = at_first.0.saturating_sub(*first);
    let gap = end.saturating_sub(before_least).saturating_sub(counted);
    let verdict = if *first < first_least || *first > first_most {
        RowVerdict::Wrong(format!("the first probe counted {first}, not {first_least} to {first_most}"))
    } else if second.data() < least || second.data() > most {
        RowVerdict::Wrong(format!("the second probe counted {}, not {least} to {most}", second.data()))
    } else if second.unparsed_segments() > CLIENTS {
        RowVerdict::Wrong(format!("unparsed: {}", unparsed_words(second)))
    } else if *agrees != Some(true) {
        RowVerdict::Wrong("the second probe does not agree with the server at rest".to_owned())
    } else {
        RowVerdict::Explained(format!(
            "{gap} requests arrived after the first probe's last reading and before the second was attached"
        ))
    };
    Line {
        name: NAME.to_owned(),
        truth: Some(end - before_least),
        counted: Some(counted),
        unparsed: second.unparsed_segments(),
        repeats: second.repeated_requests,
        agrees: *agrees,
        verdict,
        note: format!("{first} by the first probe, {} by the second", second.data()),
    }
}
