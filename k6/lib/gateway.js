// What a script asks of the gateway beside its load. All of it carries the tag `kind` = `setup`.

import http from 'k6/http';
import { check } from 'k6';
import { BASE_URL, CACHE_TTL_SECONDS } from './settings.js';

const SETUP = { kind: 'setup' };
// Keys that are read on one shard, at most, to fill it.
const FILLERS = 1000;

export function keyUrl(key) {
  return `${BASE_URL}/data/${encodeURIComponent(key)}`;
}

// The gateway's /stats; an error with what to do when there are none.
export function stats() {
  const answer = http.get(`${BASE_URL}/stats`, { tags: { ...SETUP, name: '/stats' } });
  if (answer.status !== 200) {
    throw new Error(`${BASE_URL} does not answer as a gateway (status ${answer.status} ${answer.error}); is the lab running?`);
  }
  return answer.json();
}

export function enableCache() {
  const wish = JSON.stringify({ enabled: true, ttl_seconds: CACHE_TTL_SECONDS });
  const answer = http.post(`${BASE_URL}/admin/cache`, wish, {
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
  const url = `${BASE_URL}/admin/shard-mapping/${encodeURIComponent(key)}`;
  return http.get(url, { tags: { ...SETUP, name: '/admin/shard-mapping/{key}' } }).json('shard_id');
}

function status(key) {
  return http.get(keyUrl(key), { tags: { ...SETUP, name: '/data/{key}' }, responseCallback: http.expectedStatuses(200, 404) }).status;
}

// Fills the shard of `absent` with the other keys of the run that it holds, and then with others, until it answers 404
// to a new one: from then on it makes none, and `absent` is not there.
export function fillShardOf(absent, others) {
  const shard = home(absent);
  others.filter((key) => home(key) === shard).forEach(status);
  let full = false;
  for (let i = 0, read = 0; !full && read < FILLERS; i += 1) {
    if (home(`filler-${i}`) === shard) {
      full = status(`filler-${i}`) === 404;
      read += 1;
    }
  }
  if (!full) {
    throw new Error(`shard ${shard} takes more than ${FILLERS} keys, so no key is absent: start the lab with SHARD_MAX_KEYS=200`);
  }
  if (status(absent) !== 404) {
    throw new Error(`${absent} is there already: start the lab anew with SHARD_MAX_KEYS=200`);
  }
}
