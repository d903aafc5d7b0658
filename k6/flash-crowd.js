// A flash crowd: 30 requests a second over 500 keys all the time, and in the middle third of the run 100 a second more
// for a key that nobody asked for before.
//
// To expect: `balanced`, then `critical` within a second of the crowd's coming, and `balanced` again some seconds after
// it has gone. With the cache on the whole crowd costs its shard one read: all who come before it is there wait for it.

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
