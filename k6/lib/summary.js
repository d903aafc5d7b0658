// Prints the summary: JSON with `scenario`. The top keys are the gateway's own count, because virtual users share no
// memory.

import { SHARDS } from './metrics.js';
import { stats } from './gateway.js';
import { BASE_URL, DURATION, RATE_FACTOR, SEED } from './settings.js';

function latency(metric) {
  const at = (metric && metric.values) || {};
  const ms = (name) => (at[name] === undefined ? null : at[name]);
  return { p50: ms('med'), p90: ms('p(90)'), p95: ms('p(95)'), p99: ms('p(99)'), max: ms('max') };
}

// The gateway's counts since the start of the run; null if it was reset or does not answer.
function atGateway(before) {
  let now;
  try {
    now = stats();
  } catch {
    return { gateway: null, top_10_keys: null };
  }
  const growth = {};
  for (const name of ['total_requests', 'cache_hits', 'cache_misses', 'cache_coalesced']) {
    growth[name] = before && now[name] >= before[name] ? now[name] - before[name] : null;
  }
  return { gateway: growth, top_10_keys: now.top_keys.slice(0, 10) };
}

// Requests of `setup` are in a separate group.
function checksOf(group) {
  const own = group.checks.map(({ name, passes, fails }) => ({ name, passes, fails }));
  return [...own, ...group.groups.flatMap(checksOf)];
}

export function summarize(table, data) {
  const counted = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const requests = counted('key_accesses');
  const failed = data.metrics.errors ? data.metrics.errors.values : { rate: 0, passes: 0 };
  const thresholds = Object.entries(data.metrics).flatMap(([metric, { thresholds: own }]) =>
    Object.entries(own || {}).map(([rule, { ok }]) => ({ metric, rule, ok })),
  );
  return {
    scenario: table.scenario,
    base_url: BASE_URL,
    seed: SEED,
    duration_seconds: DURATION,
    rate_factor: RATE_FACTOR,
    requests,
    requests_per_second: requests / DURATION,
    errors: failed.passes,
    error_rate: failed.rate,
    dropped_iterations: counted('dropped_iterations'),
    http_reqs: {
      all: counted('http_reqs'),
      celebrity: counted('http_reqs{kind:celebrity}'),
      background: counted('http_reqs{kind:background}'),
      setup: counted('http_reqs{kind:setup}'),
    },
    latency_ms: latency(data.metrics.request_latency),
    celebrity_latency_ms: latency(data.metrics.celebrity_latency),
    normal_latency_ms: latency(data.metrics.normal_latency),
    key_accesses: requests,
    hot_key_accesses: counted('hot_key_accesses'),
    cache_hits: counted('cache_hits'),
    coalesced: counted('coalesced'),
    shards: SHARDS.map((shard_id) => ({
      shard_id,
      answered: counted(`shard_answers{shard_id:${shard_id}}`),
      upstream_requests: counted(`shard_upstream_requests{shard_id:${shard_id}}`),
    })),
    streams: table.streams.map(({ name, kind, rate, vus, maxVus, window, writes, status, keys }) => ({
      name,
      kind,
      rate,
      vus,
      max_vus: maxVus,
      window: window || [0, 1],
      operation: writes ? 'set' : 'get',
      status: status || 200,
      law: keys.law,
      first_key: keys.first,
      keys: keys.count,
      requests: counted(`http_reqs{stream:${name}}`),
      latency_ms: latency(data.metrics[`request_latency{stream:${name}}`]),
    })),
    checks: checksOf(data.root_group),
    thresholds: thresholds.filter(({ rule }) => !rule.endsWith('>=0')),
    ...atGateway(data.setup_data),
  };
}
