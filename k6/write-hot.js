// A celebrity with writes: 90 reads and 10 writes a second of one key, and 30 reads over 500 others.
//
// Expected: without a cache, the celebrity's load. With the cache on, each write drops the copy. So the shard still
// gets 10 writes and up to 10 reads a second of that key, whatever the time to live. With copies on all shards, every
// write goes to each of them.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'write_hot_key',
  p95_ms: 2000,
  errors: 0.2,
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 90, vus: 27, maxVus: 90, keys: single('celebrity-user-kardashian') },
    { name: 'writer', kind: 'celebrity', rate: 10, vus: 5, maxVus: 10, writes: true, keys: single('celebrity-user-kardashian') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
