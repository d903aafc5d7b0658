// Builds a script from its table: options, setup, one request, summary. Open loop: requests leave at a constant rate,
// whether or not earlier ones are answered. A stream is { name, kind: 'celebrity' | 'background', rate (a second), vus,
// maxVus, keys }. Its options are window ([from, to] as parts of the run), writes, status, and checks ('plain').

import http from 'k6/http';
import exec from 'k6/execution';
import { chance } from './random.js';
import { SHARDS, count } from './metrics.js';
import { dataUrl, enableCache, fillShardOf, keyUrl, stats, useBase } from './gateway.js';
import { summarize } from './summary.js';
import { CACHE_WAIT, DURATION, RATE_FACTOR, SEED } from './settings.js';

// k6 accepts whole numbers only: 12.5 a second is 1250 in 100 s.
function arrivals(rate) {
  const exact = rate * RATE_FACTOR;
  return Number.isInteger(exact) ? { rate: exact, timeUnit: '1s' } : { rate: Math.max(1, Math.round(exact * 100)), timeUnit: '100s' };
}

function options(table) {
  const scenarios = {};
  const thresholds = {
    request_latency: [`p(95)<${table.p95_ms}`],
    errors: [`rate<${table.errors}`],
    // A dropped iteration is a request that was not sent, so the load was too low.
    dropped_iterations: ['count==0'],
  };
  // k6 counts by tag only if there is a threshold. These always hold.
  for (const kind of ['celebrity', 'background', 'setup']) {
    thresholds[`http_reqs{kind:${kind}}`] = ['count>=0'];
  }
  for (const stream of table.streams) {
    const [from, to] = stream.window || [0, 1];
    const start = from * DURATION + (table.cache ? CACHE_WAIT : 0);
    scenarios[stream.name] = {
      executor: 'constant-arrival-rate',
      ...arrivals(stream.rate),
      startTime: `${Math.round(start * 1000)}ms`,
      duration: `${Math.round((to - from) * DURATION * 1000)}ms`,
      preAllocatedVUs: Math.max(1, Math.ceil(stream.vus * RATE_FACTOR)),
      maxVUs: Math.max(1, Math.ceil(stream.maxVus * RATE_FACTOR)),
      tags: { kind: stream.kind, stream: stream.name },
      exec: 'default',
    };
    thresholds[`http_reqs{stream:${stream.name}}`] = ['count>=0'];
    thresholds[`request_latency{stream:${stream.name}}`] = ['max>=0'];
  }
  for (const shard of SHARDS) {
    thresholds[`shard_answers{shard_id:${shard}}`] = ['count>=0'];
    thresholds[`shard_upstream_requests{shard_id:${shard}}`] = ['count>=0'];
  }
  return { scenarios, thresholds, summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'] };
}

function send(stream, key) {
  const params = { tags: { name: stream.writes ? '/data' : '/data/{key}' } };
  if (stream.status) {
    params.responseCallback = http.expectedStatuses(stream.status);
  }
  if (!stream.writes) {
    return http.get(keyUrl(key), params);
  }
  params.headers = { 'Content-Type': 'application/json' };
  const value = { written: exec.scenario.iterationInTest };
  return http.post(dataUrl(), JSON.stringify({ key, value }), params);
}

export function scenario(table) {
  const streams = {};
  table.streams.forEach((stream, number) => {
    const [from, to] = stream.window || [0, 1];
    streams[stream.name] = { ...stream, number, total: stream.rate * RATE_FACTOR * (to - from) * DURATION };
  });
  return {
    options: options(table),
    setup() {
      stats();
      if (table.cache) {
        enableCache();
      }
      if (table.absent) {
        fillShardOf(table.absent, table.others);
      }
      return stats();
    },
    request(before) {
      useBase(before.base_url);
      const stream = streams[exec.scenario.name];
      const i = exec.scenario.iterationInTest;
      const key = stream.keys.pick(chance(SEED, stream.number, i), i, stream.total);
      count(stream, key, send(stream, key), before.num_shards);
    },
    summary: (data) => ({ stdout: `${JSON.stringify(summarize(table, data), null, 2)}\n` }),
  };
}
