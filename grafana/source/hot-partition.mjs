// Dashboard "Hot Partition Detection": is a shard hot, which key makes it so, what does it cost, does the cache help?

import { FAIR_SHARES, GATEWAYS, SHARES_OF_FOUR, VERDICTS, ask, bars, dashboard, heat, lines, now, pie, rows, timeline, value, verdict } from './lab.mjs';

const OF_SHARD = 'shard_id=~"$shard"';
const SHARD = 'shard {{shard_id}}';
const RATE = '[$__rate_interval]';

const question = ['Is a shard hot?', [
  value({
    title: 'Verdict',
    queries: [now(verdict(GATEWAYS))],
    mappings: VERDICTS,
    noValue: 'no verdict',
    about: {
      shows: 'Whether a shard gets more than its share of the requests sent to shards. The gateway judges every second, over the last second and the last ten.',
      normal: '*balanced*, or *not enough traffic* below 100 requests in ten seconds.',
      next: 'From *hot* on, read shard and reason in the panels beside.',
    },
  }),
  value({
    title: 'Hot Shard',
    queries: [now(`${GATEWAYS('shard')} == 1`, SHARD)],
    names: true,
    noValue: 'none',
    about: {
      shows: 'The shard that the verdict names.',
      normal: '*none*.',
      next: 'Compare its latency and queue with the others below.',
    },
  }),
  value({
    title: 'Reason',
    queries: [now(`${GATEWAYS('reason')} == 1`, '{{reason}}')],
    names: true,
    noValue: '–',
    about: {
      shows: 'The reason. *hot_key*: one key is at least half of the excess. *placement*: many warm keys share the shard. *shard_down*: a shard does not answer.',
      normal: 'Nothing.',
      next: 'For *hot_key*, switch the cache on; no other placement helps. For *placement*, use another placement or more shards. For *shard_down*, check whether the shard runs.',
    },
  }),
  value({
    title: 'Load of the Largest Shard',
    queries: [now(GATEWAYS('max_over_mean'))],
    unit: 'suffix: fair shares',
    decimals: 2,
    thresholds: FAIR_SHARES,
    noValue: '–',
    about: {
      shows: 'Requests of the busiest shard in fair shares. 1 is an even split. With four shards, 4 is all requests.',
      normal: '1.0 to 1.2. With little traffic it is larger by chance.',
      next: 'The colours follow the verdict, which uses the lower bound: see *Load of the Largest Shard over Time*.',
    },
  }),
  value({
    title: "Top Key's Share",
    queries: [now(GATEWAYS('top_key_share'))],
    unit: 'percentunit',
    decimals: 1,
    thresholds: [[null, 'green'], [0.25, 'orange']],
    noValue: '–',
    about: {
      shows: 'Lower bound of the top key\'s share of all requests to shards.',
      normal: 'Below 25 % for four shards.',
      next: 'Above 25 % this key alone exceeds a fair share. No placement can balance it. Use the cache or copies.',
    },
  }),
  value({
    title: 'Alerts Firing',
    queries: [now('ALERTS{alertstate="firing"}', '{{alertname}} {{shard_id}}')],
    names: true,
    noValue: 'none',
    about: {
      shows: 'Every alert that fires now, with its shard.',
      normal: '*none*.',
      next: 'docs/alerts.md explains each alert and what to do.',
    },
  }),
  timeline({
    title: 'Verdict over Time',
    queries: [ask(verdict(GATEWAYS), 'gateway')],
    mappings: VERDICTS,
    about: {
      shows: 'The verdict since the start of the time range.',
      normal: 'One green band. *critical* begins at once. Every step down takes three of five seconds.',
      next: 'A band that flickers between two states is at a threshold. Look at the load of the largest shard.',
    },
  }),
]];

const load = ['Who gets how much', [
  lines({
    title: 'Requests per Shard (rate)',
    width: 12,
    unit: 'reqps',
    min: 0,
    traces: true,
    queries: [ask(`sum by (shard_id) (rate(gateway_shard_distribution_total{${OF_SHARD}}${RATE}))`, SHARD)],
    about: {
      shows: 'Requests that the gateway sent to each shard, without cache hits.',
      normal: 'Four lines close together.',
      next: 'A line far above the others is a hot shard. A line at zero is a shard that is down or has no requested keys.',
    },
  }),
  bars({
    title: 'Shard Load % (Imbalance Detector)',
    width: 6,
    unit: 'percentunit',
    min: 0,
    max: 1,
    decimals: 1,
    thresholds: SHARES_OF_FOUR,
    traces: true,
    queries: [now(`shard:gateway_shard_distribution:share_rate1m{${OF_SHARD}}`, SHARD)],
    about: {
      shows: "Each shard's share of all requests sent to shards, over the last minute.",
      normal: '25 % each. For four shards a share is warm from 30 %, hot from 37.5 % and critical from 50 %.',
      next: 'This share has no significance test, but the verdict has one. If they differ, trust the verdict.',
    },
  }),
  pie({
    title: 'Request Distribution (last 5m)',
    width: 6,
    unit: 'short',
    decimals: 0,
    queries: [now(`sum by (shard_id) (increase(gateway_shard_distribution_total{${OF_SHARD}}[5m]))`, SHARD)],
    about: {
      shows: 'Requests sent to each shard within the last five minutes.',
      normal: 'Four quarters.',
      next: 'A recent hot shard shows here late. Look at the rate.',
    },
  }),
  heat({
    title: 'Requests by Shard and Time',
    unit: 'reqps',
    queries: [ask(`sum by (shard_id) (rate(gateway_shard_distribution_total{${OF_SHARD}}${RATE}))`, SHARD)],
    about: {
      shows: 'The same rates as a heat map. Each row is a shard. Darker is more requests per second.',
      normal: 'Rows of one colour.',
      next: 'A dark row is a hot shard. A dark column is more load on all shards. A row turns pale when a mitigation works.',
    },
  }),
  lines({
    title: 'Load of the Largest Shard over Time',
    width: 12,
    unit: 'suffix: fair shares',
    decimals: 2,
    min: 0,
    thresholds: FAIR_SHARES,
    limits: true,
    dashed: '.*at least.*',
    queries: [ask(GATEWAYS('max_over_mean'), 'measured'), ask(GATEWAYS('lower_bound'), 'lower bound (99.9 %)')],
    about: {
      shows: "The largest shard's load in fair shares, and its lower bound for the number of requests in the window.",
      normal: 'The lower bound stays below 1.2.',
      next: 'The lower bound decides: 1.2 is warm, 1.5 hot, 2 critical. If it is far below the measured line, there is too little traffic.',
    },
  }),
]];

const cost = ['What it costs', [
  lines({
    title: 'Shard Latency p95',
    unit: 's',
    min: 0,
    traces: true,
    queries: [ask(`histogram_quantile(0.95, sum by (shard_id, le) (rate(shard_request_duration_seconds_bucket{${OF_SHARD}}${RATE})))`, SHARD)],
    about: {
      shows: 'The shard\'s own p95, including the wait for service.',
      normal: 'All similar: 17 to 20 ms in the lab profile, more under load.',
      next: 'If one shard is above the others, its queue is long: see *Active Requests per Shard*. If all shards are slow, the machine or the load is the cause.',
    },
  }),
  lines({
    title: 'Active Requests per Shard',
    unit: 'short',
    min: 0,
    traces: true,
    queries: [ask(`shard_active_requests{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Requests in service or queued at the time of the scrape.',
      normal: 'Below SHARD_CONCURRENCY (2 in the lab profile), with short peaks.',
      next: 'Requests above that number are queued. Near the limit the alert ShardQueueFilling fires. Beyond it, requests are shed.',
    },
  }),
  lines({
    title: 'Queue Usage',
    unit: 'percentunit',
    min: 0,
    max: 1,
    thresholds: [[null, 'green'], [0.5, 'orange']],
    limits: true,
    queries: [ask(`shard_active_requests{${OF_SHARD}} / shard_active_requests_limit{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Active requests over SHARD_CONCURRENCY + SHARD_QUEUE.',
      normal: 'Near 0.',
      next: 'If it is above one half for 15 s, the alert ShardQueueFilling fires. Reduce the load of the shard.',
    },
  }),
  lines({
    title: 'Outcomes at the Shards',
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum (rate(shard_requests_served_total{${OF_SHARD}}${RATE}))`, 'served'),
      ask(`sum (rate(shard_requests_rejected_total{${OF_SHARD}}${RATE}))`, 'rejected'),
      ask(`sum (rate(shard_requests_shed_total{${OF_SHARD}}${RATE}))`, 'shed'),
    ],
    about: {
      shows: 'Outcomes of data requests: served, rejected (4xx, 507, or aborted by the client), shed (503: queue full).',
      normal: 'All served.',
      next: 'If requests are shed, a queue is full: see the panels beside. If they are rejected, see *Errors by Kind*.',
    },
  }),
  lines({
    title: 'Gateway Latency p95',
    unit: 's',
    min: 0,
    traces: true,
    queries: [ask(`histogram_quantile(0.95, sum by (shard_id, le) (rate(gateway_request_duration_seconds_bucket{${OF_SHARD}}${RATE})))`, SHARD)],
    about: {
      shows: "Latency in the gateway by the key's home shard, including cache hits.",
      normal: "The shard's latency and a fraction of a millisecond. With the cache on it is far below the shard's.",
      next: "If it is far above the shard's own latency, time is lost between them: see the dashboard *Kernel vs App*.",
    },
  }),
  lines({
    title: 'Errors by Kind',
    unit: 'reqps',
    min: 0,
    noValue: 'no errors',
    queries: [ask(`sum by (kind, blame) (rate(gateway_errors_total${RATE}))`, '{{kind}} ({{blame}})')],
    about: {
      shows: 'Error answers by kind and blame.',
      normal: 'No series, because there was no error.',
      next: 'For *shard*, check whether it runs or sheds. For *client*, the requests are invalid. For *gateway*, read its log.',
    },
  }),
  lines({
    title: 'Circuit Breakers',
    unit: 'short',
    min: 0,
    queries: [
      ask('max by (shard_id) (gateway_shard_breaker_state)', 'shard {{shard_id}}: 0 closed, 1 half-open, 2 open'),
      ask(`sum by (shard_id) (rate(gateway_shard_breaker_refused_total${RATE}))`, 'shard {{shard_id}}: refused/s'),
      ask('sum by (shard_id) (increase(gateway_shard_breaker_opened_total[1m]))', 'shard {{shard_id}}: opened in 1 min'),
    ],
    about: {
      shows: 'The worst state of a shard\'s breaker at any gateway, the requests that failed at once, and how often it opened.',
      normal: '0.',
      next: 'The gateway logs one line when a shard fails and one when it is back. Check whether the shard runs.',
    },
  }),
  lines({
    title: 'Shed Connections and Requests',
    unit: 'ops',
    min: 0,
    queries: [
      ask(`sum by (reason) (rate(service_connections_shed_total${RATE}))`, 'connections: {{reason}}'),
      ask(`sum by (reason) (rate(service_requests_shed_total${RATE}))`, 'requests: {{reason}}'),
    ],
    about: {
      shows: 'Connections that a process ended or refused, and requests that it answered with 503, by reason.',
      normal: 'None. A client that is too slow causes a few.',
      next: 'See the alert *ServiceShedding*. *refused* and *no_descriptor* mean that a limit of the process is reached.',
    },
  }),
]];

const keys = ['Which keys', [
  bars({
    title: 'Top 10 Keys by Access Rate',
    unit: 'reqps',
    decimals: 1,
    min: 0,
    thresholds: [[null, 'blue']],
    queries: [now(`topk(10, sum by (key) (rate(gateway_key_access_total${RATE})))`, '{{key}}')],
    about: {
      shows: 'The most requested keys at the gateway, including cache hits.',
      normal: 'Bars of similar length.',
      next: 'A long bar is a hot key. With the cache on, its shard is not hot.',
    },
  }),
  rows({
    title: 'Hot Keys Detected',
    columns: { shard_id: 'shard', key: 'key', Value: "share of the shard's accesses" },
    units: { "share of the shard's accesses": 'percentunit' },
    noValue: 'none',
    queries: [now(`
      sum by (shard_id, key) (rate(shard_key_access_total{${OF_SHARD}}[1m]))
        / on (shard_id) group_left ()
      sum by (shard_id) (rate(shard_requests_total{${OF_SHARD}}[1m]))
        and on (shard_id, key) shard_hot_key_detected == 1`.trim())],
    about: {
      shows: 'Keys with more than 30 % of the accesses of their shard in the last ten seconds, as the shard counts them. The share shown is over one minute.',
      normal: 'Empty. A shard with little traffic can have one by chance.',
      next: 'Compare them with *Hot Keys* on the dashboard *Kernel vs App*.',
    },
  }),
  lines({
    title: 'Accesses by Tracked and Other Keys',
    unit: 'reqps',
    min: 0,
    stacked: true,
    queries: [
      ask(`sum(rate(gateway_key_access_total${RATE})) or vector(0)`, 'tracked keys'),
      ask(`sum(rate(gateway_key_access_untracked_total${RATE}))`, 'all other keys'),
      ask(`sum(rate(shard_key_access_untracked_total{${OF_SHARD}}${RATE}))`, 'all other keys, at the shards'),
    ],
    overrides: [['.*at the shards', [{ id: 'custom.stacking', value: { mode: 'none', group: 'A' } }, { id: 'custom.fillOpacity', value: 0 }]]],
    about: {
      shows: 'Accesses of tracked keys and of all others at the gateway, and of the others at the shards.',
      normal: 'Under uniform load nearly all accesses are to other keys. Under skewed load more are to tracked keys.',
      next: 'If a hot shard has few accesses to tracked keys, many warm keys make it hot: reason *placement*.',
    },
  }),
]];

const reads = 'sum(rate(gateway_cache_hits_total[$__rate_interval])) + sum(rate(gateway_cache_misses_total[$__rate_interval])) + sum(rate(gateway_cache_coalesced_total[$__rate_interval]))';

const cache = ['What is done about it', [
  lines({
    title: 'Gateway Request Rate',
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (operation) (rate(gateway_requests_total${RATE}))`, '{{operation}}'),
      ask(`sum(rate(gateway_requests_total{cache_hit="true"}${RATE}))`, 'from the cache'),
    ],
    about: {
      shows: 'Requests of clients to the gateway by operation, and the part answered from the cache.',
      normal: 'The offered load. With the cache off, no read is answered from the cache.',
      next: 'Requests that are not answered from the cache reach a shard: see *Requests per Shard (rate)*.',
    },
  }),
  lines({
    title: 'Cache Hit Rate',
    unit: 'percentunit',
    min: 0,
    max: 1,
    queries: [
      ask(`sum(rate(gateway_cache_hits_total${RATE})) / (${reads} > 0)`, 'hits'),
      ask(`sum(rate(gateway_cache_coalesced_total${RATE})) / (${reads} > 0)`, 'coalesced'),
    ],
    about: {
      shows: "The share of reads answered from the cache, and the share that waited for another read's fetch.",
      normal: '0 with the cache off. With the cache on, 80 to 95 % under celebrity load, rising over time.',
      next: 'If it is low with the cache on, few keys are read twice within the time to live.',
    },
  }),
  lines({
    title: 'Gateway Cache Size',
    unit: 'short',
    min: 0,
    queries: [ask('gateway_cache_size', 'entries')],
    about: {
      shows: 'Entries in the cache.',
      normal: '0 with the cache off. With it on, at most the number of keys read within a time to live.',
      next: 'A drop to 0 is a reset, or the cache was switched. CACHE_MAX_BYTES limits the cache by bytes, not by entries.',
    },
  }),
  timeline({
    title: 'Mitigations Switched On',
    width: 12,
    height: 8,
    mappings: [[0, 'off', 'text'], [1, 'on', 'blue']],
    queries: [ask('gateway_mitigation_enabled', '{{mitigation}}')],
    about: {
      shows: 'When each mitigation was on.',
      normal: 'The mitigations that you switched on. Nothing is on at the start.',
      next: 'Compare the time of a change with the rates above. `curl localhost:8000/admin/what-if` predicts the effect of each.',
    },
  }),
  lines({
    title: 'Changes of Mitigations',
    width: 6,
    unit: 'short',
    decimals: 0,
    min: 0,
    queries: [ask('sum by (mitigation, reason) (increase(gateway_mitigation_changes_total[1m]))', '{{mitigation}} by {{reason}}')],
    about: {
      shows: 'Switches of mitigations in the last minute, by request or by the gateway itself (auto).',
      normal: '0, except at a switch.',
      next: 'Many switches come from two users, or from a load at a threshold. The gateway logs every change.',
    },
  }),
  lines({
    title: 'Refreshes, Stale Copies and Negative Cache',
    width: 6,
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (result) (rate(gateway_cache_refreshes_total${RATE}))`, 'refresh {{result}}'),
      ask(`sum(rate(gateway_cache_stale_total${RATE}))`, 'served stale'),
      ask(`sum(rate(gateway_negative_cache_hits_total${RATE}))`, 'negative cache hit'),
    ],
    about: {
      shows: "Background fetches for copies that are still served (stale-while-revalidate), reads answered with a stale copy, and reads answered from the negative cache.",
      normal: '0 while both are off. With stale-while-revalidate, one refresh for each key and time to live.',
      next: 'If there is *failed*, or a negative cache hit, a shard does not answer: see *Errors by Kind*.',
    },
  }),
  lines({
    title: 'Copies of Replicated Keys, and Reads Forwarded',
    width: 12,
    height: 6,
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (result) (rate(gateway_replica_reads_total${RATE}))`, 'read {{result}}'),
      ask(`sum by (result) (rate(gateway_replica_writes_total${RATE}))`, 'write {{result}}'),
      ask(`sum(rate(gateway_bounded_load_forwarded_total${RATE}))`, 'forwarded by bounded load'),
    ],
    about: {
      shows: "With replication: reads of hot keys sent to a copy, and copies sent to shards. With PLACEMENT=bounded: reads forwarded because the home had too much in flight.",
      normal: '0 while both are off. With replication most are *served*. Reads at home are not included.',
      next: 'If many are *overtaken*, the key is written often, and copies help little. If there is *lost* or *failed*, a shard was restarted or does not answer.',
    },
  }),
  lines({
    title: 'Gateways Without the Settings of Another',
    width: 12,
    height: 6,
    unit: 'short',
    decimals: 0,
    min: 0,
    queries: [
      ask('max(gateway_peers{holds="false"})', 'without'),
      ask('sum(increase(gateway_peer_exchanges_total{result="failed"}[1m]))', 'failed exchanges in 1 min'),
    ],
    about: {
      shows: 'With PEER_URL: the largest number of gateways at which the switches of one do not hold, and the exchanges that failed.',
      normal: '0, except for seconds at a switch, and until a gateway that has ended is forgotten by DNS.',
      next: 'The gateways log each other that does not take part, with the reason. `curl localhost:8000/admin/mitigation` lists it in `failed`.',
    },
  }),
]];

const store = ['The store, and traces', [
  lines({
    title: 'Stored Keys',
    unit: 'short',
    min: 0,
    queries: [ask(`shard_stored_keys{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Stored keys by shard. A read of an absent key creates it.',
      normal: 'Similar numbers. A hot partition has many accesses, rarely many keys.',
      next: 'At SHARD_MAX_KEYS, writes of new keys are refused (507).',
    },
  }),
  lines({
    title: 'Stored Bytes',
    unit: 'bytes',
    min: 0,
    queries: [ask(`shard_stored_bytes{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Stored bytes by shard, counted as for SHARD_MAX_BYTES.',
      normal: "In proportion to the shard's keys.",
      next: 'A shard far above the others holds large values. Placement ignores the size of values.',
    },
  }),
  lines({
    title: 'Spans by Outcome',
    unit: 'short',
    min: 0,
    noValue: 'tracing is off',
    queries: [ask(`sum by (outcome) (rate(service_spans_total${RATE}))`, '{{outcome}}')],
    about: {
      shows: 'Spans per second that gateway and shards exported, could not send, or dropped because the queue was full.',
      normal: 'All are exported. Without a collector (OTEL_EXPORTER_OTLP_ENDPOINT) there is no series.',
      next: 'If there is *failed*, the collector does not answer. If there is *dropped*, sample less (OTEL_TRACES_SAMPLER_ARG). See docs/traces.md.',
    },
  }),
]];

export const hotPartition = () => dashboard({
  uid: 'hot-partition-detection',
  title: 'Hot Partition Detection',
  about: 'Is a shard hot, which key causes it, what does it cost, and does the mitigation work? The figures are the application\'s; the dashboard Kernel vs App compares them with the kernel\'s.',
  shards: true,
  sections: [question, load, cost, keys, cache, store],
});
