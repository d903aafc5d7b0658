//! A bad network: two TUN devices in two namespaces, and between them a seeded relay that loses, duplicates and
//! reorders packets. SYN packets always pass. The last packet of a handshake may be affected.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use super::namespace::Namespace;
use super::pinned_thread::PinnedThread;

/// Faults of the network, each in percent of the packets of a direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFaults {
    /// Never arrives.
    pub loss: u32,
    /// Arrives twice.
    pub duplication: u32,
    /// Arrives after one to three later packets, if there are any soon.
    pub reordering: u32,
    /// Whether two CPUs deliver the packets of each direction at the same time.
    pub parallel: bool,
}

/// Counts of the network's faults, both directions together.
#[derive(Debug, Default)]
pub struct RelayCounters {
    packets: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
}

impl RelayCounters {
    /// Returns the counts in words.
    pub fn words(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        format!(
            "Relay: {} packets, {} lost, {} duplicated, {} reordered",
            of(&self.packets),
            of(&self.lost),
            of(&self.duplicated),
            of(&self.reordered)
        )
    }
}

/// Longest time that a packet is held back if no other follows.
const HOLD: Duration = Duration::from_millis(5);

/// Ethernet's usual MTU.
const PACKET: usize = 1500;

/// Connects `client` to `server` by a network with these faults. `route` is the server's address on it. The network
/// exists until the process ends.
///
/// # Errors
/// When the devices cannot be created.
pub fn join(
    client: &Namespace,
    server: &Namespace,
    route: &str,
    faults: NetworkFaults,
    seed: u64,
) -> Result<Arc<RelayCounters>> {
    const CLIENT: &str = "10.181.0.1";
    const SERVER: &str = "10.181.0.2";
    let near = device(client, CLIENT, SERVER)?;
    let far = device(server, SERVER, CLIENT)?;
    client.ip(&["route", "replace", SERVER, "dev", "bad0", "rto_min", "20ms"])?;
    server.ip(&["route", "replace", CLIENT, "dev", "bad0", "rto_min", "20ms"])?;
    client.ip(&["route", "add", route, "dev", "bad0", "rto_min", "20ms"])?;
    let done = Arc::new(RelayCounters::default());
    for (from, to, seed) in [(&near, &far, seed), (&far, &near, !seed)] {
        let (from, to, done) = (from.try_clone()?, to.try_clone()?, Arc::clone(&done));
        let (sender, packets) = mpsc::channel();
        std::thread::spawn(move || read(from, &sender));
        let cpus = if faults.parallel { 0..2 } else { 0..0 };
        let writers = cpus.map(|cpu| writer(to.try_clone()?, cpu)).collect::<Result<_>>()?;
        let random = fastrand::Rng::with_seed(seed);
        let direction = Direction { to, faults, random, writers, turn: 0, held: Vec::new(), done };
        std::thread::spawn(move || direction.run(&packets));
    }
    Ok(done)
}

/// Creates a TUN device in a namespace. A read of the file returns one packet, and a write delivers one.
pub(super) fn device(namespace: &Namespace, own: &str, peer: &str) -> Result<File> {
    let file = namespace.run(|| -> Result<File> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
        // `struct ifreq`: the name, then the flags.
        let mut request = [0_u8; 40];
        request[..4].copy_from_slice(b"bad0");
        let flags = u16::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which has 40 bytes.
        #[expect(unsafe_code, reason = "a TUN device is made by ioctl")]
        let failed = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
        if failed != 0 {
            bail!("no TUN device: {}", std::io::Error::last_os_error());
        }
        Ok(file)
    })??;
    namespace.ip(&["addr", "add", own, "peer", peer, "dev", "bad0"])?;
    namespace.ip(&["link", "set", "bad0", "up", "mtu", &PACKET.to_string()])?;
    Ok(file)
}

/// A thread on one CPU that writes packets to a device.
fn writer(mut to: File, cpu: usize) -> Result<mpsc::Sender<Vec<u8>>> {
    let (sender, packets) = mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || -> Result<()> {
        let _here = PinnedThread::on(cpu)?;
        for packet in packets {
            // A full device drops the packet.
            let _ = to.write(&packet);
        }
        Ok(())
    });
    Ok(sender)
}

fn read(mut from: File, packets: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0; PACKET];
    while let Ok(length) = from.read(&mut buffer) {
        if packets.send(buffer[..length].to_vec()).is_err() {
            return;
        }
    }
}

struct Direction {
    to: File,
    faults: NetworkFaults,
    random: fastrand::Rng,
    /// Threads, each on one CPU, that deliver in turn. Without any, this thread delivers.
    writers: Vec<mpsc::Sender<Vec<u8>>>,
    turn: usize,
    /// Packets held back, each with the number of packets that must leave before it.
    held: Vec<(u64, Vec<u8>)>,
    done: Arc<RelayCounters>,
}

impl Direction {
    fn run(mut self, packets: &Receiver<Vec<u8>>) {
        loop {
            match packets.recv_timeout(HOLD) {
                Ok(packet) => self.carry(packet),
                Err(RecvTimeoutError::Timeout) => {
                    for (_, packet) in std::mem::take(&mut self.held) {
                        self.deliver(&packet);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry(&mut self, packet: Vec<u8>) {
        self.done.packets.fetch_add(1, Ordering::SeqCst);
        // A lost SYN affects no payload, and its timers of seconds would dominate the run.
        if is_syn(&packet) {
            self.deliver(&packet);
            return;
        }
        if self.chance(self.faults.loss) {
            self.done.lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if self.chance(self.faults.reordering) {
            self.held.push((self.random.u64(1..=3), packet));
            return;
        }
        self.deliver(&packet);
        if self.chance(self.faults.duplication) {
            self.done.duplicated.fetch_add(1, Ordering::SeqCst);
            self.deliver(&packet);
        }
        let mut due = Vec::new();
        for (to_go, held) in std::mem::take(&mut self.held) {
            if to_go <= 1 {
                due.push(held);
            } else {
                self.held.push((to_go - 1, held));
            }
        }
        for packet in due {
            self.done.reordered.fetch_add(1, Ordering::SeqCst);
            self.deliver(&packet);
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn deliver(&mut self, packet: &[u8]) {
        if self.writers.is_empty() {
            // A full device drops the packet, and TCP retransmits it.
            let _ = self.to.write(packet);
        } else {
            self.turn = (self.turn + 1) % self.writers.len();
            let _ = self.writers[self.turn].send(packet.to_vec());
        }
    }
}

/// Whether an IPv4 packet is a TCP packet with SYN (RFC 9293, section 3.1).
fn is_syn(packet: &[u8]) -> bool {
    let Some(first) = packet.first().filter(|first| *first >> 4 == 4) else { return false };
    let flags = packet.get(usize::from(first & 15) * 4 + 13);
    packet.get(9) == Some(&6) && flags.is_some_and(|flags| flags & 2 != 0)
}
