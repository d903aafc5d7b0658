// Dashboard "Kernel vs App": do both witnesses say the same, and if not, where do they part?

import { SHARES_OF_FOUR, VERDICTS, ask, dashboard, lines, now, rows, timeline, value, verdict } from './lab.mjs';

const OF_SHARD = 'shard_id=~"$shard"';
const SHARD = 'shard {{shard_id}}';
const RATE = '[$__rate_interval]';

const WHY_RATES = 'Kernel and application are scraped at different moments, so only their rates over a minute are put side by side, shard by shard and operation by operation; the true difference is *Difference and Bound*.';

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
      shows: "Whether the kernel's count of data requests and the shard's own are equal, but for what is on its way, since the baseline.",
      normal: '*agrees* on every shard.',
      next: '*differs*: `curl localhost:9010/api/compare` names the cause. A shard that is missing has no verdict: no baseline, not readable, or not wholly watched.',
    },
  }),
  value({
    title: 'Verdicts Agree',
    mappings: [[0, 'no', 'red'], [1, 'yes', 'green']],
    noValue: 'cannot be told',
    queries: [now('reconciliation_verdicts_agree')],
    about: {
      shows: 'Whether the verdict made from kernel counts alone is that of the gateway.',
      normal: '*yes*. For up to five seconds after a change it cannot be told.',
      next: '*no*: `curl localhost:9010/api/verdict` names the cause, mostly requests that reach a shard without the gateway.',
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
      shows: 'Data requests that surely reached the shard without the gateway, since the baseline: exact at rest, a lower bound under load.',
      normal: '0.',
      next: 'Somebody talks to a shard directly. It is no disagreement: kernel and shard both saw them; the gateway could not.',
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
      shows: 'Requests the kernel counted minus those the shard counted, since the baseline, both read in one bracket; dashed, how many may be on their way.',
      normal: 'Within the bounds under load, 0 at rest.',
      next: 'Above the bound: the shard did not count (stuck, or another server). Below: the kernel did not see (unparsed, another address). See *Not Parsed*.',
    },
  }),
  timeline({
    title: 'Verdicts Side by Side',
    width: 12,
    height: 8,
    mappings: VERDICTS,
    queries: [ask(verdict(''), 'gateway'), ask(verdict('kernel_'), 'kernel')],
    about: {
      shows: 'The verdict by the gateway, and by kernel counts alone, under the same rules.',
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
      shows: 'The shard that each verdict is about.',
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
      shows: 'Why, by each verdict: *hot_key*, *placement* or *shard_down*.',
      normal: 'Nothing, or the same for both.',
      next: '*hot_key* by the gateway and *placement* by the kernel: the key is written, and the kernel reads keys of reads alone.',
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
      shows: 'How many fair shares the largest shard gets by either, and at the least.',
      normal: 'Kernel on gateway; their seconds begin up to one second apart.',
      next: 'The kernel higher: the rest of the load bypasses the gateway.',
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
      shows: 'The part of all requests to shards that asks for one key, at the least, by either.',
      normal: 'Kernel on gateway.',
      next: 'The kernel lower: the key is written, or many connections begin in the midst of requests (*Not Parsed*).',
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
      shows: `Data requests by both witnesses. ${WHY_RATES}`,
      normal: 'Each dashed line on its solid one.',
      next: 'Lines that part for longer than a minute: look at *Difference and Bound*.',
    },
  }),
  lines({
    title: 'Kernel over App (rate, 1m)',
    unit: 'none',
    decimals: 3,
    queries: [ask(`shard_operation:kernel_over_app_requests:ratio_rate1m{${OF_SHARD}}`, `${SHARD} {{operation}}`)],
    about: {
      shows: `The kernel's rate over the shard's. ${WHY_RATES}`,
      normal: '1; a few per cent off while the load changes or a shard gets few requests.',
      next: 'Steadily above 1: the shard does not count some. Steadily below: the kernel does not see some.',
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
      shows: "Each shard's part of the load, by what the gateway sent and by what the kernel saw arrive. Shares of one witness each, so that moments of scrapes do not matter.",
      normal: 'Each dashed line on its solid one; 25 % for four shards under even load.',
      next: 'The kernel sees a shard hotter than the gateway: requests bypass it.',
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
      shows: 'The keys that are read and written most, by the shards themselves.',
      normal: 'The same keys as in the table beside, at like rates.',
      next: 'Kernel lower: the key is written, and the kernel reads keys of reads alone; or longer than 64 bytes, and then named by a hash.',
    },
  }),
  rows({
    title: 'Hot Keys: Kernel',
    columns: { shard_id: 'shard', key: 'key', Value: 'requests/s' },
    units: { 'requests/s': 'reqps' },
    noValue: 'none',
    queries: [now(`topk(10, sum by (shard_id, key) (rate(kernel_shard_key_requests_total{${OF_SHARD}}[1m])) > 0)`)],
    about: {
      shows: "The keys read most, as the kernel saw them cross the shards' sockets.",
      normal: 'The same keys as in the table beside, at like rates.',
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
      shows: "How far both count the same for the keys that either calls hot: 100 % is the same keys with the same counts over ten seconds.",
      normal: 'Above 95 %; no line where neither calls a key hot.',
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
      shows: 'Reads the kernel saw, by keys with a series of their own and by all others.',
      normal: 'Even load: nearly all by others.',
      next: 'A hot shard whose tracked keys have little is hot by many warm keys.',
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
      shows: "Three clocks on one request: in the gateway; at the shard's socket (kernel: head in to first byte of the answer out); in the shard's handler (app).",
      normal: "Gateway and app together, the kernel within its buckets: they are half an octave wide (16 to 24 ms), so that 20 and 24 ms may be the same. `curl localhost:9010/api/shards` has finer ones.",
      next: "Gateway above kernel: time is lost before the shard's socket (connections, the gateway's own cores), or the cache answers. Kernel above app: the shard does not get to its sockets.",
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
      shows: "Median and slowest hundredth at the shard's socket.",
      normal: 'Medians alike; p99 a few milliseconds above.',
      next: 'A shard whose median rises waits for service: it is hot. One whose p99 alone rises has a bad path or a pause.',
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
      shows: 'The same from the IP header on, repeated segments and bare acknowledgements included.',
      normal: 'The payload and some 52 bytes a packet.',
      next: 'Far above the payload: segments are sent again, see *Retransmitted Segments*.',
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
      shows: 'Connections to the shard that are open: set up since the probe attached, and older ones that have spoken since.',
      normal: 'A steady few: the gateway keeps them.',
      next: 'Rising without end: a client leaks them. See who by `ss -tn`.',
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
      shows: "Connections opened and closed per second; cut ones ended without the shard's FIN, by a reset or a time-out.",
      normal: 'Nearly none: connections are kept.',
      next: 'Many: somebody opens one for each request, which costs more than the request. Cut: clients give up.',
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
      shows: 'Segments the shard had to send again, and segments that reached it twice.',
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
      shows: 'Segments with RST in both directions, and data requests whose client left before an answer.',
      normal: '0.',
      next: 'Sent: nobody listens, or the shard closes on clients. Received, or given up: clients lose patience (UPSTREAM_TIMEOUT_MS).',
    },
  }),
  lines({
    title: 'Round-Trip Time p95',
    unit: 's',
    min: 0,
    noValue: 'switched off (--rtt on)',
    queries: [ask(p95('kernel_shard_rtt_seconds'), SHARD)],
    about: {
      shows: "From a segment of the shard's to its acknowledgement, as TCP measures it.",
      normal: 'Switched off, for it costs up to 1 %. On one machine tens of microseconds, or 40 ms where an acknowledgement is delayed.',
      next: 'Start the probe with `--rtt on`. High for one shard alone: a bad path to it.',
    },
  }),
  lines({
    title: 'Not Parsed',
    unit: 'pps',
    min: 0,
    queries: [ask(`sum by (reason) (rate(kernel_shard_unparsed_total{${OF_SHARD}}${RATE}))`, '{{reason}}')],
    about: {
      shows: 'Segments towards the shards with bytes that the kernel could not read as HTTP requests, by reason.',
      normal: '0; for a moment after the probe has attached, *joined*.',
      next: 'docs/http.md says what each reason is. What is not parsed is not counted, and makes the witnesses differ.',
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
