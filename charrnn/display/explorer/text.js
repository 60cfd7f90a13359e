// Texts: from ids to what is drawn, and where values, predictions and gates of each character come from.

const NEWLINE = "\n";
const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const ids = new Map(data.symbols.map((symbol, id) => [symbol, id]));

const isUnsafe = (code) => data.unsafe.some(([first, last]) => code >= first && code <= last);

// A form of a character that can neither be invisible nor change the order of the text around it.
function visible(character) {
  const code = character.codePointAt(0);
  if (!isUnsafe(code)) return character;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  const digits = code.toString(16);
  return code <= 0xff ? `\\x${digits.padStart(2, "0")}` : `\\u${digits.padStart(4, "0")}`;
}

// The same for a text. Tags stay in the flags of England, Scotland and Wales.
const TAG_FLAGS = /(\u{1f3f4}\u{e0067}\u{e0062}(?:\u{e0065}\u{e006e}\u{e0067}|\u{e0073}\u{e0063}\u{e0074}|\u{e0077}\u{e006c}\u{e0073})\u{e007f})/u;

function visibleText(text) {
  return text.split(TAG_FLAGS).map((part, place) => (place % 2 ? part : Array.from(part, visible).join(""))).join("");
}

// One id in a list of predictions.
function symbolOf(id) {
  const names = { "\n": "↵", "\t": "→", " ": "␣" };
  const symbol = data.bytes ? byteSymbol(id) : data.symbols[id];
  return names[symbol] ?? visible(symbol);
}

const byteSymbol = (byte) => (byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`);

// The ids of a text; null for characters that the vocabulary lacks. Of bytes, a character has several ids.
function encode(typed) {
  const text = normalized(typed);
  if (data.bytes) return Array.from(utf8.encode(text));
  return Array.from(text, (character) => ids.get(character) ?? null);
}

// The ids of what the network reads of a text.
const knownIds = (typed) => encode(typed).filter((id) => id !== null);

// A text in the form of the text that the network was trained on; jamo: Korean syllables as letters.
function normalized(text) {
  if (data.normalize === "none") return text;
  const form = text.normalize(data.normalize === "nfd" ? "NFD" : "NFC");
  return data.normalize === "jamo" ? form.replace(/[\uac00-\ud7a3]+/g, (syllables) => syllables.normalize("NFD")) : form;
}

// Ids as characters: { text, first, count }. Bytes that are not UTF-8 stay alone, in a visible form.
function charactersOf(list) {
  if (!data.bytes) return Array.from(list, (id, first) => ({ text: data.symbols[id], first, count: 1 }));
  const found = [];
  for (let first = 0; first < list.length; ) {
    const lead = list[first];
    const count = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    let text = "";
    try {
      text = fromUtf8.decode(Uint8Array.from(list.slice(first, first + count)));
    } catch {
      // not UTF-8
    }
    const whole = [...text].length === 1;
    found.push(whole ? { text, first, count } : { text: byteSymbol(lead), first, count: 1, escaped: true });
    first += whole ? count : 1;
  }
  return found;
}

// Ids as what a reader sees as one sign: a letter with its marks, a flag, an emoji. { text, first, count }.
function clustersOf(list) {
  const characters = charactersOf(list);
  const plain = ({ text, escaped }) => (escaped ? "\ufffd" : text);
  const clusters = [];
  let next = 0;
  for (const { segment } of segmenter.segment(characters.map(plain).join(""))) {
    let length = 0;
    const cluster = { text: "", first: characters[next].first, count: 0 };
    while (length < segment.length) {
      const { text, count } = characters[next];
      length += plain(characters[next++]).length;
      cluster.count += count;
      cluster.text += text;
    }
    clusters.push(cluster);
  }
  return clusters;
}

// The text that the page carries, with recorded values.
class RecordedText {
  constructor() {
    this.ids = idsOf(data.text);
    this.likeliest = idsOf(data.predictions.likeliest);
    this.probabilities = bytesOf(data.predictions.probabilities);
    this.surprises = bytesOf(data.predictions.surprise);
    this.recorded = new Map(); // cell name → values
  }

  values(cell) {
    if (!this.recorded.has(cell.name)) {
      const bytes = cell.values ? new Int8Array(bytesOf(cell.values).buffer) : new Int8Array(this.ids.length);
      this.recorded.set(cell.name, bytes);
    }
    return this.recorded.get(cell.name);
  }

  value(cell, position) {
    return (this.values(cell)[position] / 127) * cell.high;
  }

  // Recorded in passages; elsewhere computed, where the page has the network and a state from before.
  gates(cell, position) {
    const passage = cell.passages.find(({ start, stop }) => position >= start && position < stop);
    if (!passage) return data.states ? this.readBlock(position).gates(cell, position % data.states.every) : [];
    passage.decoded ??= Object.entries(passage.gates).map(([gate, shares]) => [gate, bytesOf(shares)]);
    return passage.decoded.map(([gate, shares]) => [gate, shares[position - passage.start] / 255]);
  }

  // The text from the recorded state before a position, read by the network up to the position.
  readBlock(position) {
    const { every } = data.states;
    const start = position - (position % every);
    if (this.block?.start !== start) this.block = { start, live: new LiveText([], this.stateBefore(start)) };
    const { live } = this.block;
    return live.ids.length > position - start ? live : live.read([...this.ids.slice(start, position + 1)]);
  }

  stateBefore(start) {
    if (!start) return null;
    this.states ??= Object.entries(data.states.parts).map(([part, matrix]) => [part, matrixOf(matrix)]);
    const { size } = network;
    const row = (start / data.states.every - 1) * data.layers;
    return Array.from({ length: data.layers }, (_, layer) =>
      Object.fromEntries(this.states.map(([part, values]) => [part, values.slice((row + layer) * size, (row + layer + 1) * size)])),
    );
  }

  successors(position) {
    const { number } = data.predictions;
    const places = Array.from({ length: number }, (_, place) => position * number + place);
    return places.map((place) => [this.likeliest[place], this.probabilities[place] / 255]);
  }

  // Bits of the character after this one; null where it is unknown.
  surprise(position) {
    const steps = this.surprises[position];
    return steps === data.predictions.unknownBits ? null : steps * data.predictions.bitsStep;
  }

  next(position) {
    return this.surprise(position) === null ? null : this.ids[position + 1];
  }

  // Where a list of ids occurs, at most `limit` places.
  occurrences(wanted, limit = 200) {
    const places = [];
    const last = this.ids.length - wanted.length;
    for (let place = 0; wanted.length && place <= last && places.length < limit; place++) {
      if (wanted.every((id, offset) => this.ids[place + offset] === id)) places.push(place);
    }
    return places;
  }
}

// A text that the network reads on this page. It keeps what it has read, and rereads from the first change.
class LiveText {
  // before: the state in which the first character is read; that of a new text if it is null.
  constructor(holds = [], before = null) {
    this.holds = holds;
    this.before = before;
    this.ids = [];
    this.steps = [];
  }

  read(list) {
    let kept = 0;
    while (kept < list.length && kept < this.ids.length && list[kept] === this.ids[kept]) kept++;
    this.ids = this.ids.slice(0, kept);
    this.steps = this.steps.slice(0, kept);
    for (const id of list.slice(kept)) this.add(id);
    return this;
  }

  copy() {
    const copied = new LiveText(this.holds, this.before);
    [copied.ids, copied.steps] = [[...this.ids], [...this.steps]];
    return copied;
  }

  add(id) {
    this.steps.push(network.step(id, this.state(), this.holds));
    this.ids.push(id);
  }

  // The state in which the next character is read.
  state() {
    const last = this.ids.length - 1;
    if (last < 0 && this.before) return this.before;
    const isNew = last < 0 || (network.documents === "lines" && symbolOf(this.ids[last]) === "↵");
    return isNew ? network.start(this.holds) : this.steps[last].state;
  }

  logits() {
    const last = this.steps.at(-1);
    return (last ?? network.step(network.opening, network.initial(this.holds), this.holds)).logits;
  }

  value(cell, position) {
    const part = data.network.parts.includes(data.signal) ? data.signal : "h";
    const value = this.steps[position].state[cell.layer - 1][part][cell.index];
    return data.network.tanhSignals.includes(part) ? Math.tanh(value) : value;
  }

  gates(cell, position) {
    const values = this.steps[position].gates[cell.layer - 1];
    return data.gates.map((gate) => [gate, values[gate][cell.index]]);
  }

  successors(position) {
    return likeliest(this.steps[position].logits, data.predictions.number);
  }

  surprise(position) {
    const next = this.next(position);
    return next === null ? null : -Math.log2(softmax(this.steps[position].logits)[next]);
  }

  next(position) {
    return position + 1 < this.ids.length ? this.ids[position + 1] : null;
  }
}

const recorded = new RecordedText();
