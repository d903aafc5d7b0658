// A flash crowd: 30 requests a second over 500 keys. In the middle third of the run there are 100 a second more for
// one new key.
//
// Expected: `balanced`, then `critical` within a second of the crowd's start, and `balanced` again some seconds after
// its end. With the cache on, the whole crowd costs its shard one read. Readers that arrive before the value wait for
// it.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'flash_crowd',
  p95_ms: 2000,
  errors: 0.2,
  streams: [
    { name: 'crowd', kind: 'celebrity', rate: 100, vus: 30, maxVus: 100, window: [1 / 3, 2 / 3], keys: single('celebrity-user-kardashian') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
