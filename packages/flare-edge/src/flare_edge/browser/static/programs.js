// Dense networks, trained by stochastic gradient descent: the twin of flare_edge/device/programs in Python, which
// documents configurations and names of parameters. Sums run in float64 and are rounded once, to float32.

const GOLDEN = 0x9e3779b9;
const MAX_ROWS = 1 << 21; // for an exact shuffle

/** Mulberry32; see flare_edge/device/randomness.py. */
export class Mulberry32 {
  constructor(seed) {
    this.state = seed | 0;
  }
  integer() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  permutation(count) {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor((this.integer() * (i + 1)) / 4294967296);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

/** Return the generator of a task: of its configuration's seed and its model's version. */
export function generatorFor(seed, version) {
  return new Mulberry32((seed + Math.imul(version, GOLDEN)) | 0);
}

/**
 * Return the program that a device's configuration names: {layers, activation, loss, names}.
 * @throws {Error} The program, an activation or a loss is unknown.
 */
export function programFrom(config) {
  const { kind, activation = "relu", loss = "cross_entropy", layers, inputs, outputs = 1 } = config.program ?? {};
  if (kind === "linear") {
    return checked({ layers: [inputs, outputs], activation, loss: "squared_error", names: [["weight", "bias"]] });
  }
  if (kind !== "mlp") throw new Error(`unknown program ${kind}; this page has mlp and linear`);
  const names = (layers ?? []).slice(1).map((_, i) => [`${2 * i}.weight`, `${2 * i}.bias`]);
  return checked({ layers: layers ?? [], activation, loss, names });
}

function checked(program) {
  const { layers, activation, loss } = program;
  if (layers.length < 2 || !layers.every((each) => Number.isInteger(each) && each > 0)) {
    throw new Error(`the program's layers are ${layers}; they must be at least two positive whole numbers`);
  }
  if (!["relu", "tanh"].includes(activation)) throw new Error(`unknown activation ${activation}`);
  if (!["cross_entropy", "squared_error"].includes(loss)) throw new Error(`unknown loss ${loss}`);
  return program;
}

/**
 * Return the hyperparameters of a device's configuration: {lr, epochs, batchSize, seed}.
 * @throws {Error} One is missing or out of its range.
 */
export function trainingFrom({ lr, epochs = 1, batch_size: batchSize = 32, seed = 0 }) {
  if (!(Number.isFinite(lr) && lr > 0)) throw new Error(`lr is ${lr}; it must be a positive number`);
  for (const [name, value] of Object.entries({ epochs, batch_size: batchSize })) {
    if (!(Number.isInteger(value) && value > 0)) throw new Error(`${name} is ${value}; it must be a whole number from 1`);
  }
  if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)) throw new Error(`seed is ${seed}; it must be below 2^32`);
  return { lr, epochs, batchSize, seed };
}

/**
 * Return examples as one piece: {rows, inputs: Float32Array, targets}.
 * @param {{input: Float32Array, target: number | number[]}[]} list A target is a class from 0, or values.
 */
export function packed(list) {
  const width = list.length ? list[0].input.length : 0;
  const inputs = new Float32Array(list.length * width);
  list.forEach(({ input }, row) => inputs.set(input, row * width));
  const targets = list.flatMap(({ target }) => target);
  return { rows: list.length, inputs, targets: Float32Array.from(targets) };
}

/** @throws {Error} A model or examples do not fit the program; says which. */
export function check(program, params, examples) {
  const { layers, names, loss } = program;
  const wanted = new Map(names.flatMap(([weight, bias], i) => [
    [weight, [layers[i + 1], layers[i]]],
    [bias, [layers[i + 1]]],
  ]));
  if (params.size !== wanted.size) throw new Error(`the model has ${[...params.keys()]}; the program ${[...wanted.keys()]}`);
  for (const [name, shape] of wanted) {
    const found = params.get(name)?.shape;
    if (String(found) !== String(shape)) throw new Error(`parameter ${name} has the shape ${found}; the program's has ${shape}`);
  }
  const { rows, inputs, targets } = examples;
  const outputs = layers.at(-1);
  if (!(rows > 0 && rows <= MAX_ROWS)) throw new Error(`a device trains on 1 to ${MAX_ROWS} examples, not on ${rows}`);
  if (inputs.length !== rows * layers[0]) throw new Error(`examples have ${inputs.length / rows} inputs; the program has ${layers[0]}`);
  if (targets.length !== rows * (loss === "squared_error" ? outputs : 1)) throw new Error("the targets do not fit the program");
  if (!inputs.every(Number.isFinite) || !targets.every(Number.isFinite)) throw new Error("an example is not finite");
  if (loss === "cross_entropy" && !targets.every((each) => Number.isInteger(each) && each >= 0 && each < outputs)) {
    throw new Error(`classes are 0 to ${outputs - 1}`);
  }
}

/**
 * Return the parameters after training; the given ones stay as they are.
 * @param {(fraction: number) => void} onProgress Is called after each epoch.
 */
export function train(program, params, examples, how, version, onProgress = () => {}) {
  check(program, params, examples);
  const own = new Map([...params].map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]));
  const generator = generatorFor(how.seed, version);
  const rate = Math.fround(how.lr);
  for (let epoch = 0; epoch < how.epochs; epoch++) {
    const order = generator.permutation(examples.rows);
    for (let start = 0; start < order.length; start += how.batchSize) {
      const batch = take(program, examples, order.subarray(start, start + how.batchSize));
      for (const [name, gradient] of gradients(program, own, batch)) {
        const { data } = own.get(name);
        for (let i = 0; i < data.length; i++) data[i] -= Math.fround(rate * gradient[i]);
      }
    }
    onProgress((epoch + 1) / how.epochs);
  }
  return own;
}

/** Return {loss}, and accuracy where there are classes, of a model on examples. */
export function evaluate(program, params, examples) {
  check(program, params, examples);
  const { layers, loss } = program;
  const width = layers.at(-1);
  const out = forward(program, params, examples).at(-1);
  let total = 0;
  if (loss === "squared_error") {
    for (let i = 0; i < out.length; i++) total += (out[i] - examples.targets[i]) ** 2;
    return { loss: total / out.length };
  }
  let right = 0;
  for (let row = 0; row < examples.rows; row++) {
    const values = out.subarray(row * width, (row + 1) * width);
    const highest = values.indexOf(Math.max(...values));
    const sum = values.reduce((sum, each) => sum + Math.exp(each - values[highest]), 0);
    total += Math.log(sum) - (values[examples.targets[row]] - values[highest]);
    right += highest === examples.targets[row];
  }
  return { loss: total / examples.rows, accuracy: right / examples.rows };
}

/** Return the probability of each class for one input. */
export function probabilities(program, params, input) {
  const out = forward(program, params, { rows: 1, inputs: input }).at(-1);
  const highest = Math.max(...out);
  const raised = Array.from(out, (each) => Math.exp(each - highest));
  const sum = raised.reduce((a, b) => a + b);
  return raised.map((each) => each / sum);
}

/** Return the trained minus the received parameters. */
export function difference(trained, received) {
  return new Map([...received].map(([name, { shape, data }]) => {
    const { data: now } = trained.get(name);
    return [name, { shape, data: data.map((before, i) => now[i] - before) }];
  }));
}

function take({ layers, loss }, { inputs, targets }, rows) {
  const width = layers[0];
  const depth = loss === "squared_error" ? layers.at(-1) : 1;
  const batch = {
    rows: rows.length,
    inputs: new Float32Array(rows.length * width),
    targets: new Float32Array(rows.length * depth),
  };
  rows.forEach((row, place) => {
    batch.inputs.set(inputs.subarray(row * width, (row + 1) * width), place * width);
    batch.targets.set(targets.subarray(row * depth, (row + 1) * depth), place * depth);
  });
  return batch;
}

/** Return the inputs, and each layer's outputs. */
function forward({ layers, names, activation }, params, { rows, inputs }) {
  const values = [inputs];
  names.forEach(([weightName, biasName], layer) => {
    const [from, to] = [layers[layer], layers[layer + 1]];
    const weight = params.get(weightName).data;
    const bias = params.get(biasName).data;
    const before = values.at(-1);
    const out = new Float32Array(rows * to);
    const isLast = layer === names.length - 1;
    for (let row = 0; row < rows; row++) {
      for (let unit = 0; unit < to; unit++) {
        let sum = 0;
        for (let k = 0; k < from; k++) sum += before[row * from + k] * weight[unit * from + k];
        sum += bias[unit];
        out[row * to + unit] = isLast ? sum : activation === "relu" ? Math.max(sum, 0) : Math.tanh(sum);
      }
    }
    values.push(out);
  });
  return values;
}

function gradients(program, params, batch) {
  const { layers, names, activation } = program;
  const values = forward(program, params, batch);
  let back = lossGradient(program, values.at(-1), batch);
  const found = new Map();
  for (let layer = names.length - 1; layer >= 0; layer--) {
    const [from, to] = [layers[layer], layers[layer + 1]];
    const weight = params.get(names[layer][0]).data;
    const before = values[layer];
    const ofWeight = new Float32Array(to * from);
    const ofBias = new Float32Array(to);
    for (let unit = 0; unit < to; unit++) {
      let sum = 0;
      for (let row = 0; row < batch.rows; row++) sum += back[row * to + unit];
      ofBias[unit] = sum;
      for (let k = 0; k < from; k++) {
        sum = 0;
        for (let row = 0; row < batch.rows; row++) sum += back[row * to + unit] * before[row * from + k];
        ofWeight[unit * from + k] = sum;
      }
    }
    found.set(names[layer][0], ofWeight).set(names[layer][1], ofBias);
    if (layer === 0) break;
    const next = new Float32Array(batch.rows * from);
    for (let row = 0; row < batch.rows; row++) {
      for (let k = 0; k < from; k++) {
        const there = before[row * from + k];
        const slope = activation === "relu" ? Number(there > 0) : 1 - there * there;
        let sum = 0;
        for (let unit = 0; unit < to; unit++) sum += back[row * to + unit] * weight[unit * from + k];
        next[row * from + k] = sum * slope;
      }
    }
    back = next;
  }
  return found;
}

function lossGradient({ layers, loss }, out, { rows, targets }) {
  if (loss === "squared_error") return out.map((each, i) => ((each - targets[i]) * 2) / out.length);
  const width = layers.at(-1);
  const back = new Float32Array(out.length);
  for (let row = 0; row < rows; row++) {
    const values = out.subarray(row * width, (row + 1) * width);
    const highest = Math.max(...values);
    const sum = values.reduce((sum, each) => sum + Math.exp(each - highest), 0);
    values.forEach((each, unit) => {
      back[row * width + unit] = (Math.exp(each - highest) / sum - Number(unit === targets[row])) / rows;
    });
  }
  return back;
}
