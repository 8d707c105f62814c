// What is shown of one picture. Whatever comes from data is only ever set as text.

const KEYS = [
  ["arrows", "another picture; past the edge, another page"], ["Home, End", "first or last picture of the page"],
  ["Page Up, Page Down", "previous or next page"], ["Enter, space", "the picture in detail"],
  ["Escape", "close the detail"], ["a", "accept: the label is right"], ["r", "reject: do not use the picture"],
  ["c or /", "relabel to a class that is typed"], ["u", "undo the last decision"], ["?", "these keys"],
];
const DECIDED = { accept: "✓ accepted", reject: "✗ rejected" };
const DONE = { accept: "accepted", reject: "rejected", undo: "taken back" };
const FACTS = {
  quality: "how well the label fits what the model says of its class, 0 to 1",
  entropy: "of the probabilities, in nats: 0 where the model is sure",
  margin: "probability of the likeliest class minus that of the second",
  flips: "how often the class changed from round to round",
};

function make(tag, name, text = "", parts = []) {
  const made = Object.assign(document.createElement(tag), { className: name, textContent: text });
  made.append(...parts);
  return made;
}

/** Keep Jupyter from taking keys, where `a` adds a cell; Notebook 7 looks only at the element that has the focus. */
function own(element) {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}

function button(name, text, title, act) {
  const made = Object.assign(make("button", name, text), { type: "button", title });
  made.addEventListener("click", act);
  return own(made);
}

const number = (value) => (value == null ? "–" : value.toFixed(3));

/** The picture that was asked for last: decoding takes a moment, and a later one may overtake. */
class Sheet {
  bitmap = null;
  loading = Promise.resolve(true);

  /** Whether these bytes of a picture are still what is wanted, once they are decoded. */
  load(bytes) {
    if (bytes !== this.bytes) this.loading = this.decode((this.bytes = bytes));
    return this.loading;
  }

  async decode(bytes) {
    const decoding = bytes?.byteLength ? createImageBitmap(new Blob([bytes])) : null;
    const bitmap = await Promise.resolve(decoding).catch(() => null);
    const wanted = bytes === this.bytes;
    (wanted ? this.bitmap : bitmap)?.close();
    if (wanted) this.bitmap = bitmap;
    return wanted;
  }

  paint(canvas, place, side) {
    canvas.width = canvas.height = side; // which also empties it
    if (!this.bitmap) return;
    const columns = Math.max(1, Math.floor(this.bitmap.width / side));
    const [x, y] = [(place % columns) * side, Math.floor(place / columns) * side];
    canvas.getContext("2d").drawImage(this.bitmap, x, y, side, side, 0, 0, side, side);
  }
}

function truthOf(item) {
  const right = item.truth === item.class;
  const mark = make("span", right ? "nsf-right" : "nsf-wrong", right ? "✓" : "✗");
  return [mark, make("span", "nsf-text", right ? "right" : `is ${item.truth}`)];
}

function fillTile(tile, item) {
  const decision = item.decision === "relabel" ? `→ ${item.to}` : DECIDED[item.decision] ?? "";
  const { canvas } = tile;
  const over = [
    item.problem && make("div", "nsf-problem", item.problem), decision && make("span", "nsf-decision", decision),
    item.conflict && make("span", "nsf-conflict", "≠ differ"),
  ];
  const confidence = number(item.confidence).replace(/^0/, ""); // every pixel is the class's
  const label = [make("b", "nsf-text", item.class), make("span", "nsf-number", confidence)];
  const second = item.second == null ? "" : `or ${item.second}`;
  const below = item.truth == null ? [make("span", "nsf-text", second)] : truthOf(item);
  tile.replaceChildren(
    make("div", "nsf-frame", "", [canvas, ...over.filter(Boolean)]), make("div", "nsf-line nsf-label", "", label),
    make("div", "nsf-line", "", below),
  );
  tile.dataset.name = item.name;
  tile.dataset.decision = item.decision;
  const before = Object.entries(item.before ?? {}).map(([who, what]) => `${who}: ${what}`);
  const truth = item.truth == null ? "" : `is ${item.truth}`;
  const said = [item.name, `class ${item.class}`, `confidence ${number(item.confidence)}`, second, truth, ...before];
  said.push(decision, item.who && `by ${item.who}`, item.conflict && "people differ", item.problem);
  tile.title = said.filter(Boolean).join("\n");
  tile.setAttribute("aria-label", said.filter(Boolean).join(", "));
}

function facts(detail, item) {
  const rows = [["class", "", [make("b", "nsf-text", detail.class)]]];
  if (detail.truth != null) rows.push(["truth", "", truthOf(detail)]);
  if (item) rows.push(["confidence", "probability of the class", [number(item.confidence)]]);
  for (const [name, meaning] of Object.entries(FACTS)) {
    const value = detail[name];
    if (value != null) rows.push([name, meaning, [name === "flips" ? String(value) : number(value)]]);
  }
  return rows.flatMap(([name, title, parts]) => [
    Object.assign(make("dt", "", name), { title }), make("dd", "", "", parts),
  ]);
}

function bars(detail) {
  return (detail.rounds ?? []).map(({ name, classes, probabilities }) => {
    const rows = classes.map((label, place) => {
      const bar = make("div", `nsf-bar${label === detail.class ? " nsf-now" : ""}`);
      bar.style.width = `${100 * Math.min(Math.max(probabilities[place] ?? 0, 0), 1)}%`;
      const text = label === detail.truth ? `✓ ${label}` : label;
      const named = Object.assign(make("span", "nsf-text", text), { title: text });
      return make("div", "nsf-row", "", [
        named, make("div", "nsf-track", "", [bar]), make("span", "nsf-number", number(probabilities[place])),
      ]);
    });
    return make("div", "nsf-round", "", [make("b", "", name), ...rows]);
  });
}

function picturesOf(sheet, count) {
  return Array.from({ length: sheet.bitmap ? count : 0 }, (_, place) => {
    const canvas = document.createElement("canvas");
    sheet.paint(canvas, place, sheet.bitmap.height);
    return canvas;
  });
}

function historyOf(detail) {
  return (detail.history ?? []).map(({ action, to, who, ts, round, why }) => {
    const what = action === "relabel" ? `relabeled to ${to}` : DONE[action] ?? action;
    const when = String(ts ?? "").slice(0, 16).replace("T", " ");
    const parts = [who ? `${what} by ${who}` : what, when, round == null ? "" : `round ${round}`, why];
    return make("li", "", parts.filter(Boolean).join(", "));
  });
}

// The class that a digit means: the one of this name, else the one in this place.
function ofDigit(classes, digit) {
  return classes.includes(digit) ? digit : classes[digit];
}

function linesOfHelp(classes) {
  const digits = [..."0123456789"].filter((digit) => ofDigit(classes, digit) !== undefined);
  const numbered = digits.map((digit) => [digit, `→ ${ofDigit(classes, digit)}`]);
  const lines = [...KEYS, ...(classes.length > 10 ? [["0 to 9", "start typing a class"]] : numbered)];
  return lines.map(([key, what]) => make("div", "", "", [make("b", "", key), make("span", "", what)]));
}
