// The settings that all scripts share, from the environment: BASE_URL, DURATION (seconds), RATE_FACTOR, SEED.
// DURATION and RATE_FACTOR equal `load run --duration` and `--rate-factor`.

function number(name, preset, least, most) {
  const text = __ENV[name];
  if (text === undefined || text === '') {
    return preset;
  }
  const value = Number(text);
  if (!(value >= least && value <= most)) {
    throw new Error(`${name}=${text}: allowed: a number from ${least} to ${most}`);
  }
  return value;
}

// A caching run of at least this length waits after it has switched the cache on.
const FULL_DURATION = 120;

export const BASE_URL = (__ENV.BASE_URL || 'http://lab39-api-gateway:8000').replace(/\/+$/, '');
// k6 connects to one address of a name only, so each address of `localhost` has a URL of its own.
export const BASE_URLS = /^http:\/\/localhost(?=:|$)/.test(BASE_URL)
  ? ['localhost', '127.0.0.1', '[::1]'].map((host) => BASE_URL.replace('localhost', host))
  : [BASE_URL];
export const DURATION = number('DURATION', FULL_DURATION, 1, 86400);
export const RATE_FACTOR = number('RATE_FACTOR', 1, 0.01, 1000);
export const SEED = Math.floor(number('SEED', 1, 0, Number.MAX_SAFE_INTEGER));
export const CACHE_WAIT = DURATION >= FULL_DURATION ? 5 : 0;
export const CACHE_TTL_SECONDS = 60;
