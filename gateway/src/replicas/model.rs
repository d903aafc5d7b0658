//! Checks one key's copies against a model with random schedules.
//!
//! A schedule mixes reads, writes, copying, shards that lose their data or fail, and requests that a shard executes after
//! their caller has gone. All calls pass the shards' breakers and budgets of retries.
//!
//! A write reaches the home between its beginning and its end. If its outcome is unknown, it may also reach the home
//! later. Every value is unique. Values are ordered by the time at which they reached the home.
//!
//! Checked property: a read of a copy that began after a write was answered never returns an older value. It also never
//! returns a value that a shard created by itself.

use axum::http::StatusCode;
use bytes::Bytes;
use proptest::prelude::*;
use protocol::ShardId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copies::{Copies, Done, Job, Known, Synced};
use crate::upstream::model::{Conduct, SimulatedShard, Written, conduct};

const PAUSE: Duration = Duration::from_secs(10);
/// Number of shards besides the home.
const SHARDS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    Want(usize),
    Begin,
    Lands(usize),
    /// A write ends. The flag is true if its outcome is known.
    Ends(usize, bool),
    /// Claim a job.
    Claim,
    /// The job reads the home, if it needs to.
    AsksHome,
    /// A shard executes the job's write.
    Copies(usize),
    /// The job ends. Shards that have not executed its write count as failed, and may execute it later.
    Concludes,
    /// A shard executes a request whose caller has gone.
    Late(usize),
    /// A shard restarts and creates a value.
    Loses(usize),
    /// A read of a copy begins.
    Read(usize),
    /// The read reaches its shard.
    Arrives(usize),
    /// The read is answered.
    Answered(usize),
    /// Seconds pass.
    Wait(u64),
    /// The home or another shard changes its conduct.
    Shard(usize, Conduct),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..=SHARDS).prop_map(Step::Want),
        2 => Just(Step::Begin),
        3 => (0usize..4).prop_map(Step::Lands),
        3 => (0usize..4, prop::bool::weighted(0.8)).prop_map(|(at, known)| Step::Ends(at, known)),
        4 => Just(Step::Claim),
        3 => Just(Step::AsksHome),
        6 => (0..SHARDS).prop_map(Step::Copies),
        4 => Just(Step::Concludes),
        1 => (0..SHARDS).prop_map(Step::Late),
        1 => (0..SHARDS).prop_map(Step::Loses),
        6 => (0usize..4).prop_map(Step::Read),
        6 => (0usize..4).prop_map(Step::Arrives),
        6 => (0usize..4).prop_map(Step::Answered),
        2 => prop_oneof![Just(2u64), Just(11), Just(61)].prop_map(Step::Wait),
        2 => (0..=SHARDS, conduct()).prop_map(|(at, conduct)| Step::Shard(at, conduct)),
    ]
}

struct Write {
    began: u64,
    value: u64,
    landed: bool,
}

/// The home's value, and the order in which values reached it.
struct Home {
    value: u64,
    order: HashMap<u64, usize>,
}

impl Home {
    fn take(&mut self, value: u64) {
        self.value = value;
        self.order.insert(value, self.order.len());
    }
}

struct Read {
    synced: Arc<Synced>,
    shard: ShardId,
    least: usize,
    got: Option<u64>,
    has_failed: bool,
}

struct Working {
    job: Job,
    known: Option<Known>,
    done: Vec<ShardId>,
    /// Shards that the write was not sent to.
    unsent: Vec<ShardId>,
}

fn known(value: u64) -> Known {
    Known { body: Bytes::from(value.to_string()), value }
}

fn is_answered(node: &SimulatedShard) -> bool {
    node.read(String::new).is_ok_and(|answer| answer.status == StatusCode::OK)
}

fn shard(at: usize) -> ShardId {
    ShardId(u32::try_from(at).unwrap() + 1)
}

proptest! {
    #[test]
    fn no_copy_answers_with_less_than_was_written(steps in prop::collection::vec(step(), 1..200)) {
        let (start, mut passed) = (Instant::now(), Duration::ZERO);
        let copies = Copies::new(ShardId(0), PAUSE);
        copies.open();
        copies.want(&[shard(0), shard(1), shard(2)]);
        let mut home = Home { value: 1, order: HashMap::from([(1, 0)]) };
        // Values that a shard creates are at least 1,000,000. Written values are smaller.
        let (mut newest, mut answered, mut made_up) = (1u64, 0usize, 1_000_000u64);
        let mut held = [0u64; SHARDS];
        let mut late: [Option<u64>; SHARDS] = [None; SHARDS];
        let (mut writes, mut orphans) = (Vec::<Write>::new(), Vec::<u64>::new());
        let mut reads = Vec::<Read>::new();
        // The home, then the other shards.
        let mut nodes: [SimulatedShard; SHARDS + 1] = std::array::from_fn(|_| SimulatedShard::default());
        let mut working: Option<Working> = None;
        for step in steps {
            let now = start + passed;
            match step {
                Step::Want(n) => copies.want(&(0..n).map(shard).collect::<Vec<_>>()),
                Step::Begin if writes.len() < 3 => {
                    newest += 1;
                    writes.push(Write { began: copies.begin_write(), value: newest, landed: false });
                }
                Step::Lands(at) if at < writes.len() => {
                    let write = &mut writes[at];
                    if !write.landed && nodes[0].write() != Written::NotSent {
                        write.landed = true;
                        home.take(write.value);
                    }
                }
                // A write with an unknown outcome reaches the home.
                Step::Lands(_) => {
                    if let Some(value) = orphans.pop() {
                        home.take(value);
                    }
                }
                Step::Ends(at, is_known) if at < writes.len() => {
                    let write = writes.remove(at);
                    if is_known && write.landed {
                        copies.end_write(write.began, Some(known(write.value)), now);
                        answered = answered.max(home.order[&write.value]);
                    } else {
                        copies.end_write(write.began, None, now);
                        if !write.landed {
                            orphans.push(write.value);
                        }
                    }
                }
                Step::Claim if working.is_none() => {
                    if let Some(job) = copies.claim(now) {
                        prop_assert!(writes.is_empty(), "no copying while a write is under way");
                        let known = job.known.clone();
                        working = Some(Working { job, known, done: Vec::new(), unsent: Vec::new() });
                    }
                }
                Step::AsksHome => {
                    if let Some(working) = &mut working
                        && working.known.is_none()
                        && is_answered(&nodes[0])
                    {
                        working.known = Some(known(home.value));
                    }
                }
                Step::Copies(at) => {
                    if let Some(Working { job, known: Some(known), done, unsent }) = &mut working
                        && job.targets.contains(&shard(at))
                        && !done.contains(&shard(at))
                        && !unsent.contains(&shard(at))
                    {
                        if job.synced.as_ref().is_none_or(|synced| synced.value != known.value) {
                            copies.rewrite();
                        }
                        match nodes[at + 1].write() {
                            Written::Stored => {
                                held[at] = known.value;
                                done.push(shard(at));
                            }
                            Written::NotSent => unsent.push(shard(at)),
                            Written::Unknown => {}
                        }
                    }
                }
                Step::Concludes => {
                    if let Some(Working { job, known, done, unsent }) = working.take() {
                        let Some(known) = known else {
                            copies.conclude(&job, Done::HomeFailed, now);
                            continue;
                        };
                        let has = |on: ShardId| {
                            job.synced.as_ref().filter(|s| s.value == known.value).is_some_and(|s| s.find(on).is_some())
                        };
                        let sent: Vec<_> = job.targets.iter().copied().filter(|on| !has(*on) || done.contains(on)).collect();
                        if job.synced.as_ref().is_none_or(|synced| synced.value != known.value) {
                            copies.rewrite();
                        }
                        for on in sent.iter().filter(|on| !done.contains(on) && !unsent.contains(on)) {
                            late[on.index() - 1] = Some(known.value);
                        }
                        let written = sent.into_iter().map(|on| (on, done.contains(&on))).collect();
                        copies.conclude(&job, Done::Written(known.value, written), now);
                    }
                }
                Step::Late(at) => {
                    if let Some(value) = late[at].take() {
                        held[at] = value;
                    }
                }
                Step::Loses(at) => {
                    made_up += 1;
                    held[at] = made_up;
                }
                Step::Read(at) if reads.len() < 4 => {
                    if let Some(synced) = copies.readable() {
                        prop_assert!(writes.is_empty(), "no copy is read while a write is under way");
                        let on = synced.on[at % synced.on.len()].shard;
                        reads.push(Read { synced, shard: on, least: answered, got: None, has_failed: false });
                    }
                }
                Step::Arrives(at) => {
                    if let Some(read) = reads.get_mut(at).filter(|read| read.got.is_none() && !read.has_failed) {
                        read.has_failed = !is_answered(&nodes[read.shard.index()]);
                        read.got = (!read.has_failed).then(|| held[read.shard.index() - 1]);
                    }
                }
                Step::Answered(at) if at < reads.len() => {
                    let read = reads.swap_remove(at);
                    match read.got {
                        Some(got) if got == read.synced.value => {
                            prop_assert!(got < 1_000_000, "a shard made it up");
                            let order = home.order[&got];
                            prop_assert!(order >= read.least, "{got} landed before what was answered");
                        }
                        _ => {
                            copies.lost(&read.synced, read.shard, now);
                        }
                    }
                }
                Step::Wait(seconds) => {
                    passed += Duration::from_secs(seconds);
                    nodes.iter_mut().for_each(|node| node.pass(Duration::from_secs(seconds)));
                }
                Step::Shard(at, conduct) => nodes[at].conduct = conduct,
                _ => {}
            }
        }
    }
}
