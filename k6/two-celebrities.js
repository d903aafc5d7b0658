// Two celebrities on two shards: 50 requests a second for each, and 30 over 500 others.
//
// Expected: shards 0 and 2 get 43.6 and 45.0 %, only 1.8 times the mean. So the ratio alone makes two hot shards look
// milder than one. The reason stays `hot_key`. Each celebrity has 38.5 % and needs two copies.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'two_celebrities',
  p95_ms: 2000,
  errors: 0.2,
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 50, vus: 15, maxVus: 50, keys: single('celebrity-user-kardashian') },
    { name: 'second', kind: 'celebrity', rate: 50, vus: 15, maxVus: 50, keys: single('celebrity-user-carol') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
