// TensorFlow.js on Node behind the line protocol (docs/protocol.md), on its backend in plain JavaScript.
//
// tf.layers.batchNormalization is the framework's own layer. TensorFlow.js has no GroupNorm: tf.moments.GroupNorm is
// the one that a port writes with tf.moments, for channels last.
//
// Usage: npm install, then node worker.mjs float32

import readline from "node:readline";

console.info = console.warn = console.log = console.error; // standard output is the protocol's
const tf = await import("@tensorflow/tfjs");
await tf.setBackend("cpu");

// --- arrays: base64 of little-endian values in C order ------------------------------------------

function decode({ shape, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, "base64")); // a copy, aligned at 0
  return { shape, values: new Float32Array(bytes.buffer) };
}

function encode(tensor) {
  const values = Float32Array.from(tensor.dataSync());
  return { dtype: "float32", shape: tensor.shape, data: Buffer.from(values.buffer).toString("base64") };
}

const encodeAll = (tensors) => Object.fromEntries(Object.entries(tensors).map(([name, one]) => [name, encode(one)]));

const channelsLast = (x) => (x.rank < 3 ? x : x.transpose([0, ...range(2, x.rank), 1]));
const channelsFirst = (y) => (y.rank < 3 ? y : y.transpose([0, y.rank - 1, ...range(1, y.rank - 1)]));
const range = (start, end) => Array.from({ length: end - start }, (_, i) => start + i);

// --- the layers: both take channels last --------------------------------------------------------

class BatchNorm {
  static names = { eps: "epsilon", momentum: "momentum", weight: "scale", bias: "center", num_channels: "inputShape" };

  /** The layer is built for inputs of one rank and of settings.num_channels channels, as in a model. */
  constructor(settings, parameters, rank) {
    this.settings = settings;
    this.rank = rank;
    const given = Object.entries({ eps: "epsilon", momentum: "momentum", weight: "scale", bias: "center" });
    const options = given.filter(([name]) => name in settings).map(([name, own]) => [own, settings[name]]);
    this.layer = tf.layers.batchNormalization({ axis: -1, ...Object.fromEntries(options) });
    this.layer.build([...Array(rank - 1).fill(null), settings.num_channels]);
    this.set(parameters);
  }

  variables() {
    const own = { weight: this.layer.gamma, bias: this.layer.beta, running_mean: this.layer.movingMean,
                  running_var: this.layer.movingVariance };
    return Object.fromEntries(Object.entries(own).filter(([, one]) => one).map(([name, one]) => [name, one.val]));
  }

  set(parameters) {
    const own = this.variables();
    for (const [name, values] of Object.entries(parameters)) own[name].assign(tf.tensor(values));
  }

  call(x, training) {
    return this.layer.apply(x, { training });
  }

  trainable() {
    const trained = this.layer.trainableWeights.map((one) => one.val);
    return Object.entries(this.variables()).filter(([, one]) => trained.includes(one)).map(([name]) => name);
  }

  freeze(frozen) {
    this.layer.trainable = !frozen;
  }
}

class GroupNorm {
  static names = { eps: "eps", num_groups: "groups", weight: "gamma", bias: "beta", num_channels: "channels" };

  constructor(settings, parameters) {
    this.settings = settings;
    const { num_channels: channels, num_groups: groups, weight = true, bias = true } = settings;
    if (!(groups >= 1) || channels % groups) throw new RangeError(`groups ${groups} do not divide channels ${channels}`);
    this.own = { ...(weight && { weight: tf.variable(tf.ones([channels])) }),
                 ...(bias && { bias: tf.variable(tf.zeros([channels])) }) };
    this.set(parameters);
    this.frozen = false;
  }

  variables() {
    return this.own;
  }

  set(parameters) {
    for (const [name, values] of Object.entries(parameters)) this.own[name].assign(tf.tensor(values));
  }

  call(x) {
    const { num_channels: channels, num_groups: groups, eps = 1e-5 } = this.settings;
    if (x.rank < 2 || x.shape.at(-1) !== channels) throw new RangeError(`x must have ${channels} channels, got [${x.shape}]`);
    const positions = x.shape.slice(1, -1).reduce((a, b) => a * b, 1);
    const sets = x.reshape([x.shape[0], positions, groups, channels / groups]);
    const { mean, variance } = tf.moments(sets, [1, 3], true);
    let y = sets.sub(mean).div(variance.add(eps).sqrt()).reshape(x.shape);
    if (this.own.weight) y = y.mul(this.own.weight);
    return this.own.bias ? y.add(this.own.bias) : y;
  }

  trainable() {
    return this.frozen ? [] : Object.keys(this.own);
  }

  freeze(frozen) {
    this.frozen = frozen;
  }
}

const LAYERS = { "tf.layers.batchNormalization": BatchNorm, "tf.moments.GroupNorm": GroupNorm };

const ACTIONS = {
  save_load(layer) {
    const saved = Object.entries(layer.variables()).map(([name, one]) => [name, one.arraySync()]);
    return new layer.constructor(layer.settings, Object.fromEntries(saved), layer.rank);
  },
  freeze(layer) {
    layer.freeze(true);
    return layer;
  },
  unfreeze(layer) {
    layer.freeze(false);
    return layer;
  },
  set_parameters(layer, { parameters }) {
    layer.set(plain(parameters));
    return layer;
  },
};

const plain = (parameters) =>
  Object.fromEntries(Object.entries(parameters).map(([name, array]) => [name, Array.from(decode(array).values)]));

// --- the protocol -------------------------------------------------------------------------------

const LAYERS_PAGE = "https://js.tensorflow.org/api/4.22.0/#layers.batchNormalization";

function describe(id, layer, defaults, ranks, lacks) {
  return {
    id, layer, ranks, lacks,
    layout: "N, *, C",
    names: LAYERS[id].names,
    documentation: LAYERS_PAGE,
    remedies: {},
    signature_defaults: defaults,
  };
}

function hello() {
  const lack = (why, condition) => ({ why, source: LAYERS_PAGE, ...condition });
  return {
    protocol: 2,
    framework: "tfjs",
    versions: { tfjs: tf.version.tfjs, node: process.versions.node },
    device: "cpu",
    dtypes: ["float32"],
    actions: [...Object.keys(ACTIONS), "inspect"],
    platform: `${process.platform} ${process.arch}`,
    implementations: [
      describe("tf.moments.GroupNorm", "group_norm", { eps: 1e-5 }, [2, 3, 4, 5], []),
      describe("tf.layers.batchNormalization", "batch_norm", { eps: 1e-3, momentum: 0.99 }, [2, 3, 4], [
        lack("running statistics are always tracked", { settings: { track: false } }),
        lack("momentum is a number", { settings: { momentum: null } }),
      ]),
    ],
  };
}

/** One call of the layer with its gradients: x is a variable, so that one pass gives them all. */
function observeStep(layer, { mode, x, dy, inspect }) {
  const { shape, values } = decode(x);
  const before = values.slice();
  const input = tf.variable(tf.tensor(values, shape));
  const own = layer.variables();
  const differentiated = { dx: input, ...(own.weight && { dweight: own.weight }), ...(own.bias && { dbias: own.bias }) };
  let y;
  let gradients = {};
  const call = () => (y = tf.keep(channelsFirst(layer.call(channelsLast(input), mode === "train"))));
  if (dy) {
    const upstream = tf.tensor(decode(dy).values, shape);
    for (const one of Object.values(differentiated)) one.trainable = true; // else a frozen one has no gradient
    const found = tf.variableGrads(() => call().mul(upstream).sum(), Object.values(differentiated));
    gradients = Object.fromEntries(Object.entries(differentiated).map(([name, one]) => [name, found.grads[one.name]]));
  } else {
    call();
  }
  const state = Object.fromEntries(Object.entries(own).filter(([name]) => inspect || name.startsWith("running")));
  return {
    output: encode(y),
    dtype: "float32",
    state: encodeAll(state),
    modified: values.every((value, i) => Object.is(value, before[i])) ? [] : ["x"],
    ...(dy && { gradients: encodeAll(gradients) }),
    ...(inspect && { trainable: layer.trainable() }),
  };
}

/** What the implementation does on one case; an exception ends the steps and is part of the answer. */
function observe(implementation, { settings, parameters, steps }) {
  const answer = { steps: [], warnings: [] };
  let where = "construct";
  tf.engine().startScope();
  try {
    let layer = new LAYERS[implementation](settings, plain(parameters), steps[0].x.shape.length);
    for (const [number, step] of steps.entries()) {
      where = `step ${number + 1}`;
      for (const action of step.before ?? []) layer = ACTIONS[action.action](layer, action);
      answer.steps.push(observeStep(layer, step));
    }
  } catch (error) {
    answer.raised = { where, type: error.name, message: error.message };
  }
  tf.engine().endScope();
  tf.disposeVariables();
  return answer;
}

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

say(hello());
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.op === "run") {
    for (const one of request.cases) say({ number: one.number, ...observe(request.implementation, one) });
  } else {
    say({ number: request.number, error: `op ${request.op} is not known; allowed: run` });
  }
}
