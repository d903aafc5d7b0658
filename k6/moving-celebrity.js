// A celebrity that moves: four keys on four shards. Each gets 100 requests a second for a quarter of the run. 500 other
// keys get 30 a second.
//
// Expected: over the whole run the shards get 24.4 to 25.8 %, so counters since the start show nothing. At every moment
// one shard has 82 %. The verdict stays `critical` and follows the key from shard to shard.

import { scenario } from './lib/scenario.js';
import { inPhases, uniform } from './lib/keys.js';

// On shards 0, 1, 2 and 3.
const CELEBRITIES = ['celebrity-user-ada', 'celebrity-user-anna', 'celebrity-user-carol', 'celebrity-user-bea'];

const run = scenario({
  scenario: 'moving_celebrity',
  p95_ms: 2000,
  errors: 0.2,
  streams: [
    { name: 'celebrity', kind: 'celebrity', rate: 100, vus: 30, maxVus: 100, keys: inPhases(CELEBRITIES) },
    { name: 'normal', kind: 'background', rate: 30, vus: 10, maxVus: 30, keys: uniform('normal-user-', 500) },
  ],
});

export const { options, setup } = run;
export default run.request;
export const handleSummary = run.summary;
