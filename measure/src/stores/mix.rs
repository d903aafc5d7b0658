//! A load of all commands for a cluster. Its clients follow redirections and count what each node answered.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::signals;
use parking_lot::{Mutex, RwLock};
use store::reply::Reply;
use store::slot::{SLOTS, slot};

use super::connection::{Connection, command};
use super::unit::{self, Unit};

/// Number of hash tags, and thereby of groups of keys.
const TAGS: usize = 2_000;

/// Commands in one write, about.
const DEPTHS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Attempts for one unit that is redirected.
const ATTEMPTS: u32 = 8;

/// Answered commands by node and name.
pub(crate) type Answered = BTreeMap<(SocketAddr, &'static str), u64>;

/// What a load has done.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// Answered commands.
    pub(crate) answered: Answered,
    /// Answers that were MOVED.
    pub(crate) moved: u64,
    /// Answers that were ASK.
    pub(crate) ask: u64,
    /// Transactions that were not executed because one of their commands was redirected.
    pub(crate) aborted: u64,
    /// Commands without an answer: their node had died.
    pub(crate) lost: u64,
    /// Payload bytes that TCP sent twice, by node.
    pub(crate) repeated: BTreeMap<SocketAddr, u64>,
}

impl Driven {
    /// All answered commands.
    pub(crate) fn total(&self) -> u64 {
        self.answered.values().sum()
    }
}

/// The cluster as its clients know it.
pub(crate) struct Mix {
    seeds: Vec<SocketAddr>,
    /// By slot.
    owners: RwLock<Vec<Option<SocketAddr>>>,
    /// Commands that remain.
    left: AtomicU64,
    /// Whether the cluster changes no more.
    is_over: AtomicBool,
    driven: Mutex<Driven>,
}

impl Mix {
    /// A load of so many commands on the cluster of these nodes.
    pub(crate) fn new(seeds: Vec<SocketAddr>, commands: u64) -> Result<Self> {
        let owners = RwLock::new(vec![None; usize::from(SLOTS)]);
        let mix = Self {
            seeds,
            owners,
            left: AtomicU64::new(commands),
            is_over: AtomicBool::new(false),
            driven: Mutex::default(),
        };
        mix.learn().context("no node reports its slots")?;
        Ok(mix)
    }

    /// Lets the clients end once no command remains.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Sends with one client until no command remains and the cluster changes no more.
    pub(crate) fn drive(&self, seed: u64) -> Result<()> {
        let mut client = Client { mix: self, rng: fastrand::Rng::with_seed(seed), open: HashMap::new() };
        while self.left.load(Ordering::Relaxed) > 0 || !self.is_over.load(Ordering::Relaxed) {
            client.batch()?;
        }
        for (address, connection) in &client.open {
            *self.driven.lock().repeated.entry(*address).or_default() += connection.repeated_bytes();
        }
        Ok(())
    }

    /// What all clients have done.
    pub(crate) fn driven(self) -> Driven {
        self.driven.into_inner()
    }

    fn owner(&self, tag: usize) -> Option<SocketAddr> {
        let slot = usize::from(slot(tag.to_string().as_bytes()));
        self.owners.read().get(slot).copied().flatten()
    }

    /// Reads the owners of all slots from the first node that answers.
    fn learn(&self) -> Option<()> {
        let mut known: Vec<SocketAddr> = self.owners.read().iter().flatten().copied().collect();
        known.extend(&self.seeds);
        known.sort_unstable();
        known.dedup();
        let ranges = known.into_iter().find_map(|address| {
            let reply = Connection::open(address).ok()?.call(&["CLUSTER", "SLOTS"]).ok()?;
            reply.list().filter(|list| !list.is_empty()).map(<[Reply]>::to_vec)
        })?;
        let mut owners = self.owners.write();
        for range in &ranges {
            let [first, last, primary, ..] = range.list()? else { continue };
            let primary = primary.list()?;
            let address = format!("{}:{}", primary.first()?.text()?, primary.get(1)?.integer()?);
            let address = address.parse().ok()?;
            for slot in first.integer()?..=last.integer()? {
                *owners.get_mut(usize::try_from(slot).ok()?)? = Some(address);
            }
        }
        Some(())
    }
}

/// Where a command must go instead.
enum Redirected {
    Moved(SocketAddr),
    Ask(SocketAddr),
    Later,
}

fn redirected(reply: &Reply) -> Option<Redirected> {
    let Reply::Error(text) = reply else { return None };
    let mut words = text.split(' ');
    match (words.next()?, words.nth(1).and_then(|address| address.parse().ok())) {
        ("MOVED", Some(address)) => Some(Redirected::Moved(address)),
        ("ASK", Some(address)) => Some(Redirected::Ask(address)),
        ("TRYAGAIN" | "CLUSTERDOWN" | "READONLY", _) => Some(Redirected::Later),
        _ => None,
    }
}

/// One client, with a connection to each node.
struct Client<'a> {
    mix: &'a Mix,
    rng: fastrand::Rng,
    open: HashMap<SocketAddr, Connection>,
}

/// How often another tag of the same node is drawn. A node owns a third of them.
const DRAWS: usize = 32;

impl Client<'_> {
    /// Sends a pipeline to one node, then what was redirected, one unit at a time.
    fn batch(&mut self) -> Result<()> {
        let depth = *self.rng.choice(&DEPTHS).context("a depth")?;
        let first = self.rng.usize(..TAGS);
        let Some(node) = self.mix.owner(first) else {
            self.pause();
            return Ok(());
        };
        let mut units = Vec::new();
        let mut commands = 0;
        while commands < depth {
            // After a failover the node may own nothing. Then it redirects the first tag.
            let mut others = std::iter::repeat_with(|| self.rng.usize(..TAGS)).take(DRAWS);
            let tag = others.find(|tag| self.mix.owner(*tag) == Some(node)).unwrap_or(first);
            let unit = unit::draw(&mut self.rng, tag);
            commands += unit.commands.len();
            units.push(unit);
        }
        let taken = u64::try_from(commands)?;
        let sent: Vec<u8> =
            units.iter().flat_map(|unit| &unit.commands).flat_map(|(_, bytes)| bytes.clone()).collect();
        let Some(replies) = self.exchange(node, &sent, commands) else {
            self.lose(node, taken);
            return Ok(());
        };
        let update = |left: u64| Some(left.saturating_sub(taken));
        let _ = self.mix.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let mut rest = &replies[..];
        for unit in units {
            let (own, behind) = rest.split_at(unit.commands.len());
            rest = behind;
            self.count(node, &unit, own);
            if let Some(to) = own.iter().find_map(redirected) {
                self.follow(&unit, to);
            }
        }
        Ok(())
    }

    /// Sends a redirected unit again.
    fn follow(&mut self, unit: &Unit, first: Redirected) {
        let mut to = first;
        for _ in 0..ATTEMPTS {
            let mut unit = unit.clone();
            let node = match to {
                Redirected::Moved(address) => {
                    let slot = usize::from(slot(unit.tag.to_string().as_bytes()));
                    if let Some(owner) = self.mix.owners.write().get_mut(slot) {
                        *owner = Some(address);
                    }
                    self.mix.driven.lock().moved += 1;
                    address
                }
                Redirected::Ask(address) => {
                    self.mix.driven.lock().ask += 1;
                    unit.commands.insert(0, ("asking", command(&["ASKING"])));
                    address
                }
                Redirected::Later => {
                    self.pause();
                    match self.mix.owner(unit.tag) {
                        Some(address) => address,
                        None => continue,
                    }
                }
            };
            if unit.commands.len() > 2 && unit.commands.last().is_some_and(|(name, _)| *name == "exec") {
                self.mix.driven.lock().aborted += 1;
            }
            let number = unit.commands.len();
            let sent: Vec<u8> = unit.commands.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let Some(replies) = self.exchange(node, &sent, number) else {
                return self.lose(node, number.try_into().unwrap_or_default());
            };
            self.count(node, &unit, &replies);
            match replies.iter().find_map(redirected) {
                Some(next) => to = next,
                None => return,
            }
        }
    }

    fn count(&self, node: SocketAddr, unit: &Unit, replies: &[Reply]) {
        let mut driven = self.mix.driven.lock();
        for ((name, _), _) in unit.commands.iter().zip(replies) {
            *driven.answered.entry((node, name)).or_default() += 1;
        }
    }

    /// The replies, or `None` if the node has died.
    fn exchange(&mut self, node: SocketAddr, commands: &[u8], number: usize) -> Option<Vec<Reply>> {
        let connection = match self.open.entry(node) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(Connection::open(node).ok()?),
        };
        connection.exchange(commands, number).ok()
    }

    fn lose(&mut self, node: SocketAddr, commands: u64) {
        self.mix.driven.lock().lost += commands;
        self.pause();
        self.open.remove(&node);
        // A cluster without a primary reports none. The next loss asks again.
        let _ = self.mix.learn();
    }

    fn pause(&self) {
        signals::pause(Duration::from_millis(50));
    }
}
