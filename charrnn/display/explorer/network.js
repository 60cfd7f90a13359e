// The network itself: the equations of its recurrence, a character at a time.

const sigmoid = (value) => 1 / (1 + Math.exp(-value));
const tanh = Math.tanh;
const relu = (value) => Math.max(value, 0);
const NOTHING_HELD = Object.freeze({});

// matrix (rows × columns) times vector, plus bias.
function product(matrix, vector, bias) {
  const rows = bias.length;
  const columns = vector.length;
  const result = new Float32Array(rows);
  for (let row = 0, place = 0; row < rows; row++) {
    let sum = bias[row];
    for (let column = 0; column < columns; column++, place++) sum += matrix[place] * vector[column];
    result[row] = sum;
  }
  return result;
}

class Network {
  constructor(described) {
    this.size = described.hiddenSize;
    this.parts = described.parts;
    this.gates = described.gates;
    this.opening = described.opening;
    this.documents = described.documents;
    this.initialHolds = described.initial;
    this.embedding = matrixOf(described.embedding);
    this.embeddingSize = this.embedding.length / described.embedding.rows;
    this.layers = described.layers.map((layer) => ({
      input: matrixOf(layer.input),
      hidden: matrixOf(layer.hidden),
      inputBias: floatsOf(layer.inputBias),
      hiddenBias: floatsOf(layer.hiddenBias),
    }));
    this.output = matrixOf(described.output);
    this.outputBias = floatsOf(described.outputBias);
    this.embedded = new Map(); // id → its part of the first layer's pre-activations
  }

  // The state before a text: zeros, except in cells that are held. holds: [{ layer, cell, part, value }].
  initial(holds = []) {
    const state = this.layers.map(() =>
      Object.fromEntries(this.parts.map((part) => [part, new Float32Array(this.size)])),
    );
    for (const { layer, cell, part, value } of [...this.initialHolds, ...holds]) state[layer - 1][part][cell] = value;
    return state;
  }

  // The state in which the first character of a text is read.
  start(holds = []) {
    const state = this.initial(holds);
    return this.documents === null ? state : this.step(this.opening, state, holds).state;
  }

  // Reads one character. Returns the state after it, the gates of each layer, and a logit for each next character.
  step(id, state, holds = []) {
    const after = [];
    const gates = [];
    let input = null;
    this.layers.forEach((layer, depth) => {
      const fromInput = depth ? product(layer.input, input, layer.inputBias) : this.fromEmbedding(id);
      const fromHidden = product(layer.hidden, state[depth].h, layer.hiddenBias);
      const own = holds.filter((hold) => hold.layer === depth + 1);
      const updated = this.update(fromInput, fromHidden, state[depth], own);
      after.push(updated.state);
      gates.push(updated.gates);
      input = updated.state.h;
    });
    return { state: after, gates, logits: product(this.output, input, this.outputBias) };
  }

  fromEmbedding(id) {
    if (!this.embedded.has(id)) {
      const vector = this.embedding.subarray(id * this.embeddingSize, (id + 1) * this.embeddingSize);
      this.embedded.set(id, product(this.layers[0].input, vector, this.layers[0].inputBias));
    }
    return this.embedded.get(id);
  }

  // One layer: `updateCell` is the equation of the recurrence for one cell.
  update(fromInput, fromHidden, before, holds) {
    const { size, parts, gates } = this;
    const made = (names) => Object.fromEntries(names.map((name) => [name, new Float32Array(size)]));
    const state = made(parts);
    const values = made(gates);
    const x = {};
    const h = {};
    const old = {};
    for (let cell = 0; cell < size; cell++) {
      for (let block = 0; block < gates.length; block++) {
        x[gates[block]] = fromInput[block * size + cell];
        h[gates[block]] = fromHidden[block * size + cell];
      }
      for (const part of parts) old[part] = before[part][cell];
      const updated = updateCell(x, h, old, holds.length ? heldParts(holds, cell) : NOTHING_HELD);
      for (const part of parts) state[part][cell] = updated[part];
      for (const gate of gates) values[gate][cell] = updated[gate];
    }
    for (const { cell, part, value } of holds) state[part][cell] = value;
    return { state, gates: values };
  }
}

function heldParts(holds, cell) {
  const own = holds.filter((hold) => hold.cell === cell);
  return own.length ? Object.fromEntries(own.map((hold) => [hold.part, hold.value])) : NOTHING_HELD;
}

// Probabilities of the next characters, at a temperature.
function softmax(logits, temperature = 1) {
  const largest = logits.reduce((one, other) => Math.max(one, other), -Infinity);
  const powers = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / sum);
}

// The ids of the likeliest next characters with their probabilities, the likeliest first.
function likeliest(logits, number) {
  const shares = Array.from(softmax(logits), (share, id) => [id, share]);
  return shares.sort(([, one], [, other]) => other - one).slice(0, number);
}

// Uniform numbers in (0, 1) from a seed (mulberry32).
function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

// Draws the next character by the largest of logit / temperature plus Gumbel noise. The noise depends on the seed and
// the place alone, so that two texts with the same seed differ only because their networks do.
function draw(logits, temperature, seed, place) {
  const uniform = uniforms(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(place + 1, 0x85ebca6b));
  let best = 0;
  let highest = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const score = logits[id] / temperature - Math.log(-Math.log(uniform()));
    if (score > highest) [best, highest] = [id, score];
  }
  return best;
}

const network = data.network ? new Network(data.network) : null;
