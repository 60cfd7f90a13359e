// What the page carries, decoded; small helpers for elements and numbers.

const data = JSON.parse(document.getElementById("data").textContent);

function bytesOf(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return bytes;
}

function idsOf({ bits, values }) {
  const bytes = bytesOf(values);
  if (bits === 8) return bytes;
  return bits === 16 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
}

const floatsOf = (base64) => new Float32Array(bytesOf(base64).buffer);

// A matrix of integers with a scale for each row, as floats in row-major order.
function matrixOf({ rows, bits, values, scales }) {
  const bytes = bytesOf(values);
  const integers = bits === 8 ? new Int8Array(bytes.buffer) : new Int16Array(bytes.buffer);
  const columns = integers.length / rows;
  const scaleOf = floatsOf(scales);
  const matrix = new Float32Array(integers.length);
  for (let row = 0, place = 0; row < rows; row++) {
    const scale = scaleOf[row];
    for (let column = 0; column < columns; column++, place++) matrix[place] = integers[place] * scale;
  }
  return matrix;
}

// An element with attributes and children; null stands for none. Text never becomes markup.
const element = (tag, ...parts) => filled(document.createElement(tag), ...parts);

const drawing = (tag, ...parts) => filled(document.createElementNS("http://www.w3.org/2000/svg", tag), ...parts);

function filled(made, attributes = {}, ...children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null));
  return made;
}

const find = (id) => document.getElementById(id);

const clip = (value, low, high) => Math.min(Math.max(value, low), high);

// +0.25, −0.25
function signed(value, digits = 2) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
}

// 4.2 %, < 0.1 %
function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

// What a cell is called, and where it is: "2:17" is cell 17 of layer 2.
function cellOf(name) {
  const match = /^(\d{1,6}):(\d{1,6})$/.exec(name);
  if (!match) return null;
  const [layer, index] = [Number(match[1]), Number(match[2])];
  if (layer < 1 || layer > data.layers || index >= data.cellsOfLayer) return null;
  if (!cellsByName.has(name) && !others.has(name)) others.set(name, undescribed(name, layer, index));
  return cellsByName.get(name) ?? others.get(name);
}

const cellsByName = new Map(data.cells.map((cell) => [cell.name, cell]));
const others = new Map();

// A cell that the page describes no further, but the network inside can show.
function undescribed(name, layer, index) {
  const bounded = data.cells.every((cell) => cell.high <= 1);
  const high = bounded ? 1 : Math.max(...data.cells.map((cell) => cell.high));
  const low = data.cells.some((cell) => cell.low < 0) ? -high : 0;
  return {
    name, layer, index, low, high, group: "other", title: "", nearest: "", sentence: "is not described on this page",
    score: "", bar: 0, stars: 0, gradient: [], evidence: [], failed: [], ablation: null, passages: [], histogram: [],
    correlated: [], effects: [], memory: null, saturation: [],
    hold: { signal: data.network?.clampable ?? "h", low: -high, high, outside: null, inside: null },
  };
}

// The color of a value: class n1 to n10 on the negative side, p1 to p10 on the positive one, none near zero.
function shade(value, high) {
  const level = Math.min(Math.round((10 * Math.abs(value)) / high), 10);
  if (!level || Number.isNaN(level)) return "";
  return (value < 0 ? "n" : "p") + level;
}
