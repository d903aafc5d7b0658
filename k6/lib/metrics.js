// The metrics of all scripts. Counts one answer in them.

import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

const errors = new Rate('errors');
const requestLatency = new Trend('request_latency', true);
const celebrityLatency = new Trend('celebrity_latency', true);
const normalLatency = new Trend('normal_latency', true);
const keyAccesses = new Counter('key_accesses');
const hotKeyAccesses = new Counter('hot_key_accesses');
const cacheHits = new Counter('cache_hits');
const coalesced = new Counter('coalesced');
// Correct answers by the shard that they name, and by the shard that the script expects.
const answers = new Counter('shard_answers');
const upstream = new Counter('shard_upstream_requests');

// Largest number of shards in the summary. Further shards count in the totals only.
export const SHARDS = [0, 1, 2, 3];

function bodyOf(answer) {
  try {
    return answer.json() || {};
  } catch {
    return {};
  }
}

// Checks an answer to a request for `key` and counts it. `shards` is the number of shards.
export function count(stream, key, answer, shards) {
  const status = stream.status || 200;
  const body = bodyOf(answer);
  const isData = status === 200;
  const hasKey = isData ? body.key === key : typeof body.kind === 'string';
  const hasShard = !isData || (Number.isInteger(body.shard_id) && body.shard_id >= 0 && body.shard_id < shards);
  const hasHit = !isData || stream.writes || typeof body.cache_hit === 'boolean';
  const lead = stream.checks === 'plain' ? '' : `${stream.name}: `;
  const checks = { [`${lead}status is ${status}`]: answer.status === status };
  if (isData) {
    checks['response has key'] = hasKey;
    checks['response has shard_id'] = hasShard && hasHit;
  }
  check(answer, checks);
  const right = answer.status === status && hasKey && hasShard && hasHit;
  errors.add(!right);
  keyAccesses.add(1);
  hotKeyAccesses.add(stream.kind === 'celebrity' || key === stream.keys.hottest ? 1 : 0);
  requestLatency.add(answer.timings.duration);
  (stream.kind === 'celebrity' ? celebrityLatency : normalLatency).add(answer.timings.duration);
  if (right && isData) {
    const shard = { shard_id: String(body.shard_id) };
    answers.add(1, shard);
    upstream.add(body.cache_hit || body.coalesced ? 0 : 1, shard);
    cacheHits.add(body.cache_hit ? 1 : 0);
    coalesced.add(body.coalesced ? 1 : 0);
  }
}
