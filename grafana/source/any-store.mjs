// Dashboard "Any Store": whether a Redis or Valkey is hot, where, by which key, and whether kernel and store agree.

import { FAIR_SHARES, KERNEL, VERDICTS, ask, bars, dashboard, lines, now, rows, timeline, value, verdict } from './lab.mjs';

const SHARD = 'shard {{shard_id}}';
const RATE = '[$__rate_interval]';

const keyed = `sum by (shard_id) (rate(kernel_shard_requests_total${RATE}))`;
const primaries = 'on (shard_id) probe_store_node{role="primary"} == 1';

const answer = ['Is it hot?', [
  value({
    title: 'Answer',
    width: 5,
    mappings: [[0, 'cannot say', 'text'], [1, 'balanced', 'green'], [2, 'hot', 'red']],
    noValue: 'no probe watches a store',
    queries: [now('max(probe_store_result{result="balanced"} or 2 * probe_store_result{result="hot"} or 0 * probe_store_result{result="cannot_say"})')],
    about: {
      shows: 'The answer of `probe watch` over the last 10 to 20 s.',
      normal: '*balanced*; *cannot say* below 10 commands a second.',
      next: '*hot*: the panels beside name the shard and the cause. `curl localhost:9010/api/store | jq .sentence` says it in words.',
    },
  }),
  value({
    title: 'Hot Shard',
    width: 4,
    names: true,
    noValue: 'none',
    queries: [now('kernel_hot_partition_shard == 1', SHARD)],
    about: {
      shows: 'The shard that the verdict names.',
      normal: '*none*.',
      next: 'The table *Nodes* has its address. *Largest Keys* shows whether one key causes it.',
    },
  }),
  value({
    title: 'Because',
    width: 4,
    names: true,
    noValue: 'nothing',
    queries: [now('kernel_hot_partition_reason == 1', '{{reason}}')],
    about: {
      shows: 'The reason of the verdict.',
      normal: '*nothing*.',
      next: '*hot_key*: replica reads, a client-side cache, or split the key. *placement*: move slots. *shard_down*: see *Nodes*.',
    },
  }),
  rows({
    title: 'Nodes',
    width: 11,
    height: 8,
    columns: { shard_id: 'shard', address: 'address', role: 'role' },
    without: ['Value'],
    noValue: 'no probe watches a store',
    queries: [now('probe_store_node == 1')],
    about: {
      shows: 'The nodes of the store with their roles. In a cluster the primaries are the shards of the verdict.',
      normal: 'Each primary has a replica, and none has failed.',
      next: '*failed*: check that node\'s process and log. *gone*: it has left the cluster.',
    },
  }),
  timeline({
    title: 'Verdict',
    width: 13,
    height: 4,
    mappings: VERDICTS,
    queries: [ask(verdict(KERNEL), 'primaries')],
    about: {
      shows: 'The verdict on the primaries from kernel counts, over a window of 10 s.',
      normal: 'Green.',
      next: 'A band of another colour: compare its start with *Keyed Commands per Shard* and *Largest Keys*.',
    },
  }),
]];

const load = ['Where the load goes', [
  lines({
    title: 'Keyed Commands per Shard',
    unit: 'reqps',
    min: 0,
    queries: [ask(keyed, SHARD)],
    about: {
      shows: 'Commands with a key at each node\'s socket, counted in the kernel. Replicas are included.',
      normal: 'Primaries close together; replicas near 0 unless clients read from them.',
      next: 'One far above the others is the hot shard: *Largest Keys*.',
    },
  }),
  lines({
    title: 'Share of each Primary',
    unit: 'percentunit',
    min: 0,
    max: 1,
    queries: [ask(`${keyed} / on () group_left () (sum(${keyed} and ${primaries}) > 0) and ${primaries}`, SHARD)],
    about: {
      shows: 'Share of the primaries\' keyed commands: one third is fair for three primaries.',
      normal: 'All near the fair share.',
      next: 'The verdict needs 1.5 fair shares with 99.9 % confidence to call a shard hot.',
    },
  }),
  lines({
    title: 'Load of the Largest Shard',
    decimals: 2,
    min: 0,
    thresholds: FAIR_SHARES,
    limits: true,
    dashed: '.*at least.*',
    queries: [ask('kernel_hot_partition_max_over_mean', 'measured'), ask('kernel_hot_partition_lower_bound', 'surely at least (99.9 %)')],
    about: {
      shows: 'The largest primary\'s load in fair shares: measured, and the lower bound for the window\'s number of commands.',
      normal: 'The lower bound stays below 1.2.',
      next: 'The lower bound decides: 1.2 is warm, 1.5 hot, 2 critical.',
    },
  }),
  lines({
    title: 'Commands by Name',
    width: 12,
    unit: 'reqps',
    min: 0,
    stacked: true,
    queries: [ask(`sum by (command) (rate(kernel_store_commands_total${RATE}))`, '{{command}}')],
    about: {
      shows: 'All commands of all nodes by name. The probe\'s own INFO and CLUSTER are among them; unknown names are `unknown`.',
      normal: 'The mix of your clients.',
      next: 'A name that you do not expect, such as `keys` or `monitor`: find its client with CLIENT LIST.',
    },
  }),
  lines({
    title: 'Bytes per Shard',
    width: 12,
    unit: 'Bps',
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_payload_bytes_total{direction="receive"}${RATE}))`, `${SHARD} in`),
      ask(`-sum by (shard_id) (rate(kernel_shard_payload_bytes_total{direction="transmit"}${RATE}))`, `${SHARD} out`),
    ],
    about: {
      shows: 'TCP payload of each node\'s clients: received above 0, sent below. Replication streams are included.',
      normal: 'In step with the commands.',
      next: 'Few commands and many bytes out: a large value is read. Its key is not always the one with the most commands.',
    },
  }),
]];

const keys = ['Which keys', [
  rows({
    title: 'Largest Keys',
    width: 12,
    columns: { key: 'key', slot: 'slot', shard_id: 'shard', Value: 'share of all keyed commands' },
    units: { 'share of all keyed commands': 'percentunit' },
    noValue: 'none',
    queries: [now('sort_desc(probe_store_key_share)')],
    about: {
      shows: 'The largest keys of the answer with their slots and shares. Counts come from the kernel; `/api/store` has the error of each.',
      normal: 'No key has more than a few percent.',
      next: 'A key above a shard\'s fair share makes its shard hot wherever it is placed: moving its slot moves the problem.',
    },
  }),
  bars({
    title: 'Top 10 Keys by Rate',
    width: 12,
    unit: 'reqps',
    decimals: 1,
    min: 0,
    thresholds: [[null, 'blue']],
    queries: [now(`topk(10, sum by (key) (rate(kernel_shard_key_requests_total${RATE})))`, '{{key}}')],
    about: {
      shows: 'Commands per second of the tracked keys, at most 20 at a time.',
      normal: 'Bars of similar length, or none.',
      next: 'A long bar is a hot key. Its slot is in the table beside.',
    },
  }),
]];

const latency = ['What it costs', [
  lines({
    title: 'Latency p50 and p99',
    width: 24,
    unit: 's',
    min: 0,
    dashed: '.*p50',
    queries: [
      ask(`histogram_quantile(0.99, sum by (shard_id, le) (rate(kernel_shard_request_duration_seconds_bucket${RATE})))`, `${SHARD} p99`),
      ask(`histogram_quantile(0.5, sum by (shard_id, le) (rate(kernel_shard_request_duration_seconds_bucket${RATE})))`, `${SHARD} p50`),
    ],
    about: {
      shows: 'Time from a command to its reply at the node\'s socket, without the network.',
      normal: 'Far below a millisecond for short commands.',
      next: 'The hot shard far above the others: its only thread is busy. All above: slow commands, see the next panel.',
    },
  }),
  lines({
    title: 'Latency p99 by Command Family',
    width: 12,
    unit: 's',
    min: 0,
    queries: [
      ask(`histogram_quantile(0.99, sum by (shard_id, family, le) (rate(kernel_store_command_duration_seconds_bucket${RATE})))`, `${SHARD} {{family}}`),
    ],
    about: {
      shows: 'The same by the server\'s own groups of commands, such as *string*, *list* and *scripting*.',
      normal: 'All families of a shard are alike: a short command waits for the long one before it.',
      next: 'One family far above the others has the slow commands: SLOWLOG has their arguments.',
    },
  }),
  lines({
    title: 'Untimed Commands by Reason',
    width: 12,
    unit: 'ops',
    min: 0,
    queries: [ask(`sum by (reason) (rate(kernel_store_untimed_commands_total${RATE}))`, '{{reason}}')],
    about: {
      shows: 'Commands per second whose latency is not measured, by reason. A command may have two reasons.',
      normal: '0, except *blocking*, *transaction* and *streaming* where clients use them.',
      next: '*joined* or *lost*: connections that never rest stay untimed. *depth*: pipelines of more than 64. docs/redis.md has all reasons.',
    },
  }),
]];

const agreement = ['Do kernel and store agree?', [
  value({
    title: 'Agreement by Shard',
    width: 12,
    named: true,
    mappings: [[0, 'differs', 'red'], [1, 'agrees', 'green']],
    noValue: 'no verdict',
    queries: [now('reconciliation_agrees', SHARD)],
    about: {
      shows: 'Whether the kernel\'s commands equal the node\'s own commandstats since the baseline, except those in flight and the named exceptions.',
      normal: '*agrees*. Replicas, and nodes where scripts call commands, have no verdict.',
      next: '*differs*: *Difference by Command* has the name; `curl localhost:9010/api/store` the exceptions.',
    },
  }),
  value({
    title: 'Bytes Unseen',
    width: 12,
    named: true,
    unit: 'percentunit',
    decimals: 1,
    thresholds: [[null, 'green'], [0.01, 'yellow'], [0.5, 'red']],
    queries: [now('reconciliation_store_unseen_bytes_ratio', SHARD)],
    about: {
      shows: 'Share of the bytes from clients that crossed no watched socket: TLS, Unix sockets.',
      normal: '0 %.',
      next: 'Above 50 % at a primary there is no verdict: run the probe where all primaries run, and give the plain port.',
    },
  }),
  lines({
    title: 'Difference by Command',
    unit: 'short',
    queries: [ask('reconciliation_store_command_difference != 0 or reconciliation_store_command_difference{command="info"}', `${SHARD} {{command}}`)],
    about: {
      shows: 'Commands of the kernel minus those of the node, by name, where they differ; INFO as an example where they do not.',
      normal: '0 at rest. Under load at most the number of commands in flight.',
      next: 'A lasting difference of one name: `/api/store` has its count on both sides.',
    },
  }),
  lines({
    title: 'Difference in Bytes',
    unit: 'bytes',
    queries: [ask('reconciliation_store_bytes_difference', SHARD)],
    about: {
      shows: 'Bytes of the kernel minus those that the node has read from clients, since the baseline. They need no parser.',
      normal: '0 at rest; within the bytes in flight under load.',
      next: 'Below 0 and falling: bytes that the kernel does not see, see *Bytes Unseen*.',
    },
  }),
  lines({
    title: 'Exceptions and New Baselines',
    unit: 'short',
    queries: [
      ask('sum by (exception) (reconciliation_store_exceptions)', '{{exception}}'),
      ask('sum by (reason) (reconciliation_store_baselines_total)', 'baseline: {{reason}}'),
    ],
    about: {
      shows: 'Commands that only one witness counts, by reason, and new baselines by reason.',
      normal: '*replicated* grows with the writes; the others stay at 0 for most clients.',
      next: 'Each exception is described in docs/redis.md. Many baselines: the node restarts, or its statistics are reset.',
    },
  }),
]];

export const anyStore = () => dashboard({
  uid: 'any-store',
  title: 'Any Store',
  about: 'A Redis or Valkey as `probe watch` sees it: hot shard, slot and key from kernel counts, compared with the store\'s own.',
  marked: [['Hot store', 'StoreHot', 'red'], ['Node failed', 'StoreNodeFailed', 'orange']],
  sections: [answer, load, keys, latency, agreement],
});
