// Requests of a script that are not part of its load. All of them have the tag `kind` = `setup`.

import http from 'k6/http';
import { check } from 'k6';
import { BASE_URL, BASE_URLS, CACHE_TTL_SECONDS } from './settings.js';

const SETUP = { kind: 'setup' };
// Largest number of keys that are read on one shard to fill it.
const MAX_FILLERS = 1000;

// The URL of BASE_URLS at which the gateway answers; setup finds it for the virtual users.
let base = BASE_URL;

export function useBase(url) {
  base = url;
}

export function dataUrl() {
  return `${base}/data`;
}

export function keyUrl(key) {
  return `${dataUrl()}/${encodeURIComponent(key)}`;
}

// Returns the gateway's /stats and its `base_url`. The error contains what to do.
export function stats() {
  let answer;
  for (const url of [base, ...BASE_URLS.filter((other) => other !== base)]) {
    answer = http.get(`${url}/stats`, { tags: { ...SETUP, name: '/stats' } });
    if (answer.status === 200) {
      useBase(url);
      return { ...answer.json(), base_url: url };
    }
  }
  throw new Error(`${BASE_URL} does not answer as a gateway (status ${answer.status} ${answer.error}); is the lab running?`);
}

export function enableCache() {
  const change = JSON.stringify({ enabled: true, ttl_seconds: CACHE_TTL_SECONDS });
  const answer = http.post(`${base}/admin/cache`, change, {
    headers: { 'Content-Type': 'application/json' },
    tags: { ...SETUP, name: '/admin/cache' },
  });
  const enabled = check(answer, {
    'cache enabled': (r) => r.status === 200 && r.json('cache_enabled') === true && r.json('cache_ttl_seconds') === CACHE_TTL_SECONDS,
  });
  if (!enabled) {
    throw new Error(`the gateway refused to switch its cache on: ${answer.status} ${answer.body}`);
  }
}

function home(key) {
  const url = `${base}/admin/shard-mapping/${encodeURIComponent(key)}`;
  return http.get(url, { tags: { ...SETUP, name: '/admin/shard-mapping/{key}' } }).json('shard_id');
}

function status(key) {
  return http.get(keyUrl(key), { tags: { ...SETUP, name: '/data/{key}' }, responseCallback: http.expectedStatuses(200, 404) }).status;
}

// Fills the shard of `absent` until it answers 404 for a new key. It uses the run's other keys on that shard first, and
// then further keys. From then on the shard creates no key.
export function fillShardOf(absent, others) {
  const shard = home(absent);
  others.filter((key) => home(key) === shard).forEach(status);
  let full = false;
  for (let i = 0, read = 0; !full && read < MAX_FILLERS; i += 1) {
    if (home(`filler-${i}`) === shard) {
      full = status(`filler-${i}`) === 404;
      read += 1;
    }
  }
  if (!full) {
    throw new Error(`shard ${shard} takes more than ${MAX_FILLERS} keys, so no key is absent: start the lab with SHARD_MAX_KEYS=200`);
  }
  if (status(absent) !== 404) {
    throw new Error(`${absent} already exists: restart the lab with SHARD_MAX_KEYS=200`);
  }
}
