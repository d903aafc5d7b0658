//! A load generator in one thread, with a constant rate or as fast as the server answers.
//!
//! wrk has no constant rate, so its latencies leave out the requests that it did not send in time. This client counts
//! a latency from the moment at which the request is due.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::signals;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

use super::answer::Answer;

/// The longest wait for any answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The kernel's default of 50 µs would add to each latency.
const TIMER_SLACK_NANOSECONDS: NonZeroU64 = NonZeroU64::MIN;

/// A request that leaves later than this although a connection is free is late.
const LATE: Duration = Duration::from_millis(1);

/// The answers of a run.
pub(super) struct Answered {
    /// In order of the answers.
    pub(super) latencies: Vec<Duration>,
    /// Requests that this client sent late by its own fault. Many of them make the latencies its own.
    pub(super) late: u64,
}

struct Connection {
    stream: TcpStream,
    /// The part of the answer that has arrived.
    answer: Vec<u8>,
    /// When the request in flight was due.
    due: Instant,
}

/// Sends a request for each of `dues` and returns their latencies. A request waits for a
/// connection without a request in flight; the wait counts as latency. `request` appends the bytes of a request, by
/// its number.
///
/// # Errors
/// When an answer is not 200 or does not arrive.
pub(super) fn run(
    address: SocketAddr,
    connections: usize,
    dues: impl Iterator<Item = Duration>,
    mut request: impl FnMut(u64, &mut Vec<u8>),
) -> Result<Answered> {
    rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NANOSECONDS))?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut all = (0..connections).map(|_| connect(address)).collect::<Result<Vec<_>>>()?;
    for (number, connection) in (0..).zip(&all) {
        epoll::add(&epoll, &connection.stream, EventData::new_u64(number), EventFlags::IN)?;
    }
    let start = Instant::now();
    let mut dues = dues.map(|due| start + due).peekable();
    let mut idle: Vec<usize> = (0..connections).collect();
    let mut events = Vec::with_capacity(connections.clamp(1, 1_024));
    let (mut sent, mut bytes, mut buffer) = (0, Vec::new(), vec![0; 1 << 16]);
    let (mut answered, mut last) = (Answered { latencies: Vec::new(), late: 0 }, start);
    // Since when a connection is free.
    let mut free_since = start;
    loop {
        let now = Instant::now();
        while let Some(due) = dues.next_if(|due| *due <= now && !idle.is_empty()) {
            let Some(connection) = idle.pop().and_then(|free| all.get_mut(free)) else { break };
            bytes.clear();
            request(sent, &mut bytes);
            sent += 1;
            connection.due = due;
            answered.late += u64::from(now.saturating_duration_since(due.max(free_since)) > LATE);
            connection.stream.write_all(&bytes).with_context(|| format!("a request to {address}"))?;
        }
        if idle.len() == connections && dues.peek().is_none() {
            return Ok(answered);
        }
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&Timespec::default()))?;
        if events.is_empty() {
            ensure!(idle.len() == connections || last.elapsed() < TIMEOUT, "{address} does not answer");
            let due = dues.peek().filter(|_| !idle.is_empty());
            wait(&epoll, due.map_or(TIMEOUT, |due| due.saturating_duration_since(now)))?;
        }
        for event in &events {
            let free = usize::try_from(event.data.u64())?;
            let Some(connection) = all.get_mut(free) else { continue };
            if connection.receive(&mut buffer).with_context(|| format!("an answer of {address}"))? {
                last = Instant::now();
                answered.latencies.push(last - connection.due);
                if idle.is_empty() {
                    free_since = last;
                }
                idle.push(free);
            }
        }
    }
}

/// Sends `requests` requests as fast as they are answered, for the keys 0 … `keys` − 1 in turn. `request` returns the
/// bytes of a request for a key.
///
/// # Errors
/// See [`run`]. Also after a signal to end.
pub(crate) fn in_turn(
    address: SocketAddr,
    connections: u32,
    requests: u32,
    keys: u32,
    request: impl Fn(u32) -> Vec<u8>,
) -> Result<()> {
    let dues = std::iter::repeat_n(Duration::ZERO, requests as usize);
    run(address, connections as usize, dues, |number, bytes| {
        let key = u32::try_from(number % u64::from(keys)).unwrap_or_default();
        bytes.extend(request(key));
    })?;
    signals::check()
}

/// Sends one request and returns its complete answer.
pub(super) fn exchange(address: SocketAddr, request: &[u8]) -> Result<(Answer, Vec<u8>)> {
    let mut connection = connect(address)?;
    let answer = connection.exchange(request)?;
    Ok((answer, connection.answer))
}

/// Returns a connection that is idle after one request.
pub(super) fn idle_connection(address: SocketAddr, request: &[u8]) -> Result<TcpStream> {
    let mut connection = connect(address)?;
    let answer = connection.exchange(request)?;
    ensure!(answer.status == 200, "{address} answers with status {}", answer.status);
    Ok(connection.stream)
}

fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(Connection { stream, answer: Vec::new(), due: Instant::now() })
}

fn wait(epoll: &OwnedFd, longest: Duration) -> Result<()> {
    let timeout = Timespec::try_from(longest)?;
    match poll(&mut [PollFd::new(epoll, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(answer) = self.read(&mut buffer)? {
                return Ok(answer);
            }
        }
    }

    /// Reads what has arrived. Returns whether the answer is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let Some(answer) = self.read(buffer)? else { return Ok(false) };
        let body = || String::from_utf8_lossy(self.answer.get(answer.head..).unwrap_or_default());
        ensure!(answer.status == 200, "status {}: {}", answer.status, body());
        ensure!(answer.bytes() == self.answer.len(), "more bytes than one answer");
        self.answer.clear();
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Answer>> {
        let length = self.stream.read(buffer)?;
        ensure!(length > 0, "the connection was closed");
        self.answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        Answer::parse(&self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn a_late_answer_delays_the_requests_behind_it() {
        const PAUSE: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..3 {
                assert_eq!(stream.read(&mut [0; 64]).unwrap(), 4);
                std::thread::park_timeout(PAUSE);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
        let dues = std::iter::repeat_n(Duration::ZERO, 3);
        let answered = run(address, 1, dues, |_, bytes| bytes.extend(b"ping")).unwrap();
        server.join().unwrap();
        let latencies = answered.latencies;
        assert_eq!((latencies.len(), answered.late), (3, 0));
        assert!((1..).zip(&latencies).all(|(place, latency)| *latency >= PAUSE * place), "{latencies:?}");
    }
}
