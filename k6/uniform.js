// Uniform load: 50 requests a second for two minutes, 1,000 keys all alike.
//
// To expect: nothing. The shards get 23.9, 24.9, 26.2 and 25.0 % (md5 modulo 4 does not split 1,000 keys evenly), the
// verdict stays `balanced`, and no key is called hot.

import { scenario } from './lib/scenario.js';
import { uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'uniform_distribution',
  p95_ms: 500,
  errors: 0.1,
  streams: [{ name: 'user', kind: 'background', checks: 'plain', rate: 50, vus: 20, maxVus: 50, keys: uniform('user-', 1000) }],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
