use super::*;
use probe_common::resp::UNTIMED;
use store::commands::{Class, Command, Family, KeyPositions};
use store::info::Calls;

/// A node whose counts the test sets.
struct Node {
    ledger: NodeLedger,
    names: CommandNames,
    at: Duration,
    kernel: KernelReading,
    info: Info,
}

impl Node {
    /// At rest, with a baseline.
    fn new() -> Self {
        let mut names = CommandNames::default();
        let command = |name: &str| Command {
            name: name.to_owned(),
            class: Class::Read,
            family: Family::default(),
            keys: KeyPositions::default(),
            blocks: false,
        };
        let all = ["get", "set", "eval", "multi", "exec", "discard", "client"].map(command);
        names.update(&all, "COMMAND".to_owned());
        let commands =
            CommandCounts { by_number: vec![0; 512], discarded: vec![0; 512], untimed: [0; UNTIMED] };
        let info = Info { run_id: "a".to_owned(), input_bytes: 1_000, ..Info::default() };
        let kernel = KernelReading { commands, ..KernelReading::default() };
        let mut node =
            Self { ledger: NodeLedger::default(), names, at: Duration::from_secs(9), kernel, info };
        node.rest();
        node
    }

    fn number(&self, name: &str) -> usize {
        self.names.numbered().find(|(_, known)| *known == name).unwrap().0
    }

    fn wire(&mut self, name: &str, count: u64) {
        let number = self.number(name);
        self.kernel.commands.by_number[number] += count;
    }

    fn call(&mut self, name: &str, calls: u64) {
        let of: &mut Calls = self.info.calls.entry(name.to_owned()).or_default();
        of.calls += calls;
    }

    fn bytes(&mut self, kernel: u64, store: u64) {
        self.kernel.bytes += kernel;
        self.info.input_bytes += store;
    }

    fn look(&mut self) -> StoreReconciliation {
        let from = self.at;
        self.at += Duration::from_millis(300);
        let bracket = NodeBracket {
            from,
            to: from + Duration::from_millis(1),
            before: self.kernel.clone(),
            after: self.kernel.clone(),
            info: Ok(self.info.clone()),
            unix_seconds: 0.0,
        };
        self.ledger.observe(&self.names, &bracket)
    }

    /// Several readings without a change.
    fn rest(&mut self) -> StoreReconciliation {
        (0..30).map(|_| self.look()).last().unwrap()
    }

    fn exception(found: &StoreReconciliation) -> Vec<(StoreException, u64)> {
        found
            .exceptions
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(what, count)| (*what, *count))
            .collect()
    }
}

#[test]
fn equal_counts_agree_by_name_and_in_bytes() {
    let mut node = Node::new();
    node.wire("get", 5);
    node.call("get", 4);
    node.info.calls.get_mut("get").unwrap().rejected += 1;
    node.bytes(100, 100);
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, found.total.difference, found.total.bound),
        (Some(true), Some(0), Some(0))
    );
    assert_eq!(
        (found.bytes.agrees, found.bytes.difference, found.unseen_share),
        (Some(true), Some(0), Some(0.0))
    );
    assert_eq!(found.commands.len(), 1);
    assert_eq!((found.commands[0].kernel, found.commands[0].store), (5, 5));
    assert_eq!(Node::exception(&found), []);
}

#[test]
fn a_discarded_command_explains_one_command_of_one_name() {
    let rest = |sets: u64| {
        let mut node = Node::new();
        node.wire("get", 2);
        node.wire("set", sets);
        node.kernel.commands.discarded[0] += 2;
        let found = node.rest();
        (found.total.agrees, found.total.cause_kind)
    };
    assert_eq!(rest(0), (Some(true), Some(CauseKind::Discarded)));
    assert_eq!(rest(2), (Some(false), Some(CauseKind::Uncounted)));
}

#[test]
fn each_exception_moves_its_own_counter_and_no_other() {
    let mut node = Node::new();
    node.wire("multi", 1);
    node.wire("set", 2);
    node.wire("discard", 1);
    node.call("multi", 1);
    node.call("discard", 1);
    let set = node.number("set");
    node.kernel.commands.discarded[set] += 2;
    let found = node.rest();
    assert_eq!((found.total.agrees, found.total.difference), (Some(true), Some(0)), "{found:?}");
    assert_eq!(Node::exception(&found), [(StoreException::Discarded, 2)]);

    let mut node = Node::new();
    node.kernel.commands.by_number[0] += 3;
    assert_eq!(Node::exception(&node.rest()), [(StoreException::Unknown, 3)]);

    let mut node = Node::new();
    node.wire("get", 5);
    node.kernel.requests.never_read += 5;
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, Node::exception(&found)),
        (Some(true), vec![(StoreException::BehindClose, 5)]),
        "{found:?}"
    );

    let mut node = Node::new();
    node.kernel.requests.unparsed[Reason::Closed as usize] += 1;
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, Node::exception(&found)),
        (Some(true), vec![(StoreException::BehindClose, 1)]),
        "{found:?}"
    );

    let mut node = Node::new();
    node.wire("get", 5);
    node.kernel.requests.aborted += 5;
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, Node::exception(&found)),
        (Some(true), vec![(StoreException::Aborted, 5)]),
        "{found:?}"
    );

    let mut node = Node::new();
    node.wire("eval", 1);
    node.call("eval", 1);
    node.call("get", 3);
    let found = node.rest();
    assert_eq!((found.total.agrees, found.total.cause_kind), (None, Some(CauseKind::Scripts)), "{found:?}");
    assert_eq!(
        (found.total.difference, Node::exception(&found)),
        (Some(-3), vec![(StoreException::Scripted, 3)])
    );

    let mut node = Node::new();
    node.info.role = Role::Replica;
    node.rest();
    node.call("set", 7);
    node.info.input_bytes += 70;
    node.info.replication_bytes += 70;
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, found.total.cause_kind),
        (None, Some(CauseKind::Replication)),
        "{found:?}"
    );
    assert_eq!(Node::exception(&found), [(StoreException::Replicated, 7)]);
    assert_eq!((found.bytes.agrees, found.bytes.difference), (Some(true), Some(0)));
}

#[test]
fn scripts_do_not_hide_commands_that_only_the_kernel_counts() {
    let mut node = Node::new();
    node.wire("eval", 1);
    node.call("eval", 1);
    node.call("get", 3);
    node.wire("set", 2);
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, found.total.cause_kind),
        (Some(false), Some(CauseKind::Uncounted)),
        "{found:?}"
    );
}

#[test]
fn commands_that_the_kernel_missed_are_a_difference_unless_their_bytes_are_unseen() {
    let mut node = Node::new();
    node.call("get", 3);
    node.bytes(60, 60);
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, found.total.cause_kind),
        (Some(false), Some(CauseKind::Unseen)),
        "{found:?}"
    );
    let mut node = Node::new();
    node.call("get", 3);
    node.bytes(60, 80);
    let found = node.rest();
    assert_eq!((found.total.agrees, found.unseen_share), (None, Some(0.25)), "{found:?}");
}

#[test]
fn open_transactions_and_unknown_subcommands_are_named() {
    let mut node = Node::new();
    node.wire("multi", 1);
    node.call("multi", 1);
    node.wire("set", 2);
    let found = node.rest();
    assert_eq!((found.total.agrees, found.total.cause_kind), (None, Some(CauseKind::Waiting)), "{found:?}");
    let mut node = Node::new();
    node.wire("client", 1);
    node.info.errors += 1;
    let found = node.rest();
    assert_eq!(
        (found.total.agrees, found.total.cause_kind),
        (Some(true), Some(CauseKind::Unnamed)),
        "{found:?}"
    );
}

#[test]
fn a_restart_a_reset_and_a_failover_are_new_baselines() {
    let mut node = Node::new();
    node.wire("get", 5);
    node.call("get", 2);
    assert_eq!(node.rest().total.agrees, Some(false));
    node.info.run_id = "b".to_owned();
    node.info.calls.clear();
    let found = node.rest();
    assert_eq!((found.total.agrees, found.baselines[&NewBaseline::Restart]), (Some(true), 1), "{found:?}");
    node.call("get", 9);
    node.wire("get", 9);
    node.rest();
    node.info.calls.clear();
    let found = node.rest();
    assert_eq!((found.total.agrees, found.baselines[&NewBaseline::Reset]), (Some(true), 1), "{found:?}");
    node.info.role = Role::Replica;
    assert_eq!(node.rest().baselines[&NewBaseline::Role], 1);
}

#[test]
fn a_restarted_node_has_not_counted_what_the_probe_sent_before() {
    let mut node = Node::new();
    node.kernel.own.bytes += 9_000;
    node.bytes(9_000, 9_000);
    node.rest();
    node.info = Info { run_id: "b".to_owned(), input_bytes: 31, ..Info::default() };
    node.kernel.own.bytes += 31;
    node.kernel.bytes += 31;
    node.rest();
    node.wire("get", 7);
    node.call("get", 7);
    node.bytes(210, 210);
    let found = node.rest();
    assert_eq!((found.total.agrees, found.bytes.agrees), (Some(true), Some(true)), "{found:?}");
    assert_eq!((found.bytes.app, found.bytes.difference), (Some(210), Some(0)), "{found:?}");
}

#[test]
fn the_probes_own_requests_do_not_keep_the_counts_from_resting() {
    let mut node = Node::new();
    let mut names = node.names.clone();
    let info = Command {
        name: "info".to_owned(),
        class: Class::Other,
        family: Family::default(),
        keys: KeyPositions::default(),
        blocks: false,
    };
    names.update(&[info], "COMMAND".to_owned());
    node.names = names;
    node.ledger.start_over();
    let mut last = StoreReconciliation::default();
    for second in 0..30_u64 {
        // INFO is in the kernel's count before its reply, and in the node's own only after it.
        let before = node.kernel.clone();
        node.wire("info", 1);
        node.bytes(31, 31);
        node.kernel.own.bytes += 31;
        *node.kernel.own.calls.entry("info").or_default() += 1;
        let from = node.at + Duration::from_secs(second);
        let bracket = NodeBracket {
            from,
            to: from + Duration::from_millis(1),
            before,
            after: node.kernel.clone(),
            info: Ok(node.info.clone()),
            unix_seconds: 0.0,
        };
        last = node.ledger.observe(&node.names, &bracket);
        node.call("info", 1);
    }
    assert_eq!(
        (last.total.difference, last.total.bound, last.bytes.bound),
        (Some(0), Some(0), Some(0)),
        "{last:?}"
    );
}
