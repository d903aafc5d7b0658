//! Tests which reply is paired with which command, and what breaks it.

use std::collections::HashMap;

use probe_common::protocol::Parser as _;
use probe_common::resp::head::Head;
use probe_common::resp::pairing::{Asked, Facts, KEPT, Replies, family_of, took};
use probe_common::resp::reply::ReplyHead;
use probe_common::resp::{CommandClass, CommandSpec, Effect, Pairing, SegmentReader, Untimed, hash_name};

const STEPS: u32 = 1 << 20;

/// A connection whose commands and replies the test writes.
struct Connection {
    specs: HashMap<u64, CommandSpec>,
    head: Head,
    replies: ReplyHead,
    pairing: Pairing,
    arrived: u32,
    answered: u32,
    now: u64,
    untimed: Vec<Untimed>,
    /// The numbers of discarded commands; `None` for one that was not kept.
    discarded: Vec<Option<u16>>,
    /// Discarded commands that the commands told, without their numbers.
    unnamed: u32,
    /// Places of commands with a latency, and the latency.
    latencies: Vec<(u32, u64)>,
}

const GET: u16 = 1;
const SET: u16 = 2;

impl Connection {
    fn new(pairing: Pairing) -> Self {
        let spec = |number, class, effect, blocks| CommandSpec {
            number,
            class,
            effect,
            blocks,
            ..CommandSpec::UNKNOWN
        };
        let specs = [
            ("get", spec(GET, CommandClass::Read, Effect::None, false)),
            ("set", spec(SET, CommandClass::Write, Effect::None, false)),
            ("ping", spec(3, CommandClass::Other, Effect::None, false)),
            ("blpop", spec(4, CommandClass::Write, Effect::None, true)),
            ("multi", spec(5, CommandClass::Other, Effect::Multi, false)),
            ("exec", spec(6, CommandClass::Other, Effect::Exec, false)),
            ("discard", spec(7, CommandClass::Other, Effect::Discard, false)),
            ("subscribe", spec(8, CommandClass::Other, Effect::Unpaired, false)),
            ("client", spec(9, CommandClass::Other, Effect::Client, false)),
        ];
        let mut head = Head::default();
        head.restart();
        Self {
            specs: specs.iter().map(|(name, spec)| (hash_name(name.as_bytes()), *spec)).collect(),
            head,
            replies: ReplyHead::default(),
            pairing,
            arrived: 0,
            answered: 0,
            now: 1_000_000,
            untimed: Vec::new(),
            discarded: Vec::new(),
            unnamed: 0,
            latencies: Vec::new(),
        }
    }

    /// A segment of inline commands.
    fn ask(&mut self, commands: &[&str]) -> &mut Self {
        let payload: String = commands.iter().map(|line| format!("{line}\r\n")).collect();
        let mut reader = SegmentReader::EMPTY;
        reader.begin(0, payload.len() as u32);
        self.pairing.begin_segment(self.arrived);
        let (pairing, specs, untimed, now) = (&mut self.pairing, &self.specs, &mut self.untimed, self.now);
        let unnamed = &mut self.unnamed;
        reader.read_paired(
            &mut self.head,
            payload.as_bytes(),
            STEPS,
            |hash| specs.get(&hash).copied().unwrap_or_default(),
            |head| {
                pairing.check_decision(head);
                *unnamed += head.discards();
                untimed.extend(pairing.take(head, now));
            },
        );
        self.arrived += reader.tally.get + reader.tally.set + reader.tally.control;
        self
    }

    /// Nothing is sent for a while.
    fn rest(&mut self) -> &mut Self {
        self.now += 10_000_000;
        self
    }

    /// A segment of replies, 1 ms later, as the kernel program treats it.
    fn reply(&mut self, payload: &str) -> &mut Self {
        self.now += 1_000_000;
        match self.pairing.admit(self.answered, self.arrived) {
            Replies::Ignored => self.answered = self.arrived,
            Replies::Lost => {
                self.replies.restart();
                self.answered = self.arrived;
            }
            Replies::OutOfStep => {
                let read = self.frame(payload, false);
                self.answered = self.arrived;
                let is_at_boundary = self.replies.is_at_first_byte();
                if !self.pairing.count(Some(read), self.arrived, is_at_boundary, self.now) {
                    self.replies.restart();
                }
            }
            Replies::Paired => {
                let read = self.frame(payload, true);
                if self.pairing.exceeds(Some(read), self.arrived - self.answered, self.arrived) {
                    self.replies.restart();
                    self.answered = self.arrived;
                    return self;
                }
                let begun = self.answered + read + u32::from(self.replies.has_begun());
                let (from, count) = self.pairing.begin_replies(begun.min(self.arrived));
                for place in from..from + count {
                    let from = self.pairing.asked(place).map_or(0, Asked::timed_from);
                    if from != 0 {
                        self.latencies.push((place, took(from, self.now)));
                    }
                }
                self.answered = self.arrived.min(self.answered + read);
            }
        }
        self
    }

    fn frame(&mut self, payload: &str, is_paired: bool) -> u32 {
        let mut reader = SegmentReader::EMPTY;
        reader.begin(0, payload.len() as u32);
        let (pairing, answered, discarded) = (&mut self.pairing, self.answered, &mut self.discarded);
        reader.read_replies(&mut self.replies, payload.as_bytes(), STEPS, |outcome, count| {
            let place = answered + count - 1;
            if is_paired && pairing.replied(place, outcome) {
                let slots = (0..KEPT as u32).filter_map(|slot| pairing.queued_in(slot, place + 1));
                let mut named: Vec<Option<u16>> = slots.map(Some).collect();
                named.resize(pairing.queued() as usize, None);
                discarded.extend(named);
                pairing.forget_queued();
            }
            is_paired && pairing.has_queued()
        });
        reader.tally.set
    }
}

#[test]
fn a_pipelined_commands_latency_is_its_own() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["get a", "ping", "set b c"]).ask(&["get d"]);
    one.reply("$-1\r\n+PONG\r\n").reply(">2\r\n+invalidate\r\n_\r\n").reply("+OK\r\n$100\r\nhalf");
    let millisecond = |count: u64| count * 1_000_000 / 64 * 64;
    assert_eq!(one.latencies, [(0, millisecond(1)), (2, millisecond(3)), (3, millisecond(3))]);
    one.reply(&format!("{}\r\n", "x".repeat(96)));
    assert_eq!((one.answered, one.latencies.len(), one.untimed.len()), (4, 3, 0));
}

#[test]
fn commands_beyond_those_kept_have_no_latency() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["get a"; 3 * KEPT]).reply(&"$-1\r\n".repeat(3 * KEPT));
    let places: Vec<u32> = one.latencies.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (2 * KEPT as u32..3 * KEPT as u32).collect::<Vec<_>>());
    assert_eq!(one.answered, 3 * KEPT as u32);
}

#[test]
fn commands_of_an_aborted_transaction_are_discarded_by_number() {
    for (end, reply) in [
        ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ("exec", "*-1\r\n"),
        ("exec", "_\r\n"),
        ("exec", "-MOVED 5 127.0.0.1:1\r\n"),
        ("discard", "+OK\r\n"),
    ] {
        let mut one = Connection::new(Pairing::default());
        // One of them is refused, which the store counts.
        one.ask(&["multi", "set a b", "get"]).reply("+OK\r\n+QUEUED\r\n-ERR wrong number\r\n");
        one.ask(&["get a", end, "get b"]).reply(&format!("+QUEUED\r\n{reply}$-1\r\n"));
        let mut numbers = one.discarded.clone();
        numbers.sort_unstable();
        assert_eq!(numbers, [Some(GET), Some(SET)], "{reply}");
        assert_eq!(one.untimed, [Untimed::Transaction; 3]);
        assert_eq!(one.latencies.iter().map(|one| one.0).collect::<Vec<_>>(), [5], "{reply}");
    }
    let mut one = Connection::new(Pairing::default());
    one.ask(&["multi", "set a b", "exec"]).reply("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    one.ask(&["discard"]).reply("-ERR DISCARD without MULTI\r\n");
    assert_eq!((one.discarded, one.pairing.has_queued()), (vec![], false));
}

#[test]
fn more_queued_commands_than_are_kept_are_discarded_without_a_number() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["multi"]).reply("+OK\r\n");
    for _ in 0..KEPT + 10 {
        one.ask(&["set a b"]).reply("+QUEUED\r\n");
    }
    one.ask(&["exec"]).reply("*-1\r\n");
    assert_eq!(one.discarded.len(), KEPT + 10);
    // `EXEC` has taken one place.
    assert_eq!(one.discarded.iter().filter(|number| **number == Some(SET)).count(), KEPT - 1);
    assert_eq!(one.discarded.iter().filter(|number| number.is_none()).count(), 11);
}

#[test]
fn a_refused_command_in_the_slot_of_a_queued_one_is_not_discarded() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["multi"]).reply("+OK\r\n");
    for _ in 0..KEPT {
        one.ask(&["set a b"]).reply("+QUEUED\r\n");
    }
    one.ask(&["get", "exec"]).reply("-ERR wrong number\r\n-EXECABORT because of that\r\n");
    assert_eq!(one.discarded.len(), KEPT);
    assert_eq!(one.discarded.iter().filter(|number| **number == Some(SET)).count(), KEPT - 2);
    assert!(!one.discarded.contains(&Some(GET)));
}

#[test]
fn exec_decides_before_a_queued_subscription_ends_pairing() {
    for (command, why) in [("subscribe x", Untimed::Streaming), ("client reply skip", Untimed::ReplyOff)] {
        let queued = ["multi", "set a b", command];
        for (end, reply, discarded) in [
            ("exec", "*2\r\n+OK\r\n*3\r\n+subscribe\r\n+x\r\n:1\r\n", 0),
            ("exec", "*-1\r\n", 2),
            ("discard", "+OK\r\n", 2),
        ] {
            let mut one = Connection::new(Pairing::default());
            one.ask(&queued).reply("+OK\r\n+QUEUED\r\n+QUEUED\r\n");
            one.ask(&[end, "get a"]).reply(&format!("{reply}*3\r\n+message\r\n+x\r\n+y\r\n"));
            one.reply("$-1\r\n");
            assert_eq!(
                (one.discarded.len(), one.pairing.has_queued()),
                (discarded, false),
                "{command} {reply}"
            );
            assert_eq!(one.discarded.contains(&Some(SET)), discarded > 0);
            assert_eq!((&one.untimed[..], one.latencies.len()), (&[Untimed::Transaction, why][..], 0));
        }
    }
}

#[test]
fn commands_tell_what_is_discarded_once_the_replies_are_lost() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["multi", "set a b"]).reply("+OK\r\n+QUEUED\r\n");
    one.ask(&["get a"]);
    one.pairing.lose_commands();
    one.reply("+QUEUED\r\n").ask(&["discard"]).reply("+OK\r\n");
    assert_eq!((one.unnamed, one.discarded.len()), (2, 0));
    // The next transaction is not decided by replies either.
    one.ask(&["multi", "set a b", "discard"]).reply("+OK\r\n+QUEUED\r\n+OK\r\n");
    assert_eq!((one.unnamed, one.discarded.len()), (3, 0));
}

#[test]
fn a_departure_before_the_arrival_took_no_time() {
    let mut pairing = Pairing::default();
    pairing.begin_segment(0);
    pairing.ask(Facts { timed: Some(3), ..Facts::default() }, 1_000_000);
    let from = pairing.asked(0).unwrap().timed_from();
    assert_eq!([0, 999_000, 1_000_000, 1_000_640].map(|now| took(from, now)), [0, 0, 0, 640]);
    assert_eq!(family_of(from), 3);
    // More than an hour, and the time that wraps around.
    assert_eq!(took(from, 6_000_000_000_000), 6_000_000_000_000 - 1_000_000);
    let from = (4 << 37) | ((1 << 37) - 10);
    assert_eq!((took(from, 64 * ((1 << 37) + 10)), family_of(from)), (64 * 20, 3));
}

#[test]
fn subscriptions_and_reply_off_end_pairing_behind_the_replies_before_them() {
    for (command, why) in [
        ("subscribe x", Untimed::Streaming),
        ("client reply off", Untimed::ReplyOff),
        ("CLIENT  'RePly' skip", Untimed::ReplyOff),
    ] {
        let mut one = Connection::new(Pairing::default());
        one.ask(&["get a", command, "get b"]);
        one.reply("$-1\r\n*3\r\n+subscribe\r\n+x\r\n:1\r\n*3\r\n+message\r\n+x\r\n+y\r\n")
            .reply("*1\r\n+more\r\n");
        one.ask(&["get c"]).reply("*1\r\n+more\r\n");
        assert_eq!(one.latencies.iter().map(|one| one.0).collect::<Vec<_>>(), [0], "{command}");
        assert_eq!(one.untimed, [why; 2], "{command}");
        assert!(one.pairing.has_ended());
    }
    let mut one = Connection::new(Pairing::default());
    one.ask(&["client setname reply", "client no-evict on", "get a"]).reply("+OK\r\n+OK\r\n$-1\r\n");
    assert_eq!((one.latencies.len(), one.pairing.has_ended()), (1, false));
}

#[test]
fn blocking_commands_have_no_latency() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["blpop a 0", "get b"]).reply("*-1\r\n$-1\r\n");
    assert_eq!((&one.untimed[..], one.latencies.len()), (&[Untimed::Blocking][..], 1));
}

#[test]
fn an_older_connection_is_paired_once_its_replies_are_in_step() {
    let mut joined = Pairing::default();
    joined.join();
    let mut one = Connection::new(joined);
    // The rest of an earlier reply, and a reply to a command that was not seen.
    one.reply("rest of a value\r\n").ask(&["get a"]).reply("$1\r\nx\r\n$-1\r\n");
    one.rest();
    for _ in 0..8 {
        one.ask(&["get a"]).reply("$-1\r\n");
        assert!(one.latencies.is_empty());
    }
    one.ask(&["get a", "get b"]).reply("$-1\r\n$-1\r\n");
    assert_eq!((one.latencies.len(), one.untimed.len()), (2, 9));
    assert!(one.untimed.iter().all(|why| *why == Untimed::Joined));
}

#[test]
fn unseen_commands_end_the_pairing_until_replies_are_in_step_again() {
    let mut one = Connection::new(Pairing::default());
    one.ask(&["get a"]);
    one.pairing.lose_commands();
    one.reply("$-1\r\n");
    assert!(one.latencies.is_empty());
    one.ask(&["get a"]).reply("$-1\r\n").rest();
    for _ in 0..7 {
        one.ask(&["get a"]).reply("$-1\r\n");
    }
    assert_eq!(one.untimed, [Untimed::Lost; 8]);
    one.ask(&["get a"]).reply("$-1\r\n");
    assert_eq!(one.latencies.len(), 1);
}

#[test]
fn replies_that_are_always_one_command_behind_are_never_paired() {
    let mut joined = Pairing::default();
    joined.join();
    let mut one = Connection::new(joined);
    // The reply is to a command that was not seen, and from then on to the one before.
    one.ask(&["get a"]).reply("$-1\r\n");
    for _ in 0..20 {
        one.ask(&["get a"]).reply("$-1\r\n");
    }
    assert!(!one.pairing.is_in_step() && one.latencies.is_empty());
    // Once the last reply has come, exchanges are counted anew.
    one.reply("$-1\r\n").rest();
    for _ in 0..8 {
        assert!(!one.pairing.is_in_step());
        one.ask(&["get a"]).reply("$-1\r\n");
    }
    one.ask(&["get a"]).reply("$-1\r\n");
    assert_eq!(one.latencies, [(29, 1_000_000)]);
}

#[test]
fn a_busy_connection_is_paired_once_it_has_rested() {
    let mut joined = Pairing::default();
    joined.join();
    let mut one = Connection::new(joined);
    for _ in 0..300 {
        one.ask(&["get a"]).reply("$-1\r\n");
    }
    assert!(!one.pairing.is_in_step());
    one.rest().ask(&["get a"]).reply("$-1\r\n");
    assert!(one.pairing.is_in_step());
}
