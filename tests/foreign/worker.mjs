// A worker in plain JavaScript: GroupNorm and BatchNorm behind the line protocol (docs/protocol.md).
//
// foreign.GroupNorm is canonical. foreign.BatchNorm departs from the canonical layer in one thing, on
// purpose: its running variance tracks the biased variance.
//
// Usage: node worker.mjs float32|float64

import readline from "node:readline";

const PROTOCOL = 2;
// JavaScript computes in float64; rounding every result to float32 is what float32 arithmetic gives.
const TYPES = {
  float32: { Numbers: Float32Array, round: Math.fround },
  float64: { Numbers: Float64Array, round: (value) => value },
};

// --- arrays: values in C order with their shape -----------------------------------------------

function decodeArray({ dtype, shape, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, "base64")); // a copy, aligned at 0
  return { dtype, shape, values: new TYPES[dtype].Numbers(bytes.buffer) };
}

function encodeArray({ dtype, shape, values }) {
  return { dtype, shape, data: Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64") };
}

/** A vector as it travels: of shape (C,). */
const encodeVector = (dtype, values) => encodeArray({ dtype, shape: [values.length], values });

const same = (a, b) => a.every((value, i) => Object.is(value, b[i]));

// --- arithmetic -------------------------------------------------------------------------------

/** Mean and sum of squared deviations of x over a set of indices, in two passes. */
function moments(x, indices, round) {
  let sum = 0;
  for (const i of indices) sum = round(sum + x[i]);
  const mean = round(sum / indices.length);
  let squares = 0;
  for (const i of indices) {
    const deviation = round(x[i] - mean);
    squares = round(squares + round(deviation * deviation));
  }
  return { mean, squares };
}

function range(start, length) {
  return Array.from({ length }, (_, i) => start + i);
}

/** What both layers share: settings, parameters, the channel check, and one set of values forward and backward. */
class Layer {
  constructor(settings, parameters, dtype) {
    this.settings = settings;
    this.frozen = false;
    const { num_channels: channels, eps = 1e-5, weight = true, bias = true } = settings;
    this.dtype = dtype;
    this.round = TYPES[dtype].round;
    this.channels = channels;
    this.eps = this.round(eps);
    this.given = parameters;
    this.weight = weight ? this.parameter("weight", 1) : null;
    this.bias = bias ? this.parameter("bias", 0) : null;
  }

  /** The parameter given, or its initial value for every channel. */
  parameter(name, initial) {
    const given = this.given[name]?.values ?? new TYPES[this.dtype].Numbers(this.channels).fill(initial);
    if (given.length !== this.channels) {
      throw new RangeError(`${name} must have num_channels=${this.channels} values, got ${given.length}`);
    }
    return given.slice();
  }

  check(shape) {
    if (shape.length < 2) throw new RangeError(`x must have shape (N, C, ...), got [${shape}]`);
    if (shape[1] !== this.channels) {
      throw new RangeError(`x must have num_channels=${this.channels} channels, got ${shape[1]} in [${shape}]`);
    }
  }

  normalise(x, y, indices, mean, variance, extent) {
    const { round } = this;
    const reciprocal = round(1 / round(Math.sqrt(round(variance + this.eps))));
    for (const i of indices) {
      const channel = Math.floor(i / extent) % this.channels;
      let value = round(round(x[i] - mean) * reciprocal);
      if (this.weight) value = round(value * this.weight[channel]);
      if (this.bias) value = round(value + this.bias[channel]);
      y[i] = value;
    }
  }

  /** The gradients of sum(y * dy), computed in float64; of weight and bias as far as the layer has them. */
  gradients(x, dy, shape, sets) {
    const [, channels] = shape;
    const extent = shape.slice(2).reduce((a, b) => a * b, 1);
    const [dx, dweight, dbias] = [x.length, channels, channels].map((length) => new Float64Array(length));
    for (const { indices, fixed } of sets) {
      const found = fixed ?? moments(x, indices, (value) => value);
      const reciprocal = 1 / Math.sqrt((fixed ? fixed.variance : found.squares / indices.length) + this.eps);
      const upstream = indices.map((i) => dy[i] * (this.weight?.[Math.floor(i / extent) % channels] ?? 1));
      const normalised = indices.map((i) => (x[i] - found.mean) * reciprocal);
      const sum = upstream.reduce((a, b) => a + b, 0) / indices.length;
      const product = upstream.reduce((a, b, k) => a + b * normalised[k], 0) / indices.length;
      indices.forEach((i, k) => {
        const channel = Math.floor(i / extent) % channels;
        dx[i] = reciprocal * (upstream[k] - (fixed ? 0 : sum + normalised[k] * product));
        dweight[channel] += dy[i] * normalised[k];
        dbias[channel] += dy[i];
      });
    }
    return { dx, ...(this.weight && { dweight }), ...(this.bias && { dbias }) };
  }

  statistics() {
    return {};
  }

  /** Everything that a user would write to a file. */
  state() {
    const own = { weight: this.weight, bias: this.bias, ...this.statistics() };
    return Object.fromEntries(Object.entries(own).filter(([, values]) => values));
  }

  trainable() {
    return this.frozen ? [] : ["weight", "bias"].filter((name) => this[name]);
  }
}

// --- the two implementations ------------------------------------------------------------------

class GroupNorm extends Layer {
  constructor(settings, parameters, dtype) {
    super(settings, parameters, dtype);
    this.groups = settings.num_groups;
    if (!(this.groups >= 1) || this.channels % this.groups !== 0) {
      throw new RangeError(`num_groups must divide num_channels=${this.channels}, got num_groups=${this.groups}`);
    }
  }

  sets(shape) {
    const size = shape.slice(2).reduce((a, b) => a * b, this.channels / this.groups); // a group's values are adjacent
    const count = size ? shape[0] * this.groups : 0;
    return Array.from({ length: count }, (_, i) => ({ indices: range(i * size, size) }));
  }

  call(x, shape) {
    this.check(shape);
    const extent = shape.slice(2).reduce((a, b) => a * b, 1);
    const y = new x.constructor(x.length);
    for (const { indices } of this.sets(shape)) {
      const { mean, squares } = moments(x, indices, this.round);
      this.normalise(x, y, indices, mean, this.round(squares / indices.length), extent);
    }
    return y;
  }
}

class BatchNorm extends Layer {
  constructor(settings, parameters, dtype) {
    super(settings, parameters, dtype);
    const { momentum = 0.1, track = true } = settings; // null is a value, not an absent one
    this.momentum = momentum;
    this.batches = 0;
    this.running = track
      ? { mean: this.parameter("running_mean", 0), variance: this.parameter("running_var", 1) }
      : null;
  }

  reset() {
    this.batches = 0;
    this.running?.mean.fill(0);
    this.running?.variance.fill(1);
  }

  /** A set for each channel; what it is normalised with is fixed where these are the running statistics. */
  sets([samples, channels, ...spatial], mode) {
    const extent = spatial.reduce((a, b) => a * b, 1);
    if (samples * extent === 0) return [];
    return range(0, channels).map((channel) => ({
      channel,
      indices: range(0, samples).flatMap((n) => range((n * channels + channel) * extent, extent)),
      fixed:
        mode === "eval" && this.running
          ? { mean: this.running.mean[channel], variance: this.running.variance[channel] }
          : null,
    }));
  }

  call(x, shape, mode) {
    this.check(shape);
    const extent = shape.slice(2).reduce((a, b) => a * b, 1);
    const count = shape[0] * extent;
    const training = mode === "train";
    if (training && count === 1) {
      throw new RangeError(`training needs more than one value per channel, got x of shape [${shape}]`);
    }
    const y = new x.constructor(x.length);
    if (count === 0) return y; // nothing seen, nothing tracked
    if (training) this.batches += 1;
    for (const { channel, indices, fixed } of this.sets(shape, mode)) {
      if (fixed) {
        this.normalise(x, y, indices, fixed.mean, fixed.variance, extent);
        continue;
      }
      const { mean, squares } = moments(x, indices, this.round);
      const variance = this.round(squares / count);
      this.normalise(x, y, indices, mean, variance, extent);
      if (training && this.running) {
        this.track(this.running.mean, channel, mean);
        this.track(this.running.variance, channel, variance); // canonical would be squares / (count - 1)
      }
    }
    return y;
  }

  track(running, channel, value) {
    const { round } = this;
    const weight = round(this.momentum ?? 1 / this.batches);
    running[channel] = round(round(round(1 - weight) * running[channel]) + round(weight * value));
  }

  statistics() {
    return this.running ? { running_mean: this.running.mean, running_var: this.running.variance } : {};
  }
}

/** What is done to a layer between calls; each returns the layer that lives on. */
const ACTIONS = {
  reset(layer) {
    layer.reset();
    return layer;
  },
  save_load(layer) {
    const saved = structuredClone({ ...layer.state(), batches: layer.batches });
    const loaded = new layer.constructor(layer.settings, {}, layer.dtype);
    const arrays = loaded.state();
    for (const name of Object.keys(arrays)) arrays[name].set(saved[name]);
    loaded.batches = saved.batches;
    return loaded;
  },
  freeze(layer) {
    layer.frozen = true;
    return layer;
  },
  unfreeze(layer) {
    layer.frozen = false;
    return layer;
  },
  momentum(layer, { value }) {
    layer.momentum = value;
    return layer;
  },
  set_parameters(layer, { parameters }) {
    const own = layer.state();
    for (const [name, array] of Object.entries(parameters)) own[name].set(decodeArray(array).values);
    return layer;
  },
};

const LAYERS = { "foreign.GroupNorm": GroupNorm, "foreign.BatchNorm": BatchNorm };

// --- the protocol -----------------------------------------------------------------------------

function describe(id, layer, settings, defaults) {
  return {
    id,
    layer,
    layout: "N, C, *",
    names: Object.fromEntries(settings.map((name) => [name, name])),
    documentation: "docs/protocol.md",
    ranks: [2, 3, 4, 5],
    remedies: {},
    signature_defaults: defaults,
  };
}

function hello() {
  const common = ["num_channels", "eps", "weight", "bias"];
  return {
    protocol: PROTOCOL,
    framework: "foreign",
    versions: { foreign: "1", node: process.versions.node },
    device: "cpu",
    dtypes: Object.keys(TYPES),
    actions: [...Object.keys(ACTIONS), "inspect"],
    python: "none",
    platform: `${process.platform} ${process.arch}`,
    numpy: "none",
    implementations: [
      describe("foreign.GroupNorm", "group_norm", [...common, "num_groups"], { eps: 1e-5 }),
      describe("foreign.BatchNorm", "batch_norm", [...common, "momentum", "track"], { eps: 1e-5, momentum: 0.1 }),
    ],
  };
}

/** One call of the layer, and what there is to say about it. */
function observeStep(layer, dtype, { mode, x, dy, inspect }) {
  const { shape, values } = decodeArray(x);
  const before = [values.slice(), layer.weight?.slice() ?? [], layer.bias?.slice() ?? []];
  const gradients = dy ? layer.gradients(values, decodeArray(dy).values, shape, layer.sets(shape, mode)) : {};
  const y = layer.call(values, shape, mode);
  const after = [values, layer.weight ?? [], layer.bias ?? []];
  const { dx, ...ofParameters } = vectors(dtype, gradients);
  return {
    output: encodeArray({ dtype, shape, values: y }),
    dtype,
    state: vectors(dtype, inspect ? layer.state() : layer.statistics()),
    modified: ["x", "weight", "bias"].filter((_, i) => !same(before[i], after[i])),
    ...(dy && { gradients: { dx: { ...dx, shape }, ...ofParameters } }),
    ...(inspect && { trainable: layer.trainable() }),
  };
}

/** Vectors of any type, each encoded in `dtype`. */
function vectors(dtype, values) {
  const encoded = (vector) => encodeVector(dtype, new TYPES[dtype].Numbers(vector));
  return Object.fromEntries(Object.entries(values).map(([name, vector]) => [name, encoded(vector)]));
}

/** What the implementation does on one case; an exception ends the steps and is part of the answer. */
function observe(implementation, { dtype, settings, parameters, steps }) {
  const answer = { steps: [], warnings: [] };
  let where = "construct";
  try {
    const decoded = Object.entries(parameters).map(([name, array]) => [name, decodeArray(array)]);
    let layer = new LAYERS[implementation](settings, Object.fromEntries(decoded), dtype);
    for (const [number, step] of steps.entries()) {
      where = `step ${number + 1}`;
      for (const action of step.before ?? []) layer = ACTIONS[action.action](layer, action);
      answer.steps.push(observeStep(layer, dtype, step));
    }
  } catch (error) {
    answer.raised = { where, type: error.name, message: error.message };
  }
  return answer;
}

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

say(hello());
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.op === "run") {
    for (const one of request.cases) say({ number: one.number, ...observe(request.implementation, one) });
  } else {
    say({ number: request.number, error: `op ${request.op} is not known; allowed: run` }); // scripts are Python; this is not
  }
}
