// Filters on an update before it leaves the device: the twin of flare_edge/device/filters.py.

/** Return a filter that scales an update down to an L2 norm, over all its parameters together. */
export function clipToNorm(norm) {
  if (!(Number.isFinite(norm) && norm > 0)) throw new Error(`an update cannot be clipped to the norm ${norm}`);
  return (update) => {
    let sum = 0;
    for (const { data } of update.values()) for (const each of data) sum += each * each;
    const factor = (norm * (1 - 1e-6)) / Math.sqrt(sum); // less, for rounding
    return factor >= 1 ? update : changed(update, (each) => each * factor);
  };
}

/** Return a filter that adds normal noise to every value, from the browser's cryptographic generator. */
export function gaussianNoise(stddev) {
  if (!(Number.isFinite(stddev) && stddev >= 0)) throw new Error(`noise cannot have the standard deviation ${stddev}`);
  return (update) => changed(update, (each) => each + stddev * normal());
}

/**
 * Return the filters that a run's configuration names.
 * @throws {Error} One is unknown.
 */
export function filtersFrom({ filters = [] }) {
  return filters.map(({ kind, norm, stddev }) => {
    if (kind === "clip") return clipToNorm(norm);
    if (kind === "noise") return gaussianNoise(stddev);
    throw new Error(`unknown filter ${kind}; this page has clip and noise`);
  });
}

function changed(update, change) {
  return new Map([...update].map(([name, { shape, data }]) => [name, { shape, data: data.map(change) }]));
}

/** Box and Muller 1958, of two uniform numbers of 53 bits. */
function normal() {
  const uniform = () => {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    return ((high >>> 5) * 67108864 + (low >>> 6) + 1) / 9007199254740992; // above 0, at most 1
  };
  return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
