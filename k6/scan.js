// A crawler reads 12,000 keys in order, 100 a second, beside 30 reads a second by Zipf's law (1.5).
//
// Expected: no hot shard. Shard 1 gets most, 30.0 %, because user-0 is 9.1 % of all. The crawler reads each key once,
// so a cache for all keys fills with copies that are never read. Counters by key stay bounded, and the verdict names
// user-0.

import { scenario } from './lib/scenario.js';
import { inTurn, zipf } from './lib/keys.js';

const run = scenario({
  scenario: 'scan',
  p95_ms: 1000,
  errors: 0.1,
  streams: [
    { name: 'crawler', kind: 'background', rate: 100, vus: 30, maxVus: 100, keys: inTurn('item-', 12000) },
    { name: 'user', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: zipf('user-', 1000, 1.5) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
