// The table of all documents: the rows in sight are in the page, and no others.

const ROW = 32; // pixels, as the style sheet has it
const BEYOND_SIGHT = 8; // rows that are drawn above and below what is in sight
const MOST_CHOICES = 500; // of a filter's list

function startDocuments(files) {
  const places = document.querySelectorAll(".all-documents");
  files.forEach((file, number) => new DocumentTable(places[number], new Documents(file), number));
}

class DocumentTable {
  constructor(place, file, number) {
    this.file = file;
    this.prefix = number === 0 ? "" : `${number + 1}.`; // of its names in the address
    this.order = new Uint32Array(file.size); // what is shown, in its order
    this.active = 0; // the place in the order that the keyboard is at
    this.selected = null; // a row of the file; -1 is none
    this.shown = null; // the question that `order` answers
    this.build(place, place.closest("section").id);
    onState(() => this.update());
  }

  get(name) {
    return state.values.get(this.prefix + name) ?? "";
  }

  set(values, options) {
    const prefixed = Object.entries(values).map(([name, value]) => [this.prefix + name, value]);
    setState(Object.fromEntries(prefixed), options);
  }

  // Building

  build(place, id) {
    this.found = make("p", { class: "found", role: "status" });
    this.body = make("tbody");
    this.columns = this.describeColumns();
    const cells = this.columns.map((column) => this.makeHeading(column));
    const widths = this.columns.map((column) => make("col", { style: `width:${column.width}px` }));
    const table = make(
      "table",
      { role: "grid", "aria-label": "Documents", "aria-colcount": this.columns.length },
      make("colgroup", {}, ...widths),
      make("thead", {}, make("tr", { "aria-rowindex": 1 }, ...cells)),
      this.body,
    );
    const least = this.columns.reduce((sum, column) => sum + column.width, 0);
    table.style.minWidth = `${least}px`;
    this.table = table;
    this.scroller = make("div", { class: "rows" }, table);
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    let height = 0;
    new ResizeObserver(() => {
      if (height === 0) this.reveal(this.active, false); // its tab was hidden
      height = this.scroller.clientHeight;
      this.draw();
    }).observe(this.scroller);
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-at]");
      if (row) this.select(Number(row.dataset.at), false);
    });
    this.body.addEventListener("keydown", (event) => this.onKey(event));
    this.body.addEventListener("focusin", (event) => {
      if (event.target.classList.contains("aside") && !this.isDrawing) this.focusRow(this.active);
    });
    this.document = make("div", { class: "document", tabindex: -1, role: "region" });
    this.document.setAttribute("aria-label", "The chosen document");
    this.document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.focusRow(this.active);
    });
    place.replaceChildren(this.makeFilters(id), this.found, this.scroller, this.document);
    this.makeIdentitiesLinks(place, id);
  }

  describeColumns() {
    const { labels, numbers } = this.file;
    // As wide as its longest text, within bounds; about, since letters differ.
    const width = (values, most) => {
      const longest = values.reduce((length, value) => Math.max(length, value.length), 0);
      return Math.min(most, Math.max(72, 26 + 7.2 * longest));
    };
    return [
      {
        name: "id",
        title: "id",
        kind: "id",
        width: width(this.file.ids, innerWidth < 600 ? 160 : 300),
      },
      ...labels.map((label) => ({
        ...label,
        title: label.name,
        kind: "label",
        width: width([`${label.name} ▲`, ...label.values], 190),
      })),
      ...numbers.map((one) => ({ ...one, kind: "number", width: width([`${one.title} ▲`], 190) })),
    ];
  }

  makeHeading(column) {
    const turn = () => {
      const first = column.kind === "number" ? "-" : "";
      const other = first ? "" : "-";
      const now = this.get("sort");
      const next = { [first + column.name]: other + column.name, [other + column.name]: "" };
      this.set({ sort: next[now] ?? first + column.name });
    };
    const side = column.kind === "number" ? "" : "name";
    return make(
      "th",
      { scope: "col", class: side, "data-name": column.name },
      make("button", { type: "button", onclick: turn }, column.title),
    );
  }

  makeFilters(id) {
    const field = (title, input, css = "") => {
      input.id = `${id}-${input.dataset.name}`;
      const label = make("label", { for: input.id }, title);
      return make("div", { class: `field ${css}` }, label, input);
    };
    const search = make("input", { type: "search", "data-name": "q" });
    const lists = this.file.labels.map((label) => field(label.name, this.makeList(label)));
    const over = make("select", { "data-name": "range" });
    over.append(...this.file.numbers.map((one) => make("option", { value: one.name }, one.title)));
    over.value = "score";
    this.defaults = { range: "score" };
    const bound = (name) => make("input", { type: "number", step: "any", "data-name": name });
    const clear = () => this.set(this.noFilters());
    const filters = make(
      "div",
      { class: "filters", role: "search", "aria-label": "Filter the documents" },
      field("id or text contains", search, "wide-field"),
      ...lists,
      field("range of", over),
      field("at least", bound("min")),
      field("at most", bound("max")),
      make("button", { type: "button", class: "plain", onclick: clear }, "Clear"),
    );
    this.inputs = [...filters.querySelectorAll("[data-name]")];
    let waiting = 0;
    let changes = {}; // of the address; typing waits for the next letter
    filters.addEventListener("input", ({ target }) => {
      const { name } = target.dataset;
      changes[name] = target.value === this.defaults[name] ? "" : target.value;
      clearTimeout(waiting);
      const change = () => {
        const told = changes;
        changes = {};
        this.set(told);
      };
      waiting = setTimeout(change, target.type === "search" ? 120 : 0);
    });
    return filters;
  }

  makeList(label) {
    const counts = this.file.count(label);
    const list = make("select", { "data-name": label.name }, make("option", { value: "" }, "all"));
    const frequent = [...label.values.keys()]
      .sort((a, b) => counts[b] - counts[a])
      .slice(0, MOST_CHOICES);
    for (const code of frequent.sort((a, b) => a - b)) {
      const title = `${label.values[code] || NONE} (${formatNumber(counts[code])})`;
      list.append(make("option", { value: label.values[code] || NONE }, title));
    }
    return list;
  }

  // The extremes in the page become links to their row.
  makeIdentitiesLinks(place, id) {
    const number = this.prefix === "" ? 0 : parseInt(this.prefix, 10) - 1;
    for (const name of document.querySelectorAll(`.identity[data-file="${number}"]`)) {
      const wanted = name.textContent;
      const open = (event) => {
        event.preventDefault();
        event.stopPropagation();
        this.set({ doc: wanted, ...this.noFilters() }, { place: id, push: true });
        this.document.focus();
        this.document.scrollIntoView({ block: "nearest" });
      };
      name.replaceChildren(make("a", { href: `#${id}`, onclick: open }, wanted));
    }
  }

  noFilters() {
    const names = ["q", "min", "max", "range", ...this.file.labels.map((label) => label.name)];
    return Object.fromEntries(names.map((name) => [name, ""]));
  }

  // What is asked, and its answer

  update() {
    const question = this.file.read((name) => this.get(name));
    const key = JSON.stringify({ ...question, min: `${question.min}`, max: `${question.max}` });
    const isNew = key !== this.shown;
    if (isNew) {
      this.shown = key;
      this.order = this.file.find(question);
      this.active = 0;
      this.tellFound();
      this.markInputs(question.sort);
    }
    const wanted = this.get("doc");
    const selected = wanted === "" ? -1 : this.file.ids.indexOf(wanted);
    const isOther = selected !== this.selected;
    this.selected = selected;
    if (isOther) this.showDocument(wanted);
    const at = selected < 0 ? -1 : this.order.indexOf(selected);
    if (at >= 0 && (isNew || isOther)) this.active = at;
    if (isNew || isOther) this.reveal(this.active, isNew);
    this.draw(true);
  }

  tellFound() {
    const { file, order } = this;
    const [tokens, loss, score] = ["num_tokens", "loss", "score"].map((n) => file.sums(n, order));
    this.found.textContent =
      `${formatNumber(order.length)} of ${formatNumber(file.size)} documents · ` +
      `${formatNumber(tokens.sum)} tokens · mean loss ${formatNumber(loss.mean)} · ` +
      `mean score ${formatNumber(score.mean)}`;
  }

  markInputs(sort) {
    for (const input of this.inputs) {
      const value = this.get(input.dataset.name) || this.defaults[input.dataset.name] || "";
      if (input.value !== value) input.value = value;
    }
    for (const heading of this.table.tHead.rows[0].cells) {
      markSorted(
        heading,
        heading.dataset.name === sort.replace(/^-/, ""),
        sort.startsWith("-") ? -1 : 1,
      );
    }
  }

  // Rows in sight

  draw(always = false) {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - BEYOND_SIGHT);
    const last = Math.min(
      this.order.length,
      Math.ceil((scrollTop + clientHeight) / ROW) + BEYOND_SIGHT,
    );
    if (!always && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    const focused = this.body.contains(document.activeElement);
    this.table.setAttribute("aria-rowcount", this.order.length + 1);
    const rows = [];
    for (let at = first; at < last; at++) rows.push(this.makeRow(at));
    // The place of the keyboard stays in the page, wherever it is scrolled to.
    if (this.order.length && this.active < first) rows.unshift(this.makeRow(this.active, true));
    if (this.order.length && this.active >= last) rows.push(this.makeRow(this.active, true));
    const space = (height) => {
      const cell = make("td", { colspan: this.columns.length });
      cell.style.height = `${height}px`;
      return make("tr", { class: "space", "aria-hidden": "true" }, cell);
    };
    this.body.replaceChildren(space(first * ROW), ...rows, space((this.order.length - last) * ROW));
    this.isDrawing = true;
    if (focused) this.body.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
    this.isDrawing = false;
  }

  makeRow(at, isAside = false) {
    const row = this.order[at];
    const cells = this.columns.map((column) => {
      if (column.kind === "number") return make("td", {}, formatNumber(column.values[row]));
      const text = column.kind === "id" ? this.file.ids[row] : column.values[column.codes[row]];
      return make("td", { class: "name", dir: "auto", title: text }, text);
    });
    const element = make(
      "tr",
      { "data-at": at, "aria-rowindex": at + 2, tabindex: at === this.active ? 0 : -1 },
      ...cells,
    );
    element.setAttribute("aria-selected", String(row === this.selected));
    if (isAside) element.className = "aside";
    return element;
  }

  reveal(at, toTop) {
    const height = this.scroller.clientHeight - ROW; // beneath the headings
    const top = at * ROW;
    const { scrollTop } = this.scroller;
    if (top >= scrollTop && top + ROW <= scrollTop + height && !(toTop && at === 0)) return;
    // The table's height is that of its last drawing, so it is drawn before it is scrolled.
    this.draw(true);
    this.scroller.scrollTop = top < scrollTop ? top : top + ROW - height;
    this.draw(true);
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.order.length) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const last = this.order.length - 1;
    const next = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (next !== undefined) this.focusRow(Math.min(last, Math.max(0, next)));
    else if (event.key === "Enter" || event.key === " ") this.select(this.active, true);
    else return;
    event.preventDefault();
  }

  focusRow(at) {
    this.active = at;
    this.reveal(at, false);
    this.draw(true);
    this.body.querySelector(`[data-at="${at}"]`)?.focus({ preventScroll: true });
  }

  // The chosen document

  select(at, withFocus) {
    this.active = at;
    this.set({ doc: this.file.ids[this.order[at]] }, { push: true });
    if (withFocus) this.document.focus();
    else this.body.querySelector(`[data-at="${at}"]`)?.focus({ preventScroll: true });
  }

  showDocument(wanted) {
    const row = this.selected;
    if (row < 0) {
      const told =
        wanted === ""
          ? "Choose a row to read the document."
          : `No document ${wanted} is in this table.`;
      this.document.replaceChildren(make("p", { class: "how" }, told));
      return;
    }
    const { labels, numbers, texts, withoutText } = this.file;
    const facts = [
      ...labels.map((label) => [label.name, label.values[label.codes[row]]]),
      ...numbers.map((one) => [one.title, formatNumber(one.values[row])]),
      ["rank by score", this.file.rank(row)],
    ];
    const list = facts
      .filter(([, value]) => value !== "")
      .map(([name, value]) =>
        make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value)),
      );
    const text = texts[row];
    const missing = withoutText || "it is not among the highest or lowest of its language";
    this.document.replaceChildren(
      make("h3", {}, make("bdi", {}, this.file.ids[row])),
      make("dl", { class: "facts" }, ...list),
      text === undefined
        ? make("p", { class: "missing" }, `The text is not in this page: ${missing}.`)
        : make("p", { class: "text", dir: "auto" }, text),
    );
  }
}
