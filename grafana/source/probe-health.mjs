// Dashboard "Probe health": can the second witness be believed, and what does it cost?

import { ask, bars, dashboard, lines, now, rows, value } from './lab.mjs';

const RATE = '[$__rate_interval]';

const sight = ['Does it see?', [
  value({
    title: 'Probe',
    queries: [now('up{job="probe"}')],
    mappings: [[0, 'does not answer', 'red'], [1, 'runs', 'green']],
    noValue: 'not scraped',
    about: {
      shows: 'Whether Prometheus can read the probe.',
      normal: '*runs*.',
      next: '*does not answer*: `probe check` says whether it can run here, target/lab/probe.log why it ended.',
    },
  }),
  value({
    title: 'Features Off that Should Be On',
    queries: [now('count(probe_feature_enabled{reason!="switched_off"} == 0) or vector(0)')],
    unit: 'short',
    thresholds: [[null, 'green'], [1, 'red']],
    about: {
      shows: 'Features of the probe that do not work although nobody switched them off.',
      normal: '0.',
      next: 'The table below names them; `curl localhost:9010/status` says what to do.',
    },
  }),
  value({
    title: 'Samples Lost (5m)',
    queries: [now('sum(increase(probe_events_lost_total[5m]))')],
    unit: 'short',
    decimals: 0,
    thresholds: [[null, 'green'], [0.5, 'orange']],
    about: {
      shows: 'How often the probe could not read what it should, within five minutes.',
      normal: '0; a few while a shard starts anew.',
      next: '*Samples Lost* below says of what kind.',
    },
  }),
  value({
    title: 'Shards without a Verdict',
    queries: [now('count(up{job=~"shard-.+"}) - (count(reconciliation_agrees) or vector(0))')],
    unit: 'short',
    thresholds: [[null, 'green'], [1, 'orange']],
    about: {
      shows: 'Shards on which the probe says neither *agrees* nor *differs*.',
      normal: '0.',
      next: '`curl localhost:9010/api/compare` names the cause: no baseline, not readable, not wholly watched.',
    },
  }),
  value({
    title: 'Counting since',
    queries: [now('probe_counting_start_time_seconds * 1000')],
    unit: 'dateTimeFromNow',
    about: {
      shows: 'Since when the kernel counts: when the probe attached, or, with PIN, one before it.',
      normal: 'As long as the lab runs.',
      next: 'Younger than you think: the probe was started anew, and its counters with it.',
    },
  }),
  value({
    title: 'Gap at the Last Restart',
    queries: [now('probe_restart_gap_seconds')],
    unit: 's',
    thresholds: [[null, 'green'], [0.001, 'orange']],
    noValue: 'no pinned set',
    about: {
      shows: 'How long nothing was counted while this probe took over from the one before, with PIN.',
      normal: '0: programs are replaced in place. No value without PIN.',
      next: 'More than 0: the kernel cannot replace that kind of program; requests in the gap are missing from the counts.',
    },
  }),
  rows({
    title: 'Features',
    width: 12,
    columns: { feature: 'feature', reason: 'why', Value: 'state' },
    overrides: [['^state$', [{ id: 'mappings', value: [{ type: 'value', options: { 0: { text: 'off', color: 'text', index: 0 }, 1: { text: 'on', color: 'green', index: 1 } } }] }]]],
    queries: [now('probe_feature_enabled')],
    about: {
      shows: 'What the probe can do here, and why it cannot do the rest.',
      normal: 'on, or off because *switched_off*.',
      next: 'Another reason: `curl localhost:9010/status` has the remedy, docs/limits.md what each capability gives.',
    },
  }),
  lines({
    title: 'Samples Lost',
    width: 12,
    unit: 'short',
    min: 0,
    queries: [ask('increase(probe_events_lost_total[1m])', '{{reason}}')],
    about: {
      shows: 'What the probe could not read within a minute, by kind.',
      normal: 'Lines at 0.',
      next: '*shard_unreadable*: a shard is down or slow. *counters_unreadable*, *runs_unreadable*: the kernel refuses. *watch_failed*, *address_over_limit*: addresses are not watched.',
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
      shows: 'Time the kernel spends in the programs, as a part of one core.',
      normal: 'Well below 1 % at the lab\'s rates.',
      next: 'docs/limits.md has the figures at full speed. Empty unless the probe runs with `--program-stats on`: counting the time costs time too.',
    },
  }),
  lines({
    title: 'Kernel Programs: Runs',
    unit: 'ops',
    min: 0,
    noValue: 'not counted (--program-stats on)',
    queries: [ask(`rate(probe_program_runs_total${RATE})`, '{{program}}')],
    about: {
      shows: 'How often each program runs: on every packet of this machine in that direction, shard or not, or on every event of a socket.',
      normal: 'In step with the packets of the machine.',
      next: 'Many runs with few requests: other traffic of the machine, which each run leaves at once.',
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
      normal: 'Some 0.1 to 1 µs.',
      next: 'Higher than that on a virtual machine: its clock is slow to read.',
    },
  }),
  bars({
    title: 'Room in the Maps Used',
    unit: 'percentunit',
    min: 0,
    max: 1,
    decimals: 2,
    thresholds: [[null, 'green'], [0.8, 'orange']],
    queries: [now('probe_map_entries / probe_map_max_entries', '{{map}}')],
    about: {
      shows: 'How full the kernel maps are that can fill: addresses of shards, and keys.',
      normal: 'Addresses near 0. Keys fill with the keys that are read; a full set gives way to hotter ones.',
      next: 'Addresses above 80 %: shards beyond the room are not watched, and say so.',
    },
  }),
  lines({
    title: 'Requests of the Watchers',
    unit: 'reqps',
    min: 0,
    queries: [ask(`sum by (shard_id) (rate(kernel_shard_control_requests_total${RATE}))`, 'shard {{shard_id}}')],
    about: {
      shows: "Requests to the shards that are no data requests: the probe's reads of /stats, Prometheus's scrapes.",
      normal: 'One or two a second.',
      next: 'They are counted apart and make no difference between the witnesses.',
    },
  }),
  lines({
    title: 'Time of a Scrape',
    unit: 's',
    min: 0,
    queries: [ask('scrape_duration_seconds', '{{job}}')],
    about: {
      shows: 'How long Prometheus waits for each /metrics; the probe reads the kernel maps for it.',
      normal: 'A few milliseconds.',
      next: 'Near 4 s scrapes fail and lines have holes: the machine is too busy.',
    },
  }),
  lines({
    title: 'Live Pages Listening',
    unit: 'short',
    decimals: 0,
    min: 0,
    queries: [ask('probe_page_listeners', 'pages')],
    about: {
      shows: "Browsers that follow the probe's live page.",
      normal: 'As many as are open; each costs a reading a second, shared by all.',
      next: 'More than you know of: who has the address?',
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
