// The ranked list of cells: searched by name, or by a text that changes them.

const GROUPS = {
  named: "Earned a name",
  correlates: "Correlate with a property",
  carries: "Carry memory, no name",
  other: "Other cells",
};

const list = {
  mode: "name",
  shown: data.cells, // in the order of the list
  found: null, // of a search by text: the places where it occurs

  start() {
    find("search").addEventListener("input", () => this.update());
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => this.setMode(button.dataset.mode));
    }
    this.setMode("name");
  },

  setMode(mode) {
    this.mode = mode;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    const words = { name: "Name or property", text: "A piece of text: which cells change here?" };
    find("search").placeholder = words[mode];
    find("search").setAttribute("aria-label", words[mode]);
    this.update();
  },

  update() {
    const query = find("search").value;
    const byText = this.mode === "text" && query;
    this.found = byText ? changesAt(query) : null;
    const words = query.trim().toLowerCase().split(/\s+/);
    const matches = (cell) => words.every((word) => `${cell.name} ${cell.title || cell.nearest} ${cell.sentence}`.toLowerCase().includes(word));
    this.shown = byText ? this.found.cells.map(({ cell }) => cell) : this.mode === "name" ? data.cells.filter(matches) : data.cells;
    find("found").textContent = byText ? this.found.words : this.shown.length ? "" : "no cell of this page matches";
    const rows = byText ? this.found.cells.map((one) => this.row(one.cell, one)) : this.rows();
    find("list").replaceChildren(...rows);
    this.mark();
    if (byText) explorer.showFound();
  },

  // Rows under a heading for each group.
  rows() {
    const rows = [];
    for (const [group, words] of Object.entries(GROUPS)) {
      const cells = this.shown.filter((cell) => cell.group === group);
      if (!cells.length) continue;
      rows.push(element("li", { class: "group" }, words, element("span", {}, String(cells.length))));
      rows.push(...cells.map((cell) => this.row(cell)));
    }
    return rows;
  },

  row(cell, change = null) {
    const share = change ? clip(change.excess / (cell.high - cell.low), 0, 1) : cell.bar;
    const words = change ? signed(change.excess) : cell.score;
    const title = change ? `changes by ${change.swing.toFixed(2)} here, by ${change.usual.toFixed(2)} on average` : null;
    return element("li", { title },
      element("a", { href: `#${cell.name}`, "data-cell": cell.name },
        element("span", { class: "name" }, cell.name),
        element("span", { class: cell.title ? "title" : "title note", dir: "auto" }, stars(cell), cell.title || cell.nearest),
        element("span", { class: "score" }, words),
        change || cell.bar ? filledBar(share) : null,
      ),
    );
  },

  mark() {
    for (const link of find("list").querySelectorAll("a")) {
      const isCurrent = link.dataset.cell === explorer.cell.name;
      if (isCurrent) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const current = find("list").querySelector("[aria-current]");
    const box = find("list");
    if (current && (current.offsetTop < box.scrollTop || current.offsetTop > box.scrollTop + box.clientHeight - 40)) {
      box.scrollTop = current.offsetTop - box.clientHeight / 2;
    }
  },

  // The cell this many places after the current one.
  neighbor(steps) {
    const cells = this.shown.length ? this.shown : data.cells;
    const place = cells.findIndex((cell) => cell.name === explorer.cell.name);
    if (place < 0) return cells[0];
    return cells[(place + steps + cells.length) % cells.length];
  },
};

function stars(cell) {
  if (!cell.stars) return null;
  const words = cell.stars === 2 ? "both effects of holding it are specific" : "one effect of holding it is specific";
  return element("span", { class: "stars", title: `ablation: ${words}` }, "★".repeat(cell.stars) + " ");
}

// By how much each cell changes while it reads a piece of text, and by how much more than in other pieces as long: in the
// recorded text if it occurs there, else read by the network from its initial state. The largest difference comes first.
function changesAt(query) {
  const wanted = knownIds(query);
  const places = recorded.occurrences(wanted);
  const about = { places, length: wanted.length };
  if (places.length) {
    const times = places.length === 1 ? "once" : `${places.length} times`;
    const words = `occurs ${times} in this text; cells that change more in it than elsewhere:`;
    return { ...about, words, cells: ranked((cell) => swings(recorded.values(cell), wanted.length, places, cell.high / 127)) };
  }
  if (!network || !wanted.length) return { ...about, words: "does not occur in this text", cells: [] };
  const read = new LiveText().read(wanted);
  const words = "does not occur in this text; the network reads it now, and these cells change more than elsewhere:";
  return { ...about, words, cells: ranked((cell) => {
    const values = [0, ...wanted.map((_, position) => read.value(cell, position))];
    const usual = usualSwing(recorded.values(cell), wanted.length, cell.high / 127);
    return { swing: Math.max(...values) - Math.min(...values), usual };
  }) };
}

function ranked(measured) {
  const cells = data.cells.map((cell) => ({ cell, ...measured(cell) }));
  for (const one of cells) one.excess = one.swing - one.usual;
  return cells.sort((one, other) => other.excess - one.excess);
}

function swings(values, length, places, unit) {
  const swing = places.reduce((sum, place) => sum + range(values, place, length), 0) / places.length;
  return { swing: swing * unit, usual: usualSwing(values, length, unit) };
}

function usualSwing(values, length, unit) {
  const places = Array.from({ length: 100 }, (_, place) => Math.floor(((place + 0.5) * Math.max(1, values.length - length)) / 100));
  return (places.reduce((sum, place) => sum + range(values, place, length), 0) / places.length) * unit;
}

// The largest minus the smallest value from the character before a place to the end of the piece.
function range(values, place, length) {
  const part = values.subarray(Math.max(0, place - 1), place + length);
  let [low, high] = [part[0], part[0]];
  for (const value of part) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return high - low;
}
