// The page: which cell is shown, its address, keys and colors.

const explorer = {
  cell: data.cells[0],

  start() {
    showFacts();
    list.start();
    live.start();
    listenToTexts();
    listenToKeys();
    addEventListener("hashchange", () => this.follow());
    this.follow();
  },

  // Shows the cell that the address names.
  follow() {
    const name = location.hash.slice(1).replace("%3A", ":");
    const cell = name ? cellOf(name) : data.cells[0];
    if (cell && (network || cellsByName.has(cell.name))) this.select(cell);
    else if (!this.shown) this.select(data.cells[0]);
  },

  select(cell) {
    const changed = this.shown !== cell;
    [this.cell, this.shown] = [cell, cell];
    document.title = `${cell.name} ${cell.title} · ${data.facts.run}`;
    find("headline").replaceChildren(...headline(cell));
    find("passages").replaceChildren(...passages(cell));
    find("details").replaceChildren(...[
      cell.histogram.length ? section("Values", histogram(cell)) : null,
      section("What it adds to the next character", pushes(cell)),
      cell.correlated.length ? section("Correlated cells", correlated(cell)) : null,
      section("Memory and gates", memory(cell)),
      section("Ablation", ablation(cell)),
    ].filter(Boolean));
    find("evidence").replaceChildren(...[evidence(cell), wholeText(cell)].filter(Boolean));
    card.hide();
    this.showFound();
    list.mark();
    if (changed) live.select(cell);
  },

  // Where the text of the search occurs, colored by this cell.
  showFound() {
    const found = list.found?.places.length ? foundPassages(this.cell, list.found) : [];
    find("found-passages").replaceChildren(...found);
    find("found-section").hidden = !found.length;
  },

  step(steps) {
    location.hash = list.neighbor(steps).name;
  },
};

function showFacts() {
  const facts = Object.values(data.facts);
  find("facts").textContent = facts.slice(1).join(" · ");
  find("run").textContent = facts[0];
  find("findings").replaceChildren(...data.findings.map((line) => element("p", { dir: "auto" }, line)));
  find("caveats").replaceChildren(...data.caveats.map((line) => element("p", { dir: "auto" }, line)));
  for (const place of document.querySelectorAll(".network-note")) place.textContent = data.networkNote;
  find("cell-count").textContent = data.cellCount.toLocaleString("en");
  find("live").hidden = !network;
  find("no-network").hidden = Boolean(network);
  for (const place of document.querySelectorAll(".signal-name")) place.textContent = data.signalName;
  if (data.cells.every((cell) => cell.low >= 0)) document.body.classList.add("unsigned");
}

function listenToKeys() {
  const keys = {
    j: () => explorer.step(1), k: () => explorer.step(-1), ArrowRight: () => explorer.step(1), ArrowLeft: () => explorer.step(-1),
    "/": () => find("search").focus(), t: () => live.typed && find("typed").focus(), d: changeTheme,
  };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches?.("input:not([type=range]):not([type=checkbox]), textarea");
    if (event.key === "Escape") {
      card.hide();
      if (isTyping) event.target.blur();
      return;
    }
    const isSlider = event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow");
    if (isTyping || isSlider || event.altKey || event.ctrlKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  find("previous").addEventListener("click", () => explorer.step(-1));
  find("following").addEventListener("click", () => explorer.step(1));
  find("theme").addEventListener("click", changeTheme);
}

// As the system has it, then the other one.
function changeTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}

explorer.start();
globalThis.charrnn = { data, network, recorded, explorer, live, encode, LiveText };
