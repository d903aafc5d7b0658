// The keys of `zipfian` as fast as they are answered: REQUESTS of them, by CONNECTIONS users with one at a time each.

import http from 'k6/http';
import exec from 'k6/execution';
import { keyUrl } from '../../../k6/lib/gateway.js';
import { zipf } from '../../../k6/lib/keys.js';
import { chance } from '../../../k6/lib/random.js';
import { SEED } from '../../../k6/lib/settings.js';

const REQUESTS = Number(__ENV.REQUESTS);
// As `load saturate` takes it: zipf:1.5.
const exponent = Number(__ENV.DISTRIBUTION.replace('zipf:', ''));
const keys = zipf('user-', Number(__ENV.KEYS), exponent);

export const options = {
  scenarios: {
    all: { executor: 'shared-iterations', vus: Math.min(Number(__ENV.CONNECTIONS), REQUESTS), iterations: REQUESTS, maxDuration: '1h' },
  },
};

export default function () {
  const i = exec.scenario.iterationInTest;
  http.get(keyUrl(keys.pick(chance(SEED, 0, i), i, REQUESTS)), { tags: { name: '/data/{key}' } });
}

export function handleSummary({ metrics, state }) {
  // k6 has neither when it sent nothing.
  const sent = metrics.http_reqs ? metrics.http_reqs.values.count : 0;
  const failed = metrics.http_req_failed ? metrics.http_req_failed.values.passes : 0;
  return { stdout: JSON.stringify({ answered: sent - failed, failed, seconds: state.testRunDurationMs / 1000 }) };
}
