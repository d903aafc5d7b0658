// A celebrity that does not exist: 100 requests a second for one absent key, and 30 over 500 keys that exist. A shard
// creates absent keys until it is full. So the lab needs small shards (SHARD_MAX_KEYS=200). The script fills the
// celebrity's shard first, and stops if it cannot.
//
// Expected: shard 2 gets 83.5 %. A 404 is never cached, neither as a value nor as a negative cache entry. With the
// cache on, about half of the reads are coalesced at 16 ms a read.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'celebrity_not_found',
  p95_ms: 2000,
  errors: 0.2,
  absent: 'celebrity-user-nobody',
  others: Array.from({ length: 500 }, (_, n) => `normal-user-${n}`),
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 100, vus: 30, maxVus: 100, status: 404, keys: single('celebrity-user-nobody') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
