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

/** What both layers share: settings, parameters, the channel check, and the normalisation of one set. */
class Layer {
  constructor(settings, parameters, dtype) {
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

  statistics() {
    return {};
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

  call(x, shape) {
    this.check(shape);
    const extent = shape.slice(2).reduce((a, b) => a * b, 1);
    const size = (this.channels / this.groups) * extent; // a group's values are adjacent
    const y = new x.constructor(x.length);
    for (let start = 0; start < x.length; start += size) {
      const indices = range(start, size);
      const { mean, squares } = moments(x, indices, this.round);
      this.normalise(x, y, indices, mean, this.round(squares / size), extent);
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

  call(x, shape, mode) {
    this.check(shape);
    const [samples, channels] = shape;
    const extent = shape.slice(2).reduce((a, b) => a * b, 1);
    const count = samples * extent;
    const training = mode === "train";
    if (training && count === 1) {
      throw new RangeError(`training needs more than one value per channel, got x of shape [${shape}]`);
    }
    const y = new x.constructor(x.length);
    if (count === 0) return y; // nothing seen, nothing tracked
    if (training) this.batches += 1;
    for (let channel = 0; channel < channels; channel += 1) {
      const indices = range(0, samples).flatMap((n) => range((n * channels + channel) * extent, extent));
      if (!training && this.running) {
        this.normalise(x, y, indices, this.running.mean[channel], this.running.variance[channel], extent);
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
    lacks: [{ why: "there is no automatic differentiation", source: "this file", gradients: true }],
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
    python: "none",
    platform: `${process.platform} ${process.arch}`,
    numpy: "none",
    implementations: [
      describe("foreign.GroupNorm", "group_norm", [...common, "num_groups"], { eps: 1e-5 }),
      describe("foreign.BatchNorm", "batch_norm", [...common, "momentum", "track"], { eps: 1e-5, momentum: 0.1 }),
    ],
  };
}

/** What the implementation does on one case; an exception ends the steps and is part of the answer. */
function observe(implementation, { dtype, settings, parameters, steps }) {
  const answer = { steps: [], warnings: [] };
  let where = "construct";
  try {
    const decoded = Object.entries(parameters).map(([name, array]) => [name, decodeArray(array)]);
    const layer = new LAYERS[implementation](settings, Object.fromEntries(decoded), dtype);
    for (const [number, { mode, x }] of steps.entries()) {
      where = `step ${number + 1}`;
      const { shape, values } = decodeArray(x);
      const before = [values.slice(), layer.weight?.slice() ?? [], layer.bias?.slice() ?? []];
      const y = layer.call(values, shape, mode);
      const after = [values, layer.weight ?? [], layer.bias ?? []];
      const vectors = Object.entries(layer.statistics());
      answer.steps.push({
        output: encodeArray({ dtype, shape, values: y }),
        dtype,
        state: Object.fromEntries(vectors.map(([n, v]) => [n, encodeArray({ dtype, shape: [v.length], values: v })])),
        modified: ["x", "weight", "bias"].filter((_, i) => !same(before[i], after[i])),
      });
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
