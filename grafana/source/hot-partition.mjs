// Dashboard "Hot Partition Detection": is a shard hot, which key makes it so, what does it cost, does the cache help?

import { FAIR_SHARES, SHARES_OF_FOUR, VERDICTS, ask, bars, dashboard, heat, lines, now, pie, rows, timeline, value, verdict } from './lab.mjs';

const OF_SHARD = 'shard_id=~"$shard"';
const SHARD = 'shard {{shard_id}}';
const RATE = '[$__rate_interval]';

const question = ['Is a shard hot?', [
  value({
    title: 'Verdict',
    queries: [now(verdict(''))],
    mappings: VERDICTS,
    noValue: 'no verdict',
    about: {
      shows: 'Whether a shard gets more than its share of what is really sent to shards, judged by the gateway every second over the last second and the last ten.',
      normal: '*balanced*, or *not enough traffic* below 100 requests in ten seconds.',
      next: 'From *hot* on, read which shard and why beside it.',
    },
  }),
  value({
    title: 'Hot Shard',
    queries: [now('hot_partition_shard == 1', SHARD)],
    names: true,
    noValue: 'none',
    about: {
      shows: 'The shard that the verdict is about.',
      normal: '*none*.',
      next: 'Compare its latency and its queue with those of the others below.',
    },
  }),
  value({
    title: 'Because',
    queries: [now('hot_partition_reason == 1', '{{reason}}')],
    names: true,
    noValue: '–',
    about: {
      shows: 'Why: *hot_key*, one key carries at least half of the excess; *placement*, many warm keys met there; *shard_down*, another shard gets too little.',
      normal: 'Nothing.',
      next: '*hot_key*: switch the cache on, no other placement helps. *placement*: another placement or more shards. *shard_down*: see whether it runs.',
    },
  }),
  value({
    title: 'Load of the Largest Shard',
    queries: [now('hot_partition_max_over_mean')],
    unit: 'suffix: fair shares',
    decimals: 2,
    thresholds: FAIR_SHARES,
    noValue: '–',
    about: {
      shows: 'Requests of the shard that gets most, in fair shares: 1 is an even split, with four shards 4 is everything.',
      normal: '1.0 to 1.2; luck alone makes it larger where there is little traffic.',
      next: 'Colours are those of the verdict, which rests on the surer lower bound: see *Load of the Largest Shard over Time*.',
    },
  }),
  value({
    title: "Top Key's Share",
    queries: [now('hot_partition_top_key_share')],
    unit: 'percentunit',
    decimals: 1,
    thresholds: [[null, 'green'], [0.25, 'orange']],
    noValue: '–',
    about: {
      shows: 'The part of all requests to shards that asks for one key, at the least.',
      normal: 'Below 25 % for four shards.',
      next: 'Above it, this key alone is more than a fair share: no placement can balance it; cache it, or keep copies of it.',
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
      next: 'docs/alerts.md has a section for each: what it means, what to do.',
    },
  }),
  timeline({
    title: 'Verdict over Time',
    queries: [ask(verdict(''), 'gateway')],
    mappings: VERDICTS,
    about: {
      shows: 'The verdict since the start of the time range.',
      normal: 'One green band. *critical* begins at once, every way down takes three of five seconds.',
      next: 'A band that flickers between two states lies at a threshold: look at the load of the largest shard.',
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
      shows: 'Requests the gateway really sent to each shard; cache hits are none of them.',
      normal: 'Four lines close together.',
      next: 'One far above the others is a hot shard; one at zero is down or has no keys that are asked for.',
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
      shows: "Each shard's part of all requests sent to shards, over the last minute.",
      normal: '25 % each; from 30 % it is warm, from 37.5 % hot, from 50 % critical (for four shards).',
      next: 'This figure is not judged for significance, the verdict is: trust that when they differ.',
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
      next: 'What is hot since a minute shows here late: look at the rate.',
    },
  }),
  heat({
    title: 'Requests by Shard and Time',
    unit: 'reqps',
    queries: [ask(`sum by (shard_id) (rate(gateway_shard_distribution_total{${OF_SHARD}}${RATE}))`, SHARD)],
    about: {
      shows: 'The same rates as a map: a row a shard, the darker the more requests/s.',
      normal: 'Rows of one colour.',
      next: 'A dark row is a hot shard; a dark column is more load on all. Where a row turns pale, something was done about it.',
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
    queries: [ask('hot_partition_max_over_mean', 'measured'), ask('hot_partition_lower_bound', 'surely at least (99.9 %)')],
    about: {
      shows: 'How many fair shares the largest shard gets: as measured, and at the least, given how few requests the window holds.',
      normal: 'The lower bound stays below 1.2.',
      next: 'It decides: 1.2 is warm, 1.5 hot, 2 critical. Far below the measured line there is little traffic: wait before you act.',
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
      shows: 'The time within which a shard answers 95 of 100 requests, waiting included, by its own clock.',
      normal: 'All alike: 17 to 20 ms in the lab profile, the more the busier.',
      next: 'One above the others waits: see *Active Requests per Shard*. All above: the machine or the load.',
    },
  }),
  lines({
    title: 'Active Requests per Shard',
    unit: 'short',
    min: 0,
    traces: true,
    queries: [ask(`shard_active_requests{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Requests in service plus waiting, at the moment of the scrape.',
      normal: 'Below what it serves at once (SHARD_CONCURRENCY, 2 in the lab profile), with short peaks.',
      next: 'What stays above it waits in line. Near the limit, alert ShardQueueFilling fires; beyond it, requests are refused.',
    },
  }),
  lines({
    title: 'Room in the Queue Used',
    unit: 'percentunit',
    min: 0,
    max: 1,
    thresholds: [[null, 'green'], [0.5, 'orange']],
    limits: true,
    queries: [ask(`shard_active_requests{${OF_SHARD}} / shard_active_requests_limit{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Active requests as a part of those the shard has room for (SHARD_CONCURRENCY + SHARD_QUEUE).',
      normal: 'Near 0.',
      next: 'Above a half for 15 s alert ShardQueueFilling fires: take load off the shard.',
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
      shows: 'How data requests ended: served, rejected (4xx, 507, or the client left), shed (503: no room to wait).',
      normal: 'All served.',
      next: 'Shed: a queue is full, see the panels beside. Rejected: see *Errors by Kind*.',
    },
  }),
  lines({
    title: 'Gateway Latency p95',
    unit: 's',
    min: 0,
    traces: true,
    queries: [ask(`histogram_quantile(0.95, sum by (shard_id, le) (rate(gateway_request_duration_seconds_bucket{${OF_SHARD}}${RATE})))`, SHARD)],
    about: {
      shows: "What clients wait in the gateway, by the shard that owns the key, cache hits included.",
      normal: "The shard's latency and a fraction of a millisecond; far below it with the cache on.",
      next: 'More than the shard says: the time is lost between them, see the dashboard *Kernel vs App*.',
    },
  }),
  lines({
    title: 'Errors by Kind',
    unit: 'reqps',
    min: 0,
    noValue: 'no errors',
    queries: [ask(`sum by (kind, blame) (rate(gateway_errors_total${RATE}))`, '{{kind}} ({{blame}})')],
    about: {
      shows: 'Answers that were errors, by kind and by who is to blame.',
      normal: 'No series: there was no error.',
      next: '*shard*: see whether it runs, or sheds. *client*: the requests are wrong. *gateway*: a fault, its log says more.',
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
      shows: 'The keys that clients ask the gateway for most, of the 16 it tracks; cache hits included.',
      normal: 'Bars of like length.',
      next: 'A long one is a hot key. Is its shard hot too? With the cache on it is not.',
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
      shows: 'Keys with more than 30 % of the accesses of their shard in the last ten seconds, by the shard; their share is over a minute.',
      normal: 'Empty. A shard with little traffic can have one by chance.',
      next: 'Ask the kernel whether it sees the same: dashboard *Kernel vs App*, *Hot Keys*.',
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
      shows: 'Accesses at the gateway by keys that have a series of their own, and by all others; and the latter as the shards count them.',
      normal: 'Even load: nearly all by others. Skewed load: the more by the tracked ones, the more skewed.',
      next: 'A hot shard without tracked keys is hot by many warm ones: reason *placement*.',
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
      shows: 'What clients send to the gateway, by operation, and the part of it that the cache answers.',
      normal: 'The load that is offered; nothing from the cache while it is off.',
      next: 'What is not answered from the cache reaches a shard: *Requests per Shard (rate)*.',
    },
  }),
  lines({
    title: 'Cache Hit Rate',
    unit: 'percentunit',
    min: 0,
    max: 1,
    queries: [
      ask(`sum(rate(gateway_cache_hits_total${RATE})) / (${reads} > 0)`, 'hits'),
      ask(`sum(rate(gateway_cache_coalesced_total${RATE})) / (${reads} > 0)`, "waited for another's fetch"),
    ],
    about: {
      shows: "The part of all reads that the cache answered, and the part that waited for another read's fetch instead of asking the shard again.",
      normal: '0 with the cache off. With it on, some 80 to 95 % under celebrity load, more the longer it is on.',
      next: 'Low with the cache on: the keys are many and seldom read twice within the time to live, or it is too short.',
    },
  }),
  lines({
    title: 'Gateway Cache Size',
    unit: 'short',
    min: 0,
    queries: [ask('gateway_cache_size', 'entries')],
    about: {
      shows: 'Entries in the cache.',
      normal: '0 with the cache off; with it on, at most the keys read within a time to live.',
      next: 'A drop to 0 is a reset or the switch. It is bounded by bytes (CACHE_MAX_BYTES), not by entries.',
    },
  }),
  timeline({
    title: 'Mitigations Switched On',
    width: 12,
    height: 8,
    mappings: [[0, 'off', 'text'], [1, 'on', 'blue']],
    queries: [ask('gateway_mitigation_enabled', '{{mitigation}}')],
    about: {
      shows: 'What the gateway does about hot keys, by mitigation, since the start of the time range.',
      normal: 'As you switched it; nothing is on at the start.',
      next: 'Compare the moment of a change with the rates above. `curl localhost:8000/admin/what-if` tells beforehand what each would do.',
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
      shows: 'How often a mitigation was switched on or off within a minute, and by whom: a request, or the gateway itself.',
      normal: '0 but for the moment in which somebody switches.',
      next: 'Again and again: two hands, or a load at a threshold. The log of the gateway has a line for each change.',
    },
  }),
  lines({
    title: 'Copies Refreshed, Failures Remembered',
    width: 6,
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (result) (rate(gateway_cache_refreshes_total${RATE}))`, 'refresh {{result}}'),
      ask(`sum(rate(gateway_cache_stale_total${RATE}))`, 'served past its time'),
      ask(`sum(rate(gateway_negative_cache_hits_total${RATE}))`, 'remembered failure'),
    ],
    about: {
      shows: "Fetches in the background for copies that are still served (stale-while-revalidate), reads answered with a copy past its time to live, and reads answered at once with the failure a shard gave a moment before (negative caching).",
      normal: '0 unless they are switched on; then few refreshes, for it is one a key and time to live.',
      next: '*failed*, or remembered failures: a shard does not answer; see *Errors by Kind*.',
    },
  }),
  lines({
    title: 'Copies of Replicated Keys, and Reads Forwarded',
    width: 24,
    height: 6,
    unit: 'reqps',
    min: 0,
    queries: [
      ask(`sum by (result) (rate(gateway_replica_reads_total${RATE}))`, 'read {{result}}'),
      ask(`sum by (result) (rate(gateway_replica_writes_total${RATE}))`, 'write {{result}}'),
      ask(`sum(rate(gateway_bounded_load_forwarded_total${RATE}))`, 'forwarded by bounded load'),
    ],
    about: {
      shows: "With replication on: reads of hot keys that went to a copy, and values sent to shards that are to hold one. With PLACEMENT=bounded: reads sent to another shard than the key's home, because that had too much in flight.",
      normal: '0 unless it is on. Then most are *served*; home keeps its own part of the reads, which is none of these.',
      next: '*overtaken*: the key is written, and copies are of little use. *lost* or *failed*: a shard was restarted or does not answer.',
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
      shows: 'Keys each shard holds; a read of an absent key makes one.',
      normal: 'Close together: a hot partition is a matter of accesses, seldom of keys.',
      next: 'Near SHARD_MAX_KEYS writes of new keys are refused (507).',
    },
  }),
  lines({
    title: 'Stored Bytes',
    unit: 'bytes',
    min: 0,
    queries: [ask(`shard_stored_bytes{${OF_SHARD}}`, SHARD)],
    about: {
      shows: 'Bytes each shard holds, as its limit counts them.',
      normal: 'In step with its keys.',
      next: 'One shard far above the others holds large values: placement is by key, not by size.',
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
      normal: 'All exported; no series while no collector is named (OTEL_EXPORTER_OTLP_ENDPOINT).',
      next: '*failed*: the collector does not answer. *dropped*: sample less (OTEL_TRACES_SAMPLER_ARG). See docs/traces.md.',
    },
  }),
]];

export const hotPartition = () => dashboard({
  uid: 'hot-partition-detection',
  title: 'Hot Partition Detection',
  about: 'Is a shard hot, which key makes it so, what does it cost, and does it help what is done about it? By the application; what the kernel says to that is on Kernel vs App.',
  shards: true,
  sections: [question, load, cost, keys, cache, store],
});
