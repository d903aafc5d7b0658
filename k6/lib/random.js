// Seeded random numbers. Virtual users share no memory and run in no fixed order, so no generator can have a state. The
// number for request i of a stream is a hash of (SEED, stream, i). k6 numbers the requests of a stream
// (`iterationInTest`), so a seed gives the same sequence of keys.

// One round of MurmurHash3 (Austin Appleby, public domain).
function mix(hash, word) {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  hash ^= k;
  return (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash) {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// A number in [0, 1).
export function chance(seed, stream, i) {
  let hash = mix(mix(0, seed % 4294967296), Math.floor(seed / 4294967296));
  return finish(mix(mix(hash, stream), i)) / 4294967296;
}
