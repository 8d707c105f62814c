// A page of pictures, one of them in detail, and keys to decide with; `picture.js` comes before it.

function render({ model, el }) {
  const [tiles, sheet, views, large] = [[], new Sheet(), new Sheet(), new Sheet()];
  let [shown, asked, landing, waiting, following] = ["", null, null, 0, 0];
  const items = () => model.get("items");
  const selected = () => Math.max(0, Math.min(model.get("selected"), items().length - 1));
  const focused = () => el.getRootNode().activeElement;
  const set = (name, value) => (model.set(name, value), model.save_changes());
  const say = (text) => set("message", text);
  const send = (action, value = "") => {
    const index = selected();
    model.send({ kind: "action", action, index, value, name: items()[index]?.name });
  };

  // The parts of the page; they stay, what is in them changes.
  const turners = {
    first: button("nsf-first", "«", "first page", () => turn("first")),
    previous: button("nsf-previous", "‹", "previous page (Page Up)", () => turn("previous")),
    next: button("nsf-next", "›", "next page (Page Down)", () => turn("next")),
    last: button("nsf-last", "»", "last page", () => turn("last")),
  };
  const [page, total] = [make("span", "nsf-page"), make("span", "nsf-total")];
  const message = make("span", "nsf-message");
  message.setAttribute("role", "status");
  const helper = button("nsf-helper", "?", "keys (?)", () => toggleHelp());
  const turning = [turners.first, turners.previous, page, turners.next, turners.last];
  const toolbar = make("div", "nsf-toolbar", "", [...turning, total, message, helper]);
  const help = Object.assign(make("div", "nsf-help"), { hidden: true });
  const row = make("div", "nsf-tiles");
  const nothing = make("div", "nsf-nothing", "no picture is selected");
  const cells = make("div", "nsf-cells", "", [row, nothing]);
  row.setAttribute("role", "row");
  cells.setAttribute("role", "grid");
  cells.setAttribute("aria-label", "pictures");
  const field = Object.assign(own(make("input", "nsf-class-field")), { placeholder: "class", autocomplete: "off" });
  const list = Object.assign(make("datalist", ""), { id: `nsf-classes-${Math.random().toString(36).slice(2)}` });
  const hint = make("div", "nsf-hint");
  field.setAttribute("list", list.id);
  field.setAttribute("aria-label", "class to relabel to");
  const enter = button("nsf-enter", "relabel", "relabel (Enter)", () => relabelTyped());
  const typing = Object.assign(make("div", "nsf-typing", "", [field, enter, list, hint]), { hidden: true });
  const [name, canvas] = [make("b", "nsf-name"), make("canvas", "nsf-picture")];
  const closer = button("nsf-close", "×", "close (Escape)", () => close());
  const deciding = make("div", "nsf-buttons", "", [
    button("nsf-accept", "✓ accept", "the label is right (a)", () => decide("accept")),
    button("nsf-reject", "✗ reject", "do not use the picture (r)", () => decide("reject")),
    button("nsf-relabel", "→ relabel", "to another class (c)", () => openField()),
    button("nsf-undo", "↶ undo", "take back the last decision (u)", () => send("undo")),
  ]);
  const [table, chart] = [make("dl", "nsf-facts"), make("div", "nsf-detail-bars")];
  const [seen, decisions] = [make("div", "nsf-views"), make("ul", "nsf-history")];
  const caption = make("figcaption", "", "as the student sees it: noised anew each time");
  const noised = make("figure", "nsf-noised", "", [caption, seen]);
  const head = [make("div", "nsf-head", "", [name, closer]), make("div", "nsf-side", "", [canvas, deciding])];
  const pane = make("section", "nsf-detail", "", [...head, table, chart, noised, decisions]);
  pane.hidden = true;
  const main = make("div", "nsf-main", "", [cells, pane, typing]);
  el.classList.add("nsf-grid");
  el.tabIndex = -1; // the selected tile is the one stop of the Tab key
  own(el).append(toolbar, help, main);

  function select(index) {
    if (!tiles[index] || waiting) return;
    set("selected", index);
    mark();
    follow();
  }

  /** The detail follows the selection, once that rests. */
  function follow() {
    const item = items()[selected()];
    clearTimeout(following);
    if (!pane.hidden && item && item.name !== asked) following = setTimeout(open, 120);
  }

  function open() {
    asked = items()[selected()]?.name;
    if (asked != null) send("open");
  }

  function close() {
    clearTimeout(following);
    if (pane.hidden && asked == null) return toggleHelp(false);
    if (pane.contains(focused())) el.focus();
    pane.hidden = true;
    asked = null;
    send("close");
  }

  /** Ask for another page; `land` gives the tile to select there from how many there are. */
  function turn(where, land = () => 0) {
    const [now, end] = [model.get("page"), model.get("pages") - 1];
    if (waiting || (where === "next" || where === "last" ? now >= end : now <= 0)) return;
    landing = land;
    waiting = setTimeout(arrived, 3000);
    el.classList.add("nsf-waiting");
    send(where);
  }

  function arrived() {
    clearTimeout(waiting);
    [waiting, landing] = [0, null];
    el.classList.remove("nsf-waiting");
  }

  function step(by) {
    const [now, count, across] = [selected(), tiles.length, Math.abs(by)];
    const [to, column] = [now + by, now % across];
    if (to >= 0 && to < count) return select(to);
    if (across === 1) return by > 0 ? turn("next") : turn("previous", (there) => there - 1);
    if (by < 0) return turn("previous", (there) => there - 1 - ((there - 1 - column + across) % across));
    return now - column + across < count ? select(count - 1) : turn("next", stay(column));
  }

  const stay = (place) => (there) => Math.min(place, there - 1);
  const columns = () => Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);

  function decide(action, value = "") {
    if (!items().length || waiting) return;
    send(action, value);
    if (selected() + 1 < items().length) select(selected() + 1);
  }

  function relabelTo(digit) {
    const classes = model.get("classes");
    if (classes.length > 10) return openField(digit);
    const to = ofDigit(classes, digit);
    if (to !== undefined) decide("relabel", to);
    else say(`no class has the number ${digit}`);
  }

  function openField(text = "") {
    const tile = tiles[selected()];
    if (!tile || waiting) return;
    if (!list.childElementCount) list.append(...model.get("classes").map((value) => new Option(value, value)));
    typing.hidden = false;
    hint.textContent = "Enter relabels, Escape leaves";
    const left = Math.max(0, Math.min(tile.offsetLeft, main.clientWidth - typing.offsetWidth));
    const top = tile.offsetTop + tile.offsetHeight - typing.offsetHeight;
    Object.assign(typing.style, { top: `${top}px`, left: `${left}px` });
    field.value = text;
    field.focus();
  }

  function closeField() {
    typing.hidden = true;
    tiles[selected()]?.focus({ preventScroll: true });
  }

  function relabelTyped() {
    const [typed, classes] = [field.value.trim(), model.get("classes")];
    const near = classes.filter((value) => typed && value.toLowerCase().startsWith(typed.toLowerCase()));
    if (!classes.includes(typed) && near.length !== 1) {
      say(near.length ? `${near.length} classes start with ${typed}` : `no class ${typed}`);
      hint.textContent = model.get("message");
      return;
    }
    closeField();
    decide("relabel", classes.includes(typed) ? typed : near[0]);
  }

  function toggleHelp(wanted = help.hidden) {
    help.replaceChildren(...linesOfHelp(model.get("classes")));
    help.hidden = !wanted;
    helper.setAttribute("aria-expanded", wanted);
  }

  function mark() {
    const [now, inside] = [selected(), focused() === el || cells.contains(focused())];
    tiles.forEach((tile, place) => {
      tile.classList.toggle("nsf-selected", place === now);
      tile.setAttribute("aria-selected", place === now);
      tile.tabIndex = place === now ? 0 : -1;
    });
    pane.classList.toggle("nsf-stale", model.get("detail").name !== items()[now]?.name);
    if (!inside || !tiles[now] || tiles[now] === focused()) return;
    tiles[now].focus({ preventScroll: true });
    tiles[now].scrollIntoView({ block: "nearest" });
  }

  function newTile() {
    const tile = own(make("div", "nsf-tile"));
    tile.canvas = document.createElement("canvas");
    tile.setAttribute("role", "gridcell");
    tile.dataset.index = tiles.length;
    tile.addEventListener("click", () => {
      if (waiting) return;
      select(Number(tile.dataset.index));
      tile.focus({ preventScroll: true });
      open();
    });
    return tile;
  }

  async function showPage() {
    if (!(await sheet.load(model.get("sprite")))) return;
    const [now, names] = [items(), items().map((item) => item.name).join("\n")];
    const [at, pages, count] = [model.get("page"), model.get("pages"), model.get("total")];
    if (tiles.slice(now.length).includes(focused())) el.focus();
    for (const tile of tiles.splice(now.length)) tile.remove();
    while (tiles.length < now.length) row.append(tiles[tiles.push(newTile()) - 1]);
    now.forEach((item, place) => {
      fillTile(tiles[place], item);
      sheet.paint(tiles[place].canvas, place, model.get("tile"));
    });
    row.style.setProperty("--columns", model.get("columns"));
    row.style.setProperty("--tile", `${model.get("tile")}px`);
    nothing.hidden = now.length > 0;
    page.textContent = `page ${at + 1} of ${pages}`;
    total.textContent = `${count.toLocaleString("en-US")} picture${count === 1 ? "" : "s"}`;
    for (const [where, turner] of Object.entries(turners)) {
      const end = where === "next" || where === "last" ? at >= pages - 1 : at <= 0;
      turner.setAttribute("aria-disabled", end); // a disabled button would lose the focus
    }
    if (names !== shown) {
      const place = landing?.(now.length);
      shown = names;
      arrived();
      if (place >= 0) set("selected", place);
      follow();
    }
    mark();
  }

  async function showDetail() {
    const detail = model.get("detail");
    if (detail.name == null) {
      pane.hidden = true;
      asked = null;
      return;
    }
    const loaded = [views.load(model.get("views")), large.load(model.get("picture")), sheet.load(model.get("sprite"))];
    if (!(await Promise.all(loaded)).every(Boolean) || model.get("detail") !== detail) return;
    const place = items().findIndex((item) => item.name === detail.name);
    if (large.bitmap) large.paint(canvas, 0, large.bitmap.height);
    else if (place >= 0) sheet.paint(canvas, place, model.get("tile"));
    name.textContent = detail.name;
    pane.setAttribute("aria-label", `detail of ${detail.name}`);
    table.replaceChildren(...facts(detail, items()[place]));
    chart.replaceChildren(...bars(detail));
    seen.replaceChildren(...picturesOf(views, model.get("views_count")));
    noised.hidden = !seen.childElementCount;
    decisions.replaceChildren(...historyOf(detail));
    const opened = pane.hidden;
    pane.hidden = false;
    mark();
    if (opened && pane.offsetTop > cells.offsetTop) pane.scrollIntoView({ block: "nearest" });
  }

  const keys = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(columns()),
    ArrowUp: () => step(-columns()), Home: () => select(0), End: () => select(tiles.length - 1),
    PageUp: () => turn("previous", stay(selected())), PageDown: () => turn("next", stay(selected())),
    Enter: open, " ": open, Escape: close, a: () => decide("accept"), r: () => decide("reject"),
    u: () => send("undo"), c: () => openField(), "/": () => openField(), "?": () => toggleHelp(),
  };
  for (const digit of "0123456789") keys[digit] = () => relabelTo(digit);
  const typingKeys = { Enter: relabelTyped, Escape: closeField };
  el.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.shiftKey && event.key.length > 1) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.target.closest("button") && (key === "Enter" || key === " ")) return;
    const act = (event.target === field ? typingKeys : keys)[key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat || /^(Arrow|Page)/.test(key)) act(); // a key that is held must not decide on a whole page
  });
  el.addEventListener("focus", () => tiles[selected()]?.focus({ preventScroll: true }));
  typing.addEventListener("focusout", (event) => {
    if (document.hasFocus() && !typing.contains(event.relatedTarget)) typing.hidden = true;
  });

  const heard = {
    "sprite tile columns items page pages total": showPage, "detail picture views views_count": showDetail,
    "selected": () => landing || mark(), "message": () => (message.textContent = model.get("message")),
    "classes": () => (list.replaceChildren(), toggleHelp(!help.hidden)),
  };
  const listeners = [];
  for (const [names, show] of Object.entries(heard)) {
    let due = false;
    const once = () => {
      if (due) return;
      due = true;
      queueMicrotask(() => ((due = false), show())); // several values that come together are shown once
    };
    for (const each of names.split(" ")) listeners.push([`change:${each}`, once]);
    show();
  }
  for (const [event, show] of listeners) model.on(event, show);
  // Notebook 7 takes the keys of the sliders and lists around the grid, too, unless the focused element says no.
  const keepKeys = ({ target }) => target.closest?.(".nsf-explorer") && own(target);
  document.addEventListener("focusin", keepKeys);
  return () => {
    document.removeEventListener("focusin", keepKeys);
    for (const [event, show] of listeners) model.off(event, show);
    for (const each of [sheet, views, large]) each.load(null);
    clearTimeout(following);
    clearTimeout(waiting);
  };
}

export default { render };
