// The network inside: a person types, cells light up; a cell is held, and the text that follows changes.

const LONGEST_TYPED = 2000; // ids
const CONTINUATION = 320; // ids
const STEPS_AT_ONCE = 40; // milliseconds of generating between two pictures
const NEXT_SHOWN = 8;
const CHANGED_SHOWN = 6;

const live = {
  typed: null,
  continuations: [], // as the network is, and with the cell held
  seed: 1,
  temperature: 0.6,
  held: null, // the value at which the cell is held
  task: 0, // number of the latest change
  started: 0, // the change that the continuations follow

  start() {
    if (!network) return;
    this.typed = new LiveText();
    find("typed").value = openingText();
    find("typed").addEventListener("input", () => this.read());
    find("typed").addEventListener("keyup", () => this.showCaret());
    find("typed").addEventListener("click", () => this.showCaret());
    find("temperature").addEventListener("input", (event) => {
      this.temperature = Number(event.target.value);
      find("temperature-words").textContent = this.temperature.toFixed(2);
      this.continue();
    });
    find("again").addEventListener("click", () => {
      this.seed++;
      this.continue();
    });
    find("hold").addEventListener("input", (event) => this.hold(Number(event.target.value)));
    find("hold-on").addEventListener("change", (event) => this.hold(event.target.checked ? Number(find("hold").value) : null));
    find("next").addEventListener("click", (event) => {
      const id = event.target.closest("[data-id]")?.dataset.id;
      if (id !== undefined) this.append(Number(id));
    });
    find("grid").addEventListener("click", (event) => {
      const name = event.target.closest("[data-cell]")?.dataset.cell;
      if (name) location.hash = name;
    });
    find("grid").addEventListener("pointerover", (event) => this.nameSquare(event.target.dataset?.cell));
    find("grid").addEventListener("pointerleave", () => this.nameSquare(null));
    this.makeGrid();
    this.nameSquare(null);
  },

  // Shows another cell.
  select(cell) {
    if (!network) return;
    const { signal, low, high, inside, outside } = cell.hold;
    const slider = find("hold");
    [slider.min, slider.max, slider.step] = [low, high, (high - low) / 200];
    const start = inside === null ? high : inside;
    slider.value = start;
    find("hold-on").checked = false;
    find("hold-words").textContent = `hold ${signal} of ${cell.name}`;
    find("hold-marks").replaceChildren(...marks({ low, high, inside, outside }));
    this.held = null;
    this.read();
  },

  hold(value) {
    this.held = value;
    find("hold-on").checked = value !== null;
    this.continue();
  },

  holds() {
    if (this.held === null) return [];
    const { layer, index, hold } = explorer.cell;
    return [{ layer, cell: index, part: hold.signal, value: this.held }];
  },

  // Reads what is typed and shows it.
  read() {
    const text = find("typed").value;
    this.typed.read(knownIds(text).slice(0, LONGEST_TYPED));
    this.color(text);
    find("typed-note").textContent = typedNote(text);
    this.showCaret();
    this.continue();
  },

  // The text behind the editor, with the color of each character. Unknown characters are not read.
  color(text) {
    const mirror = find("mirror");
    const cell = explorer.cell;
    let read = 0;
    const spans = [];
    for (const { segment } of segmenter.segment(text)) {
      const known = knownIds(segment).length;
      const span = element("span", {}, segment);
      read += known;
      if (!known || read > this.typed.ids.length) span.className = "unread";
      else {
        span.className = shade(this.typed.value(cell, read - 1), cell.high);
        span.place = { source: this.typed, position: read - 1, text: segment };
      }
      spans.push(span);
    }
    mirror.replaceChildren(...spans, "\u200b");
    mirror.cell = cell;
  },

  // The state at the caret: what comes next, all cells, and those that have just changed.
  showCaret() {
    const before = find("typed").value.slice(0, find("typed").selectionStart);
    const position = Math.min(knownIds(before).length, this.typed.ids.length) - 1;
    this.showNext(position);
    this.showCells(position);
  },

  showNext(position) {
    const logits = position < 0 ? new LiveText().logits() : this.typed.steps[position].logits;
    find("next").replaceChildren(...likeliest(logits, NEXT_SHOWN).map(([id, share]) =>
      element("button", { type: "button", "data-id": id, title: `type ${symbolOf(id)}` }, bar(symbolOf(id), share, percent(share)))));
  },

  makeGrid() {
    const layers = Array.from({ length: data.layers }, (_, layer) => element("div", { class: "layer" },
      Array.from({ length: data.cellsOfLayer }, (_, index) => {
        const name = `${layer + 1}:${index}`;
        const known = cellsByName.get(name);
        return element("i", { "data-cell": name, "data-group": known && known.group !== "other" ? known.group : null });
      })));
    find("grid").replaceChildren(...layers);
    this.squares = Array.from(find("grid").querySelectorAll("i"));
  },

  showCells(position) {
    const changes = [];
    for (const square of this.squares) {
      const cell = cellOf(square.dataset.cell);
      const value = position < 0 ? 0 : this.typed.value(cell, position);
      const before = position < 1 ? 0 : this.typed.value(cell, position - 1);
      square.className = shade(value, cell.high);
      if (cell.name === explorer.cell.name) square.classList.add("selected");
      changes.push({ cell, value, change: value - before });
    }
    changes.sort((one, other) => Math.abs(other.change) / other.cell.high - Math.abs(one.change) / one.cell.high);
    const shown = position < 0 ? [] : changes.slice(0, CHANGED_SHOWN);
    find("changed").replaceChildren(...shown.map(({ cell, value, change }) => element("a", { href: `#${cell.name}` },
      element("span", { class: "name" }, cell.name), element("span", { class: `value ${shade(value, cell.high)}` }, signed(value)),
      element("span", { class: "title", dir: "auto" }, `${change > 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(2)} ${cell.title}`))));
  },

  nameSquare(name) {
    const cell = name ? cellOf(name) : null;
    find("square").textContent = cell ? `${cell.name} ${cell.sentence}` : "after the character at the caret; round cells have a name, correlate with a property or carry memory; click one to see it";
  },

  append(id) {
    const editor = find("typed");
    const text = data.bytes ? new TextDecoder().decode(Uint8Array.of(id)) : data.symbols[id];
    editor.setRangeText(text, editor.selectionStart, editor.selectionEnd, "end");
    this.read();
    editor.focus();
  },

  // Continues what is typed, once as the network is and once with the cell held, with the same random numbers.
  continue() {
    const task = ++this.task;
    find("held-pane").hidden = this.held === null;
    find("hold-value").textContent = this.held === null ? "not held" : signed(this.held);
    document.body.classList.toggle("holding", this.held !== null);
    requestAnimationFrame(() => {
      if (task !== this.task) return; // a later change follows
      this.started = task;
      this.continuations = [this.typed.copy(), ...(this.held === null ? [] : [new LiveText(this.holds()).read(this.typed.ids)])]
        .map((text) => ({ text, first: text.ids.length }));
      this.write(task);
    });
  },

  write(task) {
    if (task !== this.task) return;
    const until = performance.now() + STEPS_AT_ONCE;
    while (performance.now() < until && !this.isComplete()) this.writeOne();
    this.showContinuations();
    if (!this.isComplete()) requestAnimationFrame(() => this.write(task));
  },

  isComplete() {
    return this.started === this.task && this.continuations.every(({ text, first }) => text.ids.length >= first + CONTINUATION);
  },

  writeOne() {
    for (const { text, first } of this.continuations) {
      const place = text.ids.length - first;
      if (place < CONTINUATION) text.add(draw(text.logits(), this.temperature, this.seed, place));
    }
  },

  showContinuations() {
    const [free, held] = this.continuations;
    showColored(find("free"), free.text, free.first, free.text.ids.length, explorer.cell, { lines: true });
    if (!held) return;
    const same = sameStart(free.text.ids, held.text.ids) - free.first;
    const isSame = (position) => position - held.first < same;
    showColored(find("held"), held.text, held.first, held.text.ids.length, explorer.cell, { lines: true, marked: isSame, as: "same" });
    const difference = same >= CONTINUATION ? "the same text" : `differs from character ${same + 1} on`;
    find("difference").textContent = this.isComplete() ? difference : "";
  },
};

function sameStart(one, other) {
  let place = 0;
  while (place < one.length && one[place] === other[place]) place++;
  return place;
}

function typedNote(text) {
  const unknown = new Set(Array.from(text).filter((character) => !data.bytes && !ids.has(character)));
  if (unknown.size) return `not in the vocabulary, and skipped: ${Array.from(unknown).slice(0, 8).map(visible).join(" ")}`;
  return knownIds(text).length > LONGEST_TYPED ? `only the first ${LONGEST_TYPED.toLocaleString("en")} are read` : "";
}

// Marks below the slider: the cell's means outside and inside its property.
function marks({ low, high, inside, outside }) {
  const known = inside === null || outside === null ? [[low, "lowest"], [high, "highest"]] : [[outside, "outside"], [inside, "inside"]];
  const sorted = known.map(([value, words]) => [clip((value - low) / (high - low), 0, 1), words]).sort(([one], [other]) => one - other);
  const near = sorted[1][0] - sorted[0][0] < 0.15;
  return sorted.map(([share, words], place) => {
    const mark = element("span", {}, words);
    mark.style.left = `${100 * share}%`;
    const isLeft = share > 0.9 || (near && !place && share > 0.1);
    mark.style.transform = `translateX(${isLeft ? -100 : share < 0.1 || near ? 0 : -50}%)`;
    return mark;
  });
}

// A passage of the text in which the first cell changes, to start with.
function openingText() {
  const cell = data.cells[0];
  const passage = cell?.passages.find(({ kind }) => kind === "highest") ?? { start: 0, stop: 160 };
  const characters = charactersOf(recorded.ids.slice(passage.start, passage.stop)).filter(({ escaped }) => !escaped);
  const text = characters.map((one) => one.text).join("");
  const line = text.indexOf(NEWLINE);
  return line >= 0 && line < text.length / 3 ? text.slice(line + 1) : text;
}
