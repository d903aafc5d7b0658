// Dashboard "Kernel vs App": whether both witnesses agree, and where they differ.

import { GATEWAYS, KERNEL, SHARES_OF_FOUR, VERDICTS, ask, dashboard, lines, now, rows, timeline, value, verdict } from './lab.mjs';

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
      next: 'For *differs*, `curl localhost:9010/api/compare` has the cause. A missing shard has no verdict: it has no baseline, or it is unreadable or unwatched.',
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
      next: 'For *no*, `curl localhost:9010/api/verdict` has the cause. It is mostly bypassed requests.',
    },
  }),
  value({
    title: 'Bypassed the Gateway',
    unit: 'short',
    width: 8,
    named: true,
    thresholds: [[null, 'green'], [1, 'orange']],
    noValue: 'no gateway',
    queries: [now(`reconciliation_bypassed_requests{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Data requests that bypassed the gateway since the baseline: exact at rest, a lower bound under load.',
      normal: '0.',
      next: 'If it is above 0, a client sends requests to a shard directly. Kernel and shard still agree, but the gateway cannot see these requests.',
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
      shows: 'Requests counted by the kernel minus those counted by the shard, since the baseline. Dashed lines are the bound, which requests in flight explain.',
      normal: 'Within the bounds under load, 0 at rest.',
      next: 'Above the bound, the shard did not count some requests: it is stuck, or another server answers. Below the bound, the kernel missed some: see *Unparsed Segments*.',
    },
  }),
  timeline({
    title: 'Verdicts Side by Side',
    width: 12,
    height: 8,
    mappings: VERDICTS,
    queries: [ask(verdict(GATEWAYS), 'gateway'), ask(verdict(KERNEL), 'kernel')],
    about: {
      shows: 'The gateway\'s verdict, and the verdict from kernel counts by the same rules.',
      normal: 'Two equal bands, up to a second apart.',
      next: "If only the kernel's verdict is hot, the load does not come through the gateway. If only the gateway's verdict is hot, the kernel misses some requests.",
    },
  }),
  value({
    title: 'Hot Shard: Gateway and Kernel',
    width: 6,
    height: 8,
    names: true,
    noValue: 'none',
    queries: [
      now(`${GATEWAYS('shard')} == 1`, 'gateway: shard {{shard_id}}'),
      now('kernel_hot_partition_shard == 1', 'kernel: shard {{shard_id}}'),
    ],
    about: {
      shows: 'The shard that each verdict names.',
      normal: '*none*, or the same for both.',
      next: 'If the shards differ, requests reach one of them without the gateway.',
    },
  }),
  value({
    title: 'Reason: Gateway and Kernel',
    width: 6,
    height: 8,
    names: true,
    noValue: '–',
    queries: [
      now(`${GATEWAYS('reason')} == 1`, 'gateway: {{reason}}'),
      now('kernel_hot_partition_reason == 1', 'kernel: {{reason}}'),
    ],
    about: {
      shows: 'The reason of each verdict: *hot_key*, *placement* or *shard_down*.',
      normal: 'Nothing, or the same for both.',
      next: 'With *hot_key* from the gateway and *placement* from the kernel, the key is written. The kernel reads only keys of reads.',
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
      ask(GATEWAYS('max_over_mean'), 'gateway'),
      ask('kernel_hot_partition_max_over_mean', 'kernel'),
      ask(GATEWAYS('lower_bound'), 'gateway, lower bound'),
      ask('kernel_hot_partition_lower_bound', 'kernel, lower bound'),
    ],
    about: {
      shows: 'The largest shard\'s load in fair shares by each verdict, and its lower bound.',
      normal: 'Both lines are close. Their windows begin up to one second apart.',
      next: "If the kernel's line is higher, some load bypasses the gateway.",
    },
  }),
  lines({
    title: "Top Key's Share: Gateway and Kernel",
    width: 6,
    unit: 'percentunit',
    min: 0,
    max: 1,
    queries: [ask(GATEWAYS('top_key_share'), 'gateway'), ask('kernel_hot_partition_top_key_share', 'kernel')],
    about: {
      shows: 'Lower bound of the top key\'s share of all requests to shards, by each verdict.',
      normal: 'Both lines are close.',
      next: "If the kernel's line is lower, the key is written, or some requests could not be parsed: see *Unparsed Segments*.",
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
      normal: 'Each dashed line covers its solid one.',
      next: 'If lines differ for longer than a minute, look at *Difference and Bound*.',
    },
  }),
  lines({
    title: 'Kernel over App (rate, 1m)',
    unit: 'none',
    decimals: 3,
    queries: [ask(`shard_operation:kernel_over_app_requests:ratio_rate1m{${OF_SHARD}}`, `${SHARD} {{operation}}`)],
    about: {
      shows: `The kernel's rate over the shard's. ${WHY_RATES}`,
      normal: '1. It varies by a few per cent while the load changes or a shard gets few requests.',
      next: 'If it stays above 1, the shard does not count some requests. If it stays below 1, the kernel misses some.',
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
      normal: 'Each dashed line covers its solid one. Under uniform load on four shards it is 25 %.',
      next: "If the kernel's share is higher than the gateway's, requests bypass the gateway.",
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
      next: "If the kernel's count is lower, the key is written. The kernel reads only keys of reads. Keys over 64 bytes are shown as a hash.",
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
      normal: 'Above 95 %. Without hot keys there is no line.',
      next: 'If it is low, compare the two tables beside.',
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
      normal: 'Under uniform load nearly all reads are of other keys.',
      next: 'A hot shard with few accesses to tracked keys has many warm keys.',
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
      shows: "The latency of a request at three places: in the gateway, at the shard's socket (kernel), and in the shard's handler (app). The kernel measures from the head to the first byte of the answer.",
      normal: 'Gateway and app are close, and the kernel is within its buckets. A bucket here is half an octave wide (16 to 24 ms). `curl localhost:9010/api/shards` has finer ones.',
      next: "If the gateway is above the kernel, time is lost before the shard's socket. If the kernel is above the app, the shard is slow to read its sockets.",
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
      normal: 'Similar medians. p99 is a few milliseconds higher.',
      next: 'If the median rises, the shard is hot. If only p99 rises, the path is bad or the process pauses.',
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
      shows: "TCP payload of the shard's sockets. Received payload is drawn below zero.",
      normal: "In proportion to the shard's requests.",
      next: 'Bytes without requests are large values. Requests without bytes are errors.',
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
      shows: 'Payload with IP and TCP headers, including retransmissions and bare acknowledgements.',
      normal: 'The payload and about 52 bytes a packet.',
      next: 'If it is far above the payload, see *Retransmitted Segments*.',
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
      shows: "Packets of the shard's sockets. Received packets are drawn below zero.",
      normal: 'One or two packets for each request and direction, if connections are reused.',
      next: 'If there are many for each request, clients open a connection for each: see *Connections*.',
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
      shows: 'Open connections to the shard: those opened since the probe attached, and older ones that have carried payload since then.',
      normal: 'A small constant number, because the gateway reuses connections.',
      next: 'If it rises without end, a client leaks connections. Find it with `ss -tn`.',
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
      shows: "Connections opened and closed per second. A *cut* connection ended by a reset or timeout, without the shard's FIN.",
      normal: 'Nearly 0, because connections are reused.',
      next: 'If there are many, a client opens one for each request. If many are cut, clients give up.',
    },
  }),
  lines({
    title: 'Retransmitted Segments',
    unit: 'pps',
    min: 0,
    queries: [
      ask(`sum by (shard_id) (rate(kernel_shard_retransmitted_segments_total{${OF_SHARD}}${RATE}))`, `${SHARD} retransmitted`),
      ask(`sum by (shard_id) (rate(kernel_shard_repeated_segments_total{${OF_SHARD}}${RATE}))`, `${SHARD} received twice`),
    ],
    about: {
      shows: 'Segments retransmitted by the shard, and segments that reached it twice.',
      normal: '0 on one machine.',
      next: 'If a slow shard has retransmissions, the path is bad. Look at the network before the keys.',
    },
  }),
  lines({
    title: 'Resets and Aborted Requests',
    unit: 'cps',
    min: 0,
    queries: [
      ask(`sum by (shard_id, direction) (rate(kernel_shard_resets_total{${OF_SHARD}}${RATE}))`, `${SHARD} RST {{direction}}`),
      ask(`sum by (shard_id) (rate(kernel_shard_aborted_requests_total{${OF_SHARD}}${RATE}))`, `${SHARD} aborted requests`),
    ],
    about: {
      shows: 'RST segments in both directions, and aborted requests.',
      normal: '0.',
      next: 'If they are sent, there is no listener, or the shard closes connections. If they are received, clients time out (UPSTREAM_TIMEOUT_MS).',
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
      normal: 'Off by default, because it costs up to 1 %. On one machine it is tens of microseconds, or 40 ms for a delayed acknowledgement.',
      next: 'Start the probe with `--rtt on`. If only one shard is high, the path to it is bad.',
    },
  }),
  lines({
    title: 'Unparsed Segments',
    unit: 'pps',
    min: 0,
    queries: [ask(`sum by (reason) (rate(kernel_shard_unparsed_total{${OF_SHARD}}${RATE}))`, '{{reason}}')],
    about: {
      shows: 'Segments to the shards that the kernel could not parse as HTTP, by reason.',
      normal: '0. After the probe has attached, there is *joined* for a moment.',
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
