//! Searches for a wrong count with `agrees: true`, by seeded random segments, valid and faulty.

use anyhow::{Result, bail};
use protocol::probe_api::{Comparison, ShardCounts};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::accuracy::case::Size;
use crate::accuracy::client::{get, post};
use crate::accuracy::keys;
use crate::accuracy::namespace::Namespace;
use crate::accuracy::probe::{Probe, Stage};
use crate::accuracy::raw_client::{ACKNOWLEDGE, FIN, RESET, RawClient, RawSegment};
use crate::accuracy::relay;
use crate::accuracy::report::Line;
use crate::accuracy::rule::RowVerdict;
use crate::accuracy::server::{Counts, Server, ServerOptions};

/// The row's name.
pub(crate) const NAME: &str = "search for a wrong agreement";

const OWN: &str = "10.182.0.1";
const PEER: &str = "10.182.0.2";

/// Number of requests, one at a time, at the end of a connection that is still open.
const LAST: usize = 3;

/// Largest number of segments of a connection. If it needs more, the row itself has an error.
const SEGMENTS: u32 = 2_000;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Number of servers that a probe watches. A server that has differed once cannot show a wrong agreement.
const SERVERS: usize = 32;

/// The result of the search.
#[derive(Debug, Default)]
struct Found {
    sequences: u64,
    agrees: u64,
    differs: u64,
    undecided: u64,
    truth: u64,
    counted: u64,
    repeats: u64,
    unparsed: BTreeMap<String, u64>,
    wrong: Option<String>,
}

/// Runs the row.
pub(crate) fn run(stage: &Stage, size: Size) -> Result<Line> {
    let sequences = match size {
        Size::Quick => 40,
        Size::Usual => 500,
        Size::Full => 10_000,
    };
    let namespace = Namespace::new()?;
    let ip = IpAddr::V4(namespace.join_ours()?);
    let tun = relay::device(&namespace, PEER, OWN)?;
    let mut found = Found::default();
    while found.sequences < sequences && found.wrong.is_none() {
        let options = ServerOptions { acknowledges_at_once: true, ..ServerOptions::default() };
        let start =
            || Server::start(Some(&namespace), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), ip, options);
        let servers = (0..SERVERS).map(|_| start()).collect::<Result<Vec<_>>>()?;
        search(stage, &servers, &tun, sequences, &mut found)?;
    }
    let unparsed: Vec<String> =
        found.unparsed.iter().map(|(reason, number)| format!("{number} {reason}")).collect();
    let note = format!(
        "{} sequences: the probe agreed {} times, differed {} times, and had no verdict {} times. Unparsed: {}",
        found.sequences,
        found.agrees,
        found.differs,
        found.undecided,
        unparsed.join(", ")
    );
    let verdict = match found.wrong {
        Some(wrong) => RowVerdict::Wrong(wrong),
        None if found.differs + found.undecided == 0 => RowVerdict::Exact,
        None => {
            RowVerdict::Explained("no agreement with a wrong count, and no count above the truth".to_owned())
        }
    };
    Ok(Line {
        name: NAME.to_owned(),
        truth: Some(found.truth),
        counted: Some(found.counted),
        unparsed: found.unparsed.values().sum(),
        repeats: found.repeats,
        agrees: Some(found.differs == 0),
        verdict,
        note,
    })
}

/// Runs sequences until all servers have differed, or all sequences have run.
fn search(stage: &Stage, servers: &[Server], tun: &File, sequences: u64, found: &mut Found) -> Result<()> {
    let probe = stage.start_probe(&servers.iter().collect::<Vec<_>>());
    let mut left: Vec<usize> = (0..servers.len()).collect();
    while found.sequences < sequences && found.wrong.is_none() && !left.is_empty() {
        let seed = found.sequences;
        let turn = seed as usize % left.len();
        let (index, server) = (left[turn], &servers[left[turn]]);
        let SocketAddr::V4(address) = server.addr else { bail!("the row needs IPv4") };
        let own = SocketAddrV4::new(OWN.parse()?, 20_000 + u16::try_from(seed % 40_000)?);
        converse(tun, own, address, seed)?;
        found.sequences += 1;
        let differs = check(stage, (&probe, index), server, found)?;
        if differs {
            left.remove(turn);
        }
        if let Some(wrong) = &mut found.wrong {
            *wrong = format!("sequence {seed}: {wrong}");
        }
    }
    for (index, (server, counted)) in servers.iter().zip(probe.counted()?).enumerate() {
        let truth = server.counts();
        found.truth += truth.data();
        found.counted += counted.data() - counted.never_read_requests;
        found.repeats += counted.repeated_requests;
        for (reason, number) in counted.unparsed.iter().filter(|(_, number)| **number > 0) {
            *found.unparsed.entry(reason.clone()).or_default() += number;
        }
        let lossless = truth.get == counted.requests.get;
        if let Err(wrong) = keys::compare(&server.keys(), &probe.keys(index)?, lossless) {
            found.wrong.get_or_insert(wrong);
        }
    }
    probe.stop();
    Ok(())
}

/// Compares at rest. Returns whether the probe reports a difference.
fn check(
    stage: &Stage,
    (probe, index): (&Probe<'_>, usize),
    server: &Server,
    found: &mut Found,
) -> Result<bool> {
    let mut reading = None;
    let rest = stage.until(Duration::from_secs(10), || {
        let truth = server.counts();
        let say = |error: anyhow::Error| error.to_string();
        let compared = probe.compared().map_err(say)?;
        let counted = probe.counted().map_err(say)?;
        let pair = compared.into_iter().nth(index).zip(counted.into_iter().nth(index));
        let (compared, counted) = pair.ok_or("the probe does not report the server")?;
        let now = server.counts();
        if (now.get, now.set) != (truth.get, truth.set) {
            return Err("the server is not at rest".to_owned());
        }
        // TCP may have accepted bytes that the server has not read yet.
        let is_settled = compared.agrees.is_some() && wrong(&truth, &counted, &compared).is_none();
        reading = Some((truth, counted, compared));
        if is_settled { Ok(()) } else { Err("no verdict, or a wrong one".to_owned()) }
    });
    let Some((truth, counted, compared)) = reading else {
        bail!("no reading: {}", rest.err().unwrap_or_default());
    };
    match compared.agrees {
        Some(true) => found.agrees += 1,
        Some(false) => found.differs += 1,
        None => found.undecided += 1,
    }
    found.wrong = wrong(&truth, &counted, &compared);
    Ok(compared.agrees != Some(true))
}

/// What is wrong with a comparison while no request is in flight: it agrees exactly with a wrong count, or the kernel
/// counted too many.
fn wrong(truth: &Counts, counted: &ShardCounts, compared: &Comparison) -> Option<String> {
    let read = counted.data() - counted.never_read_requests;
    let is_certain = compared.agrees == Some(true) && compared.bound == Some(0);
    if is_certain && read != truth.data() {
        return Some(format!("agrees with {read} counted, {} true", truth.data()));
    }
    let is_over = read > truth.data() + counted.aborted_requests;
    is_over.then(|| format!("{read} counted, {} true, {} aborted", truth.data(), counted.aborted_requests))
}

/// One connection with the faults of a seed.
fn converse(tun: &File, own: SocketAddrV4, peer: SocketAddrV4, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = RawClient::connect(tun, own, peer)?;
    // Payload in the last packet of the handshake does not belong to a connection yet.
    if random.u32(..20) > 0 {
        client.send(&RawSegment { flags: ACKNOWLEDGE, ..RawSegment::sound(0, &[]) })?;
    }
    let stream = Stream::new(&mut random);
    let length = stream.sound.len() as u32;
    let mut segments = 0;
    while client.acknowledged() < length && !client.is_ended() {
        segments += 1;
        if segments > SEGMENTS {
            bail!("sequence {seed}: {} of {length} bytes are acknowledged", client.acknowledged());
        }
        stream.send_one(&mut client, &mut random)?;
        let wait = if random.u32(..4) == 0 { 1 } else { 0 };
        client.receive(Duration::from_millis(wait))?;
    }
    let mut end = length;
    for _ in 0..LAST {
        if client.is_ended() {
            break;
        }
        let (request, before, start) = (get("last"), client.received(), Instant::now());
        // Earlier answers may still arrive. The last answer comes after them.
        client.send(&RawSegment::sound(end, &request))?;
        end += request.len() as u32;
        while (client.acknowledged() < end || client.received() == before) && !client.is_ended() {
            if start.elapsed() > ANSWER {
                bail!("sequence {seed}: no answer to a last request");
            }
            client.receive(Duration::from_millis(1))?;
        }
    }
    let flags = if random.bool() { FIN | ACKNOWLEDGE } else { RESET };
    client.receive(Duration::from_millis(1))?;
    client.send(&RawSegment { at: end, payload: &[], flags, is_damaged: false })?;
    client.receive(Duration::from_millis(1))
}

/// What a client sends.
struct Stream {
    /// The requests.
    sound: Vec<u8>,
    /// Requests with other keys of the same lengths, as another sender's bytes for the same sequence numbers.
    other: Vec<u8>,
    /// Requests that TCP must never deliver.
    never: Vec<u8>,
}

impl Stream {
    fn new(random: &mut fastrand::Rng) -> Self {
        let (mut sound, mut other) = (Vec::new(), Vec::new());
        for _ in 0..random.usize(1..12) {
            let length = random.usize(1..60);
            let key = |letter: &str| letter.repeat(length);
            let pair = match random.u32(..6) {
                0 => [post(key("b").as_bytes()), post(key("b").as_bytes())],
                1 => [control(&key("c")), control(&key("c"))],
                _ => [get(&key("s")), get(&key("o"))],
            };
            sound.extend(&pair[0]);
            other.extend(&pair[1]);
        }
        Self { sound, other, never: get("never-delivered").repeat(12) }
    }

    /// Sends a segment within the server's window, or outside of it.
    fn send_one(&self, client: &mut RawClient<'_>, random: &mut fastrand::Rng) -> Result<()> {
        let at = client.acknowledged();
        let never = &self.never[..random.usize(20..self.never.len())];
        let segment = match random.u32(..16) {
            0 => RawSegment { is_damaged: true, ..RawSegment::sound(at, never) },
            1 => RawSegment { is_damaged: true, ..self.part(&self.other, at, random) },
            2 => RawSegment::sound(at.wrapping_add(1 << 28), never),
            3 => RawSegment::sound(at.wrapping_sub(1 << 20), never),
            4 => RawSegment { flags: 0, ..RawSegment::sound(at, never) },
            5 => RawSegment { flags: RESET, ..RawSegment::sound(at.wrapping_add(1 << 28), never) },
            // Bytes that the server has already received.
            6 => self.part(&self.sound, at.saturating_sub(random.u32(..300)), random),
            // Bytes that arrive early.
            7 | 8 => self.part(&self.sound, at + random.u32(..300), random),
            // Other bytes with the same sequence numbers. TCP delivers one version.
            9 => self.part(&self.other, at + random.u32(..100), random),
            _ => self.part(&self.sound, at, random),
        };
        client.send(&segment)
    }

    /// A valid segment of random length that starts at `at`, or at the last byte if `at` is beyond it.
    fn part<'a>(&self, bytes: &'a [u8], at: u32, random: &mut fastrand::Rng) -> RawSegment<'a> {
        let from = (at as usize).min(self.sound.len() - 1);
        let to = (from + random.usize(1..500)).min(bytes.len());
        RawSegment::sound(from as u32, &bytes[from..to])
    }
}

fn control(trace: &str) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Trace: {trace}\r\n\r\n").into_bytes()
}
