// The celebrity's load with the gateway's cache on (time to live 60 s): switched on, 5 s of waiting, two minutes.
//
// To expect: of 130 requests a second 6.5 reach a shard once it is steady; the celebrity costs its shard one read a
// minute. Two minutes are two times to live only, so a run from a cold cache is not steady yet.

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
