// Uniform load: 50 requests a second for two minutes over 1,000 equally popular keys.
//
// Expected: the shards get 23.9, 24.9, 26.2 and 25.0 %, because md5 modulo 4 does not split 1,000 keys evenly. The
// verdict stays `balanced`, and no key is hot.

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
