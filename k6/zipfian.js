// Zipf's law: 50 requests a second for two minutes over 1,000 keys with exponent 1.5; user-0 is the hottest.
//
// Expected: user-0 has 39.2 % of all requests. Its shard 1 has 48.75 %, 1.95 times its fair share. The others have
// 22.8, 13.65 and 14.8 %. The verdict is `hot` for shard 1 because of user-0, and reports that no re-hash can balance
// it.

import { scenario } from './lib/scenario.js';
import { zipf } from './lib/keys.js';

const run = scenario({
  scenario: 'zipfian_distribution',
  p95_ms: 1000,
  errors: 0.1,
  streams: [{ name: 'user', kind: 'background', checks: 'plain', rate: 50, vus: 20, maxVus: 50, keys: zipf('user-', 1000, 1.5) }],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
