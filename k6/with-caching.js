// The celebrity's load with the gateway's cache on (time to live 60 s). The script switches it on and waits for 5 s.
//
// Expected: once the cache is warm, 6.5 of 130 requests a second reach a shard. The celebrity costs its shard one read
// a minute. A run of two minutes from a cold cache is not steady yet.

import { scenario } from './lib/scenario.js';
import { single, uniform } from './lib/keys.js';

const run = scenario({
  scenario: 'celebrity_user_with_caching_mitigation',
  p95_ms: 500,
  errors: 0.1,
  cache: true,
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 100, vus: 30, maxVus: 100, keys: single('celebrity-user-kardashian') },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
