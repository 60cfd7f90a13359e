// What is known of one cell: the sentence, its passages, its scores.

const PASSAGE_KINDS = {
  highest: "highest", "95 %": "95 % quantile", "50 %": "median", "5 %": "5 % quantile", lowest: "lowest", random: "at random",
};

function headline(cell) {
  const score = cell.interval ? [element("b", {}, `${cell.measure} ${cell.interval}`), " within the same character"] : null;
  const stability = cell.stability === undefined ? null : `the name holds in ${percent(cell.stability)} of resamples`;
  const carried = cell.gradient.filter(([, share]) => share >= 0.02).at(-1);
  const facts = [
    score,
    stability,
    carried ? `carries ${percent(carried[1])} of the gradient over ${carried[0]} characters` : null,
    cell.nearest ? `nearest property: ${cell.nearest}, ${cell.fit}` : null,
    cell.group === "correlates" && cell.failed.length ? `no name, because ${cell.failed.join("; ")}` : null,
  ].filter(Boolean);
  return [
    element("h2", {}, stars(cell), element("span", { class: "name" }, `Cell ${cell.name}`), " ", cell.sentence),
    element("ul", { class: "facts" }, facts.map((fact) => element("li", {}, fact))),
  ];
}

function passages(cell) {
  if (!cell.passages.length) return [element("p", { class: "note" }, "This page holds no passages of this cell. Type below to see it.")];
  const rows = [];
  let last = null;
  for (const { kind, position, start, stop } of cell.passages) {
    const line = coloredText("p", `passage, ${PASSAGE_KINDS[kind]}`);
    showColored(line, recorded, start, stop, cell, { marked: (place) => place === position });
    rows.push(element("div", { class: "passage" },
      element("div", { class: "kind" }, kind === last ? "" : PASSAGE_KINDS[kind] ?? kind, element("b", {}, signed(recorded.value(cell, position)))),
      line,
    ));
    last = kind;
  }
  return rows;
}

// Where the text of a search occurs.
function foundPassages(cell, { places, length }) {
  return places.slice(0, 4).map((place) => {
    const line = coloredText("p", "passage with the text searched for");
    const marked = (position) => position >= place && position < place + length;
    showColored(line, recorded, Math.max(0, place - 60), Math.min(recorded.ids.length, place + length + 60), cell, { marked });
    return element("div", { class: "passage" }, element("div", { class: "kind" }, `at ${place.toLocaleString("en")}`), line);
  });
}

// A histogram for each class, on one axis; each relative to its largest bin.
function histogram(cell) {
  const [width, height, gap] = [320, 44, 22];
  const bins = cell.histogram[0].counts.length;
  const middle = (bin) => cell.low + ((bin + 0.5) / bins) * (cell.high - cell.low);
  return cell.histogram.map(({ name, share, mean, counts }) => {
    const most = Math.max(...counts, 1);
    const bars = counts.map((count, bin) => count ? drawing("rect", {
      x: (bin * width) / bins + 0.5, width: width / bins - 1, y: height - Math.max(1.5, (height * count) / most),
      height: Math.max(1.5, (height * count) / most), class: `fill-${shade(middle(bin), cell.high) || "n0"}`,
    }) : null);
    const zero = ((0 - cell.low) / (cell.high - cell.low)) * width;
    return element("figure", { class: "histogram" },
      element("figcaption", {}, element("b", { dir: "auto" }, name), ` ${percent(share)} of the text`, mean === null ? "" : `, mean ${signed(mean)}`),
      drawing("svg", { viewBox: `0 0 ${width} ${height + gap}`, role: "img", "aria-label": `histogram of ${name}` },
        bars,
        drawing("line", { x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5, class: "axis" }),
        [[0, cell.low, "start"], [zero, 0, "middle"], [width, cell.high, "end"]]
          .filter(([, value], place) => place !== 1 || cell.low < 0)
          .map(([x, value, anchor]) => drawing("text", { x, y: height + 15, "text-anchor": anchor }, value ? signed(value, value % 1 ? 1 : 0) : "0")),
      ),
    );
  });
}

function pushes(cell) {
  if (!cell.effects.length) {
    return [element("p", { class: "note" }, cell.layer < data.layers ? `Layer ${cell.layer} acts on the output through the layers above.` : "Not measured on this page.")];
  }
  const most = Math.max(...cell.effects.flatMap(({ raised, lowered }) => [...raised, ...lowered].map(([, logit]) => Math.abs(logit))), 1e-9);
  const column = (words, side) => element("div", {},
    element("p", { class: "card-note" }, words),
    element("div", { class: "bars" }, side.map(([id, logit]) => bar(symbolOf(id), Math.abs(logit) / most, signed(logit), logit < 0 ? "down" : "up"))),
  );
  return cell.effects.map(({ state, value, raised, lowered }) => element("div", { class: "pushes" },
    element("h4", {}, `when it is ${state} (mean ${signed(value)})`),
    column("raises", raised), column("lowers", lowered),
  ));
}

function correlated(cell) {
  return element("ul", { class: "correlated" }, cell.correlated.map(([name, value]) => element("li", {},
    element("a", { href: `#${name}` }, name),
    element("span", { class: `value ${shade(value, 1)}` }, signed(value)),
    element("span", { dir: "auto" }, cellsByName.get(name)?.title ?? ""),
  )));
}

function memory(cell) {
  const rows = cell.gradient.map(([lag, share]) => [`gradient over ${lag} characters`, percent(share)]);
  if (!rows.length && cell.passages.length) rows.push(["share of the gradient", "below 2 %"]);
  if (cell.memory !== null) rows.push(["median time constant", `${Math.round(cell.memory).toLocaleString("en")} characters`]);
  for (const [gate, shut, open] of cell.saturation) rows.push([`${gate} gate`, `shut ${percent(shut)}, wide open ${percent(open)}`]);
  return element("dl", { class: "pairs" }, rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function ablation(cell) {
  if (!cell.ablation) return element("p", { class: "note" }, "Not ablated. ", element("code", {}, `charrnn ablate --cell ${cell.name}`), " measures what the network loses without it.");
  const { claim, headers, rows, caveat } = cell.ablation;
  return element("div", { class: "scroll" },
    element("p", {}, claim),
    element("table", {},
      element("thead", {}, element("tr", {}, headers.map((header) => element("th", {}, header)))),
      element("tbody", {}, rows.map((row) => element("tr", {}, row.map((value) => element("td", {}, value))))),
    ),
    element("p", { class: "note" }, caveat),
  );
}

function evidence(cell) {
  if (!cell.evidence.length) return null;
  return element("details", { class: "more" },
    element("summary", {}, "Evidence for the name"),
    element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, cell.evidence.map(([name, value, words]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", { class: "note" }, words)),
    )))),
  );
}

function section(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

// The whole text, a piece at a time as it scrolls into view.
function wholeText(cell) {
  const piece = 1000;
  const holder = element("div", { class: "whole" });
  const details = element("details", { class: "more", id: "whole" }, element("summary", {}, `The whole text, ${recorded.ids.length.toLocaleString("en")} characters`), holder);
  details.addEventListener("toggle", () => {
    if (!details.open || holder.childElementCount) return;
    for (let start = 0; start < recorded.ids.length; ) {
      let stop = Math.min(start + piece, recorded.ids.length);
      while (stop < recorded.ids.length && stop < start + 2 * piece && symbolOf(recorded.ids[stop - 1]) !== "↵") stop++;
      const part = coloredText("pre", `text from character ${start}`);
      showColored(part, recorded, start, stop, cell, { lines: true });
      holder.append(part);
      start = stop;
    }
  });
  return details;
}
