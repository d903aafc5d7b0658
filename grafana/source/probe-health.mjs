// Dashboard "Probe health": can the second witness be believed, and what does it cost?

import { ask, bars, dashboard, lines, now, rows, value } from './lab.mjs';

const RATE = '[$__rate_interval]';

const sight = ['Does it see?', [
  value({
    title: 'Probe',
    queries: [now('up{job=~"probe|probe-node"}')],
    mappings: [[0, 'does not answer', 'red'], [1, 'runs', 'green']],
    noValue: 'not scraped',
    about: {
      shows: 'Whether Prometheus can read the probe; in a cluster, the aggregator and each node\'s probe.',
      normal: '*runs*.',
      next: 'For *does not answer*, `probe check` reports whether it can run here. target/lab/probe.log has the reason why it exited.',
    },
  }),
  value({
    title: 'Features Not Working',
    queries: [now('count(probe_feature_enabled{reason!~"switched_off|.*_before_.*"} == 0) or vector(0)')],
    unit: 'short',
    thresholds: [[null, 'green'], [1, 'red']],
    about: {
      shows: 'Features of the probe that do not work but should.',
      normal: '0.',
      next: 'The table below has their names. `curl localhost:9010/status` has the remedy.',
    },
  }),
  value({
    title: 'Samples Lost (5m)',
    queries: [now('sum(increase(probe_events_lost_total[5m]))')],
    unit: 'short',
    decimals: 0,
    thresholds: [[null, 'green'], [0.5, 'orange']],
    about: {
      shows: 'Samples that the probe could not take in the last five minutes.',
      normal: '0. There are a few while a shard restarts.',
      next: '*Samples Lost* below shows the reasons.',
    },
  }),
  value({
    title: 'Shards without a Verdict',
    queries: [now('count(up{job=~"shard-.+"}) - (count(reconciliation_agrees) or vector(0))')],
    unit: 'short',
    thresholds: [[null, 'green'], [1, 'orange']],
    about: {
      shows: 'Shards on which there is no verdict.',
      normal: '0.',
      next: '`curl localhost:9010/api/compare` has the cause: no baseline, unreadable, or unwatched.',
    },
  }),
  value({
    title: 'Counting since',
    queries: [now('probe_counting_start_time_seconds * 1000')],
    unit: 'dateTimeFromNow',
    about: {
      shows: 'Time since the kernel began to count: when the probe attached, or with PIN an earlier probe.',
      normal: 'As long as the lab runs.',
      next: 'If it is shorter than expected, the probe was restarted, and its counters too.',
    },
  }),
  value({
    title: 'Gap at the Last Restart',
    queries: [now('probe_restart_gap_seconds')],
    unit: 's',
    thresholds: [[null, 'green'], [0.001, 'orange']],
    noValue: 'no pinned set',
    about: {
      shows: 'Time without counting while this probe replaced its predecessor, with PIN.',
      normal: '0, because programs are replaced in place. Without PIN there is no value.',
      next: 'If it is above 0, the kernel could not replace a program in place. Requests in the gap are not counted.',
    },
  }),
  rows({
    title: 'Features',
    width: 12,
    columns: { feature: 'feature', reason: 'why', Value: 'state' },
    overrides: [['^state$', [{ id: 'mappings', value: [{ type: 'value', options: { 0: { text: 'off', color: 'text', index: 0 }, 1: { text: 'on', color: 'green', index: 1 } } }] }]]],
    queries: [now('probe_feature_enabled')],
    about: {
      shows: 'Features of the probe, and why some are off.',
      normal: 'Every feature is on, or its reason is *switched_off*.',
      next: 'For another reason, `curl localhost:9010/status` has the remedy. docs/limits.md explains the capabilities.',
    },
  }),
  lines({
    title: 'Samples Lost',
    width: 12,
    unit: 'short',
    min: 0,
    queries: [ask('increase(probe_events_lost_total[1m])', '{{reason}}')],
    about: {
      shows: 'Samples lost in the last minute, by reason.',
      normal: 'Lines at 0.',
      next: 'For *shard_unreadable*, a shard is down or slow. For *counters_unreadable* and *runs_unreadable*, the kernel refuses a read. For *watch_failed* and *address_over_limit*, addresses are not watched.',
    },
  }),
]];

const cost = ['What does it cost?', [
  lines({
    title: 'Kernel Programs: Share of One Core',
    unit: 'percentunit',
    min: 0,
    decimals: 3,
    stacked: true,
    noValue: 'not counted (--program-stats on)',
    queries: [ask(`rate(probe_program_run_seconds_total${RATE})`, '{{program}}')],
    about: {
      shows: 'CPU time of the kernel programs as a share of one core.',
      normal: 'Well below 1 % at the lab\'s rates.',
      next: 'docs/cost.md has the figures at full speed. Without `--program-stats on` the panel is empty. That option costs time itself.',
    },
  }),
  lines({
    title: 'Kernel Programs: Runs',
    unit: 'ops',
    min: 0,
    noValue: 'not counted (--program-stats on)',
    queries: [ask(`rate(probe_program_runs_total${RATE})`, '{{program}}')],
    about: {
      shows: 'Runs of each program: one for every packet or socket event of the cgroup.',
      normal: 'In proportion to the packets of the cgroup.',
      next: 'If there are many runs and few requests, the programs see other traffic. They skip it at once.',
    },
  }),
  lines({
    title: 'Kernel Programs: Time per Run',
    unit: 's',
    min: 0,
    noValue: 'not counted (--program-stats on)',
    queries: [ask(`rate(probe_program_run_seconds_total${RATE}) / (rate(probe_program_runs_total${RATE}) > 0)`, '{{program}}')],
    about: {
      shows: 'The mean time of a run.',
      normal: 'About 0.1 to 1 µs.',
      next: 'It is higher on a virtual machine where the clock is slow to read.',
    },
  }),
  bars({
    title: 'Map Usage',
    unit: 'percentunit',
    min: 0,
    max: 1,
    decimals: 2,
    thresholds: [[null, 'green'], [0.8, 'orange']],
    queries: [now('probe_map_entries / probe_map_max_entries', '{{map}}')],
    about: {
      shows: 'Fill level of the kernel maps for addresses and keys.',
      normal: 'Addresses are near 0. Keys fill up, and hotter keys replace colder ones.',
      next: 'If addresses are above 80 %, further shards would be unwatched.',
    },
  }),
  lines({
    title: 'Control Requests',
    unit: 'reqps',
    min: 0,
    queries: [ask(`sum by (shard_id) (rate(kernel_shard_control_requests_total${RATE}))`, 'shard {{shard_id}}')],
    about: {
      shows: "Control requests to the shards: the probe's reads of /stats and Prometheus' scrapes.",
      normal: 'One or two a second.',
      next: 'These requests are counted separately and do not affect the comparison.',
    },
  }),
  lines({
    title: 'Scrape Duration',
    unit: 's',
    min: 0,
    queries: [ask('scrape_duration_seconds', '{{job}}')],
    about: {
      shows: 'Duration of each scrape. The probe reads the kernel maps for it.',
      normal: 'A few milliseconds.',
      next: 'Near 4 s scrapes fail and lines have gaps. The machine is too busy.',
    },
  }),
  lines({
    title: 'Open Live Pages',
    unit: 'short',
    decimals: 0,
    min: 0,
    queries: [ask('probe_page_listeners', 'pages')],
    about: {
      shows: "Browsers with the probe's live page open.",
      normal: 'The number of open pages. The probe reads once a second for all of them.',
      next: 'If there are more than expected, check who has the address.',
    },
  }),
]];

export const probeHealth = () => dashboard({
  uid: 'probe-health',
  title: 'Probe health',
  about: 'Can the second witness be believed, and what does it cost?',
  shards: false,
  sections: [sight, cost],
});
