// One celebrity: 100 requests a second for one key and 30 over 500 others, for two minutes.
//
// Expected: 76.9 % of all requests are for one key, and 82.1 % go to its shard 0. The shard is `critical` within the
// first full second. celebrity_latency rises, and so does the latency of the innocent keys on shard 0.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'celebrity_user_hot_key',
  p95_ms: 2000,
  errors: 0.2,
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 100, vus: 30, maxVus: 100, keys: single('celebrity-user-kardashian') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
