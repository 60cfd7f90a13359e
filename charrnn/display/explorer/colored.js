// Text colored by a cell, and the card that describes the character under the pointer or the keyboard's cursor.

// How a character looks. `lines`: newlines break lines, as in the text; else they show as a sign.
function glyphText(text, lines) {
  if (text === NEWLINE || text === "\r\n") return lines ? NEWLINE : "↵";
  if (text === "\t") return "\t";
  return visibleText(text);
}

// Fills an element with the text of a source from start to stop, colored by a cell. Each span knows its source and its
// last position. as: the class of the marked ones.
function showColored(holder, source, start, stop, cell, { lines = false, marked = () => false, as = "marked" } = {}) {
  holder.replaceChildren(...clustersOf(source.ids.slice(start, stop)).map(({ text, first, count }) => {
    const position = start + first + count - 1;
    const span = element("span", { class: shade(source.value(cell, position), cell.high) }, glyphText(text, lines));
    if (text.includes(NEWLINE)) span.classList.add("newline");
    else if (text === "\t") span.classList.add("tab");
    else if (text.length === 1 && isUnsafe(text.codePointAt(0))) span.classList.add("escaped");
    if (marked(position)) span.classList.add(as);
    span.place = { source, position, text };
    return span;
  }));
  holder.cell = cell;
}

// A focusable holder of colored text.
const coloredText = (tag, label) => element(tag, { class: "colored", dir: "auto", tabindex: 0, "aria-label": label });

const card = {
  holder: null,
  span: null,
  movedAt: -Infinity, // by the keyboard, which may scroll

  show(span) {
    const holder = span.closest(".colored");
    if (!holder?.cell || !span.place) return;
    this.hide();
    [this.holder, this.span] = [holder, span];
    span.classList.add("pointed");
    find("card").replaceChildren(...cardLines(span.place, holder.cell));
    find("card").hidden = false;
    this.put(span.getBoundingClientRect());
  },

  hide() {
    this.span?.classList.remove("pointed");
    [this.holder, this.span] = [null, null];
    find("card").hidden = true;
  },

  // Below the character, or above it at the bottom of the window; always inside the window.
  put(box) {
    const { offsetWidth: width, offsetHeight: height } = find("card");
    const below = box.bottom + 8 + height <= innerHeight || box.top < height + 8;
    find("card").style.left = `${clip(box.left - 16, 8, Math.max(8, innerWidth - width - 8))}px`;
    find("card").style.top = `${below ? box.bottom + 8 : box.top - height - 8}px`;
  },

  // Moves from character to character with the keyboard.
  move(holder, steps) {
    const spans = Array.from(holder.querySelectorAll("span")).filter((span) => span.place);
    if (!spans.length) return;
    const place = this.holder === holder ? spans.indexOf(this.span) : steps > 0 ? -1 : spans.length;
    const span = spans[clip(place + steps, 0, spans.length - 1)];
    this.movedAt = performance.now();
    span.scrollIntoView({ block: "nearest" });
    this.show(span);
  },
};

function cardLines({ source, position, text }, cell) {
  const value = source.value(cell, position);
  const names = { "\n": "newline", " ": "space", "\t": "tab" };
  const surprise = source.surprise(position);
  const next = source.next(position);
  const gates = source.gates(cell, position);
  return [
    element("div", { class: "card-head" },
      element("b", { class: "sign" }, names[text] ?? visibleText(text)),
      element("span", {}, `${data.signalName} of ${cell.name}`),
      element("b", { class: `value ${shade(value, cell.high)}` }, signed(value)),
    ),
    gates.length ? element("div", { class: "bars gates" }, gates.map(([gate, share]) => bar(gate, share, share.toFixed(2)))) : null,
    element("p", { class: "card-note" }, "next character"),
    element("div", { class: "bars next" }, source.successors(position).map(([id, share]) =>
      bar(symbolOf(id), share, percent(share), id === next ? "true" : ""),
    )),
    element("p", { class: "card-note" }, surprise === null || next === null ? "" :
      `then comes ‘${symbolOf(next)}’: ${surprise.toFixed(1)} bits of surprise`),
  ].filter(Boolean);
}

// A labeled bar for a share from 0 to 1.
function bar(label, share, words, kind = "") {
  return [element("span", { class: `bar-label ${kind}` }, label), filledBar(share, kind), element("span", { class: "bar-words" }, words)];
}

function filledBar(share, kind = "") {
  const fill = element("i");
  fill.style.width = `${100 * clip(share, 0, 1)}%`;
  return element("span", { class: `bar ${kind}` }, fill);
}

function listenToTexts() {
  document.addEventListener("pointerover", (event) => {
    const span = event.target.closest?.(".colored span");
    if (span?.place) card.show(span);
    else if (event.target !== find("typed")) card.hide();
  });
  find("typed").addEventListener("pointermove", ({ clientX, clientY }) => {
    const span = document.elementsFromPoint(clientX, clientY).find(({ place }) => place); // behind the editor
    if (span) card.show(span);
    else card.hide();
  });
  document.addEventListener("scroll", () => performance.now() > card.movedAt + 200 && card.hide(), { passive: true });
  document.addEventListener("keydown", (event) => {
    const holder = event.target.closest?.(".colored");
    const steps = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!holder || !steps || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    card.move(holder, steps);
  }, { capture: true });
  document.addEventListener("focusout", () => card.hide());
}
