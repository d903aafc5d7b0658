// Chooses the key of request i of a stream. `pick(u, i, total)`: u is a random number in [0, 1), total is the stream's
// number of requests. `law`, `first` and `count` describe the same. A test compares them with the native generator's
// table.

// PREFIX0 … PREFIX(count-1), equally likely.
export function uniform(prefix, count) {
  return { law: 'uniform', first: `${prefix}0`, count, pick: (u) => prefix + Math.floor(u * count) };
}

// The same keys by Zipf's law: key r (from 0) has a probability in proportion to 1 / (r + 1)^exponent.
export function zipf(prefix, count, exponent) {
  const below = new Float64Array(count);
  let sum = 0;
  for (let r = 0; r < count; r += 1) {
    sum += Math.pow(r + 1, -exponent);
    below[r] = sum;
  }
  const pick = (u) => {
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (below[middle] > u * sum) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return prefix + low;
  };
  return { law: `zipf:${exponent}`, first: `${prefix}0`, count, hottest: `${prefix}0`, pick };
}

// One after the other, and from the first again.
export function inTurn(prefix, count) {
  return { law: 'in-turn', first: `${prefix}0`, count, pick: (u, i) => prefix + (i % count) };
}

export function single(name) {
  return { law: 'uniform', first: name, count: 1, hottest: name, pick: () => name };
}

// Each name for an equal part of the run.
export function inPhases(names) {
  const pick = (u, i, total) => names[Math.min(Math.floor((i * names.length) / total), names.length - 1)];
  return { law: 'in-phases', first: names[0], count: names.length, pick };
}
