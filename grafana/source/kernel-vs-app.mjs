// Dashboard "Kernel vs App": do both witnesses say the same, and if not, where do they part?

import { SHARES_OF_FOUR, VERDICTS, ask, dashboard, lines, now, rows, timeline, value, verdict } from './lab.mjs';

const OF_SHARD = 'shard_id=~"$shard"';
const SHARD = 'shard {{shard_id}}';
const RATE = '[$__rate_interval]';

const WHY_RATES = 'Kernel and application are scraped at different times, so only rates over a minute are compared, by shard and operation. The exact difference is in *Difference and Bound*.';

const p95 = (family, by = 'shard_id, le') => `histogram_quantile(0.95, sum by (${by}) (rate(${family}_bucket{${OF_SHARD}}${RATE})))`;

const agreement = ['Do they agree?', [
  value({
    title: 'Agreement by Shard',
    width: 12,
    named: true,
    mappings: [[0, 'differs', 'red'], [1, 'agrees', 'green']],
    noValue: 'no verdict',
    traces: true,
    queries: [now(`reconciliation_agrees{${OF_SHARD}}`, SHARD)],
    about: {
      shows: "Whether kernel and shard count the same data requests since the baseline, except those in flight.",
      normal: '*agrees* on every shard.',
      next: '*differs*: `curl localhost:9010/api/compare` names the cause. A missing shard has no verdict: no baseline, unreadable, or unwatched.',
    },
  }),
  value({
    title: 'Verdicts Agree',
    mappings: [[0, 'no', 'red'], [1, 'yes', 'green']],
    noValue: 'cannot be told',
    queries: [now('reconciliation_verdicts_agree')],
    about: {
      shows: 'Whether the verdict from kernel counts equals the gateway\'s.',
      normal: '*yes*. Unknown for up to five seconds after a change.',
      next: '*no*: `curl localhost:9010/api/verdict` names the cause, mostly bypassed requests.',
    },
  }),
  value({
    title: 'Bypassed the Gateway',
    unit: 'short',
    width: 8,
    named: true,
    thresholds: [[null, 'green'], [1, 'orange']],
    noValue: 'not asked',
    queries: [now(`reconciliation_bypassed_requests{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Data requests that bypassed the gateway since the baseline: exact at rest, a lower bound under load.',
      normal: '0.',
      next: 'A client talks to a shard directly. Kernel and shard still agree; the gateway cannot see these requests.',
    },
  }),
  lines({
    title: 'Difference and Bound',
    width: 12,
    unit: 'short',
    dashed: '.*bound.*',
    queries: [
      ask(`reconciliation_requests_difference{${OF_SHARD}}`, `${SHARD}: kernel − app`),
      ask(`reconciliation_requests_bound{${OF_SHARD}}`, `${SHARD}: bound`),
      ask(`-reconciliation_requests_bound{${OF_SHARD}}`, `${SHARD}: −bound`),
    ],
    about: {
      shows: 'Requests counted by the kernel minus those counted by the shard, since the baseline. Dashed: the bound, from requests in flight.',
      normal: 'Within the bounds under load, 0 at rest.',
      next: 'Above the bound: the shard did not count (stuck, or another server). Below: the kernel missed some (unparsed, another address). See *Not Parsed*.',
    },
  }),
  timeline({
    title: 'Verdicts Side by Side',
    width: 12,
    height: 8,
    mappings: VERDICTS,
    queries: [ask(verdict(''), 'gateway'), ask(verdict('kernel_'), 'kernel')],
    about: {
      shows: 'The gateway\'s verdict, and the verdict from kernel counts by the same rules.',
      normal: 'Two equal bands, up to a second apart.',
      next: 'Kernel hot and gateway balanced: the load does not come through the gateway. The other way round: the kernel misses some.',
    },
  }),
  value({
    title: 'Hot Shard: Gateway and Kernel',
    width: 6,
    height: 8,
    names: true,
    noValue: 'none',
    queries: [
      now('hot_partition_shard == 1', 'gateway: shard {{shard_id}}'),
      now('kernel_hot_partition_shard == 1', 'kernel: shard {{shard_id}}'),
    ],
    about: {
      shows: 'The shard that each verdict names.',
      normal: '*none*, or the same for both.',
      next: 'Different shards: requests reach one of them without the gateway.',
    },
  }),
  value({
    title: 'Because: Gateway and Kernel',
    width: 6,
    height: 8,
    names: true,
    noValue: '–',
    queries: [
      now('hot_partition_reason == 1', 'gateway: {{reason}}'),
      now('kernel_hot_partition_reason == 1', 'kernel: {{reason}}'),
    ],
    about: {
      shows: 'The reason of each verdict: *hot_key*, *placement* or *shard_down*.',
      normal: 'Nothing, or the same for both.',
      next: '*hot_key* from the gateway and *placement* from the kernel: the key is written, and the kernel reads only keys of reads.',
    },
  }),
  lines({
    title: 'Load of the Largest Shard: Gateway and Kernel',
    width: 6,
    unit: 'suffix: fair shares',
    decimals: 2,
    min: 0,
    dashed: '.*at least',
    queries: [
      ask('hot_partition_max_over_mean', 'gateway'),
      ask('kernel_hot_partition_max_over_mean', 'kernel'),
      ask('hot_partition_lower_bound', 'gateway, at least'),
      ask('kernel_hot_partition_lower_bound', 'kernel, at least'),
    ],
    about: {
      shows: 'The largest shard\'s load in fair shares by each verdict, and its lower bound.',
      normal: 'Both lines together; their seconds begin up to one second apart.',
      next: 'Kernel higher: some load bypasses the gateway.',
    },
  }),
  lines({
    title: "Top Key's Share: Gateway and Kernel",
    width: 6,
    unit: 'percentunit',
    min: 0,
    max: 1,
    queries: [ask('hot_partition_top_key_share', 'gateway'), ask('kernel_hot_partition_top_key_share', 'kernel')],
    about: {
      shows: 'Lower bound of the top key\'s share of all requests to shards, by each verdict.',
      normal: 'Both lines together.',
      next: 'Kernel lower: the key is written, or some requests could not be parsed (*Not Parsed*).',
    },
  }),
]];

const requests = ['Requests', [
  lines({
    title: 'Requests: Kernel and App (rate, 1m)',
    unit: 'reqps',
    min: 0,
    dashed: '.*kernel',
    queries: [
      ask(`sum by (shard_id) (shard_operation:shard_requests:rate1m{${OF_SHARD}})`, `${SHARD} app`),
      ask(`sum by (shard_id) (shard_operation:kernel_shard_requests:rate1m{${OF_SHARD}})`, `${SHARD} kernel`),
    ],
    about: {
      shows: `Data requests by kernel and application. ${WHY_RATES}`,
      normal: 'Each dashed line on its solid one.',
      next: 'Lines differ for longer than a minute: look at *Difference and Bound*.',
    },
  }),
  lines({
    title: 'Kernel over App (rate, 1m)',
    unit: 'none',
    decimals: 3,
    queries: [ask(`shard_operation:kernel_over_app_requests:ratio_rate1m{${OF_SHARD}}`, `${SHARD} {{operation}}`)],
    about: {
      shows: `The kernel's rate over the shard's. ${WHY_RATES}`,
      normal: '1, within a few per cent while the load changes or a shard gets few requests.',
      next: 'Steadily above 1: the shard does not count some. Steadily below: the kernel misses some.',
    },
  }),
  lines({
    title: 'Load Share: Gateway and Kernel',
    unit: 'percentunit',
    min: 0,
    max: 1,
    dashed: '.*kernel',
    thresholds: SHARES_OF_FOUR,
    queries: [
      ask(`shard:gateway_shard_distribution:share_rate1m{${OF_SHARD}}`, `${SHARD} gateway`),
      ask(`shard:kernel_shard_requests:share_rate1m{${OF_SHARD}}`, `${SHARD} kernel`),
    ],
    about: {
      shows: "Each shard's share of the load, by the gateway and by the kernel. Shares of one source do not depend on the time of the scrape.",
      normal: 'Each dashed line on its solid one; 25 % for four shards under uniform load.',
      next: 'Kernel higher than the gateway: requests bypass it.',
    },
  }),
]];

const keys = ['Hot keys', [
  rows({
    title: 'Hot Keys: App',
    columns: { shard_id: 'shard', key: 'key', Value: 'requests/s' },
    units: { 'requests/s': 'reqps' },
    noValue: 'none',
    queries: [now(`topk(10, sum by (shard_id, key) (rate(shard_key_access_total{${OF_SHARD}}[1m])) > 0)`)],
    about: {
      shows: 'The most accessed keys, by the shards\' own counts.',
      normal: 'The same keys as in the table beside, at similar rates.',
      next: 'Kernel lower: the key is written, and the kernel reads only keys of reads. Keys over 64 bytes are shown as a hash.',
    },
  }),
  rows({
    title: 'Hot Keys: Kernel',
    columns: { shard_id: 'shard', key: 'key', Value: 'requests/s' },
    units: { 'requests/s': 'reqps' },
    noValue: 'none',
    queries: [now(`topk(10, sum by (shard_id, key) (rate(kernel_shard_key_requests_total{${OF_SHARD}}[1m])) > 0)`)],
    about: {
      shows: "The most read keys, as the kernel counted them at the shards' sockets.",
      normal: 'The same keys as in the table beside, at similar rates.',
      next: '`curl localhost:9010/api/keys?limit=20` has more keys, with their error.',
    },
  }),
  lines({
    title: 'Hot Keys Overlap',
    unit: 'percentunit',
    min: 0,
    max: 1,
    noValue: 'neither calls a key hot',
    queries: [
      ask(`reconciliation_hot_keys_overlap_ratio{${OF_SHARD}}`, SHARD),
    ],
    about: {
      shows: "Overlap of both counts for keys that kernel or shard considers hot. 100 % means the same keys with the same counts over ten seconds.",
      normal: 'Above 95 %; no line without hot keys.',
      next: 'Low: compare the two tables beside.',
    },
  }),
  lines({
    title: 'Reads by Tracked and Other Keys: Kernel',
    width: 24,
    height: 6,
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_key_requests_total{${OF_SHARD}}${RATE}))`, `${SHARD} tracked keys`),
      ask(`sum by (shard_id) (rate(kernel_shard_key_requests_untracked_total{${OF_SHARD}}${RATE}))`, `${SHARD} all others`),
    ],
    about: {
      shows: 'Reads counted by the kernel, of tracked keys and of all others.',
      normal: 'Uniform load: nearly all by others.',
      next: 'A hot shard with few accesses of tracked keys has many warm keys.',
    },
  }),
]];

const time = ['Where the time goes', [
  lines({
    title: 'Latency p95: Gateway, App and Kernel',
    width: 12,
    unit: 's',
    min: 0,
    dashed: '.*kernel',
    traces: true,
    queries: [
      ask(p95('gateway_request_duration_seconds'), `${SHARD} gateway`),
      ask('shard:shard_request_duration_seconds:p95_rate1m{shard_id=~"$shard"}', `${SHARD} app`),
      ask('shard:kernel_shard_request_duration_seconds:p95_rate1m{shard_id=~"$shard"}', `${SHARD} kernel`),
    ],
    about: {
      shows: "One request measured three times: in the gateway, at the shard's socket (kernel, from the head to the first byte of the answer), and in the shard's handler (app).",
      normal: "Gateway and app close together, the kernel within its buckets. These are half an octave wide (16 to 24 ms). `curl localhost:9010/api/shards` has finer ones.",
      next: "Gateway above kernel: time is lost before the shard's socket. Kernel above app: the shard is slow to read its sockets.",
    },
  }),
  lines({
    title: 'Latency p50 and p99: Kernel',
    width: 12,
    unit: 's',
    min: 0,
    dashed: '.*p99',
    queries: [
      ask(`histogram_quantile(0.5, sum by (shard_id, le) (rate(kernel_shard_request_duration_seconds_bucket{${OF_SHARD}}${RATE})))`, `${SHARD} p50`),
      ask(`histogram_quantile(0.99, sum by (shard_id, le) (rate(kernel_shard_request_duration_seconds_bucket{${OF_SHARD}}${RATE})))`, `${SHARD} p99`),
    ],
    about: {
      shows: "Median and p99 at the shard's socket.",
      normal: 'Similar medians; p99 a few milliseconds above.',
      next: 'A rising median: the shard is hot. Only p99 rises: a bad path or a pause.',
    },
  }),
]];

const path = ['Hot shard or bad path?', [
  lines({
    title: 'Payload per Shard',
    unit: 'Bps',
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_payload_bytes_total{${OF_SHARD},direction="transmit"}${RATE}))`, `${SHARD} sent`),
      ask(`-sum by (shard_id) (rate(kernel_shard_payload_bytes_total{${OF_SHARD},direction="receive"}${RATE}))`, `${SHARD} received`),
    ],
    about: {
      shows: "TCP payload of the shard's sockets; what it receives is drawn below zero.",
      normal: 'In step with its requests.',
      next: 'Bytes without requests: large values. Requests without bytes: errors.',
    },
  }),
  lines({
    title: 'Bytes on the Wire per Shard',
    unit: 'Bps',
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_ip_bytes_total{${OF_SHARD},direction="transmit"}${RATE}))`, `${SHARD} sent`),
      ask(`-sum by (shard_id) (rate(kernel_shard_ip_bytes_total{${OF_SHARD},direction="receive"}${RATE}))`, `${SHARD} received`),
    ],
    about: {
      shows: 'The same from the IP header on, including retransmissions and bare acknowledgements.',
      normal: 'The payload and some 52 bytes a packet.',
      next: 'Far above the payload: see *Retransmitted Segments*.',
    },
  }),
  lines({
    title: 'Packets per Shard',
    unit: 'pps',
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_packets_total{${OF_SHARD},direction="transmit"}${RATE}))`, `${SHARD} sent`),
      ask(`-sum by (shard_id) (rate(kernel_shard_packets_total{${OF_SHARD},direction="receive"}${RATE}))`, `${SHARD} received`),
    ],
    about: {
      shows: "Packets of the shard's sockets; those received are drawn below zero.",
      normal: 'One to two a request and direction over kept connections.',
      next: 'Many a request: connections are opened for each, see *Connections*.',
    },
  }),
  lines({
    title: 'Connections Open',
    unit: 'short',
    min: 0,
    dashed: '.*older.*',
    queries: [
      ask(`kernel_shard_connections_open{${OF_SHARD}}`, SHARD),
      ask(`kernel_shard_older_connections_open{${OF_SHARD}}`, `${SHARD}, older than the probe`),
    ],
    about: {
      shows: 'Open connections to the shard: opened since the probe attached, and older ones that carried payload since.',
      normal: 'A constant few: the gateway reuses them.',
      next: 'Rising without end: a client leaks them. Find it with `ss -tn`.',
    },
  }),
  lines({
    title: 'Connections',
    unit: 'cps',
    min: 0,
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_connections_opened_total{${OF_SHARD}}${RATE}))`, `${SHARD} opened`),
      ask(`sum by (shard_id) (rate(kernel_shard_connections_closed_total{${OF_SHARD}}${RATE}))`, `${SHARD} closed`),
      ask(`sum by (shard_id) (rate(kernel_shard_connections_cut_total{${OF_SHARD}}${RATE}))`, `${SHARD} cut`),
      ask(`sum by (shard_id) (rate(kernel_shard_older_connections_seen_total{${OF_SHARD}}${RATE}))`, `${SHARD} older, seen`),
      ask(`sum by (shard_id) (rate(kernel_shard_older_connections_closed_total{${OF_SHARD}}${RATE}))`, `${SHARD} older, closed`),
    ],
    about: {
      shows: "Connections opened and closed per second. Cut: ended by a reset or timeout, without the shard's FIN.",
      normal: 'Nearly none: connections are reused.',
      next: 'Many: a client opens one for each request. Cut: clients give up.',
    },
  }),
  lines({
    title: 'Retransmitted Segments',
    unit: 'pps',
    min: 0,
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_retransmitted_segments_total{${OF_SHARD}}${RATE}))`, `${SHARD} sent again`),
      ask(`sum by (shard_id) (rate(kernel_shard_repeated_segments_total{${OF_SHARD}}${RATE}))`, `${SHARD} received again`),
    ],
    about: {
      shows: 'Segments retransmitted by the shard, and segments that reached it twice.',
      normal: '0 on one machine.',
      next: 'More than 0 with a slow shard: a bad path, not a hot shard. Look at the network before the keys.',
    },
  }),
  lines({
    title: 'Resets and Requests Given Up',
    unit: 'cps',
    min: 0,
    queries: [
      ask(`sum by (shard_id, direction) (rate(kernel_shard_resets_total{${OF_SHARD}}${RATE}))`, `${SHARD} RST {{direction}}`),
      ask(`sum by (shard_id) (rate(kernel_shard_aborted_requests_total{${OF_SHARD}}${RATE}))`, `${SHARD} requests given up`),
    ],
    about: {
      shows: 'RST segments in both directions, and aborted requests.',
      normal: '0.',
      next: 'Sent: no listener, or the shard closes connections. Received, or aborted: clients time out (UPSTREAM_TIMEOUT_MS).',
    },
  }),
  lines({
    title: 'Round-Trip Time p95',
    unit: 's',
    min: 0,
    noValue: 'switched off (--rtt on)',
    queries: [ask(p95('kernel_shard_rtt_seconds'), SHARD)],
    about: {
      shows: "TCP's round-trip time, from a shard's segment to its acknowledgement.",
      normal: 'Off by default, because it costs up to 1 %. On one machine tens of microseconds, or 40 ms for a delayed acknowledgement.',
      next: 'Start the probe with `--rtt on`. High for one shard only: a bad path to it.',
    },
  }),
  lines({
    title: 'Not Parsed',
    unit: 'pps',
    min: 0,
    queries: [ask(`sum by (reason) (rate(kernel_shard_unparsed_total{${OF_SHARD}}${RATE}))`, '{{reason}}')],
    about: {
      shows: 'Segments to the shards that the kernel could not parse as HTTP, by reason.',
      normal: '0; for a moment after the probe has attached, *joined*.',
      next: 'docs/http.md explains each reason. Unparsed requests are not counted, so kernel and application differ.',
    },
  }),
]];

export const kernelVsApp = () => dashboard({
  uid: 'kernel-vs-app',
  title: 'Kernel vs App',
  about: "The application's numbers checked against the kernel's: requests, verdicts, hot keys, latency; and what the kernel alone sees: bytes, connections, retransmissions.",
  shards: true,
  sections: [agreement, requests, keys, time, path],
});
