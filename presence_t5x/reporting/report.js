"use strict";

// The page's state is its address: "#PLACE?NAME=VALUE&...". PLACE is the id of a tab or of anything
// within one; the names are those of tables and filters. Whoever shows a part of the state listens
// with `onState`; whoever changes it calls `setState`. Nothing else is remembered.
const state = { place: "", values: new URLSearchParams() };
const listeners = [];

function readState() {
  const [place, ...query] = location.hash.slice(1).split("?");
  try {
    state.place = decodeURIComponent(place);
  } catch {
    state.place = "";
  }
  state.values = new URLSearchParams(query.join("?"));
}

function onState(listener) {
  listeners.push(listener);
}

function tellState() {
  for (const listener of listeners) listener();
}

// An empty value is left out of the address. `push` makes a step that the Back button undoes.
function setState(values, { place = state.place, push = false } = {}) {
  for (const [name, value] of Object.entries(values)) {
    if (value === "") state.values.delete(name);
    else state.values.set(name, value);
  }
  state.place = place;
  const query = state.values.toString();
  const hash = `#${encodeURIComponent(place)}${query ? `?${query}` : ""}`;
  if (hash !== location.hash) history[push ? "pushState" : "replaceState"](null, "", hash);
  tellState();
}

// An element with attributes and children; a string among the children is text, never markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Tabs (ARIA Authoring Practices: a tab is shown when it gets the focus).

function startTabs() {
  const list = document.querySelector("nav.tabs");
  if (!list) return; // one article alone
  const panels = [...document.querySelectorAll("main > .panel")];
  const tabs = [...list.children];
  list.setAttribute("role", "tablist");
  tabs.forEach((tab, i) => {
    tab.id = `tab-${panels[i].id}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panels[i].id);
    panels[i].setAttribute("role", "tabpanel");
    panels[i].setAttribute("aria-labelledby", tab.id);
  });
  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = tabs.indexOf(event.target);
    const last = tabs.length - 1;
    const next = {
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last,
      " ": at,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    setState({}, { place: panels[next].id, push: true });
    tabs[next].focus();
  });
  onState(() => {
    const target = document.getElementById(state.place);
    const shown = Math.max(
      0,
      panels.findIndex((panel) => panel.contains(target)),
    );
    panels.forEach((panel, i) => {
      panel.hidden = i !== shown;
      tabs[i].setAttribute("aria-selected", String(i === shown));
      tabs[i].tabIndex = i === shown ? 0 : -1;
    });
  });
}

// Links within the page keep the rest of the state, which the browser alone would drop.
function followLink(event) {
  const link = event.target.closest('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const place = link.getAttribute("href").slice(1);
  setState({}, { place, push: true });
  if (link.getAttribute("role") !== "tab") showPlace();
}

// Scrolls to what the address names, and lets the keyboard go on from there.
function showPlace() {
  const target = document.getElementById(state.place);
  if (!target) return;
  if (target.classList.contains("panel")) return scrollTo(0, 0);
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) {
    fold.open = true;
  }
  if (!target.hasAttribute("tabindex")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
  target.scrollIntoView();
}

// A heading gets a link to what it stands above, to be copied.
function addAnchor(heading, id) {
  const title = heading.textContent;
  heading.append(make("a", { class: "anchor", href: `#${id}`, "aria-label": `Link to: ${title}` }));
}

// Tables that are in the page: sorted by their headings, filtered by a field above them. The state
// has under a table's id the number of the column ("-" before it: descending), under ID.filter words.

const LEAST_ROWS_TO_FILTER = 12;
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

// A number as the page writes them: "1,234", "−0.5", "12 %", "1.2×10⁷"; NaN if it is none.
function parseNumber(text) {
  const plain = text.replace(/−/g, "-").replace(/,/g, "").replace(/\s*%$/, "");
  const power = plain.match(/^(-?)(?:([\d.]+)×)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$/);
  if (!power) return plain === "" ? NaN : Number(plain);
  const exponent = power[3].replace(/./g, (sign) =>
    sign === "⁻" ? "-" : SUPERSCRIPTS.indexOf(sign),
  );
  return Number(`${power[1]}${power[2] ?? 1}e${exponent}`);
}

function cellValue(cell) {
  const text = (cell.dataset.value ?? cell.firstChild?.textContent ?? "").trim();
  if (text === "" || text === "–" || text === "-") return null;
  const number = parseNumber(text);
  return Number.isNaN(number) ? text : number;
}

// Numbers before words, and what is not known last, whatever the direction.
function compareCells(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return direction * (a < b ? -1 : a > b ? 1 : 0);
}

function startTable(table, number) {
  const panel = table.closest(".panel");
  if (!table.id) table.id = `${panel.id}-table-${number}`;
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const filterName = `${table.id}.filter`;
  headings.forEach((heading, i) => {
    const button = make("button", { type: "button", onclick: () => turn(i) });
    button.append(...heading.childNodes);
    heading.append(button);
  });
  const outer = table.closest(".scroll") ?? table;
  const title = outer.previousElementSibling;
  if (title?.tagName === "H3") addAnchor(title, table.id);
  let field = null;
  if (rows.length >= LEAST_ROWS_TO_FILTER) {
    field = make("input", {
      type: "search",
      class: "table-filter",
      placeholder: "Filter rows: words, all of them",
      "aria-label": "Filter rows of this table",
      oninput: () => setState({ [filterName]: field.value }),
    });
    outer.before(field);
  }
  const texts = rows.map((row) =>
    [...row.cells]
      .map((cell) => cell.textContent)
      .join(" ")
      .toLowerCase(),
  );
  const values = rows.map((row) => [...row.cells].map(cellValue));

  // Numbers start with the largest, words with the first.
  function turn(column) {
    const first = values.some((row) => typeof row[column] === "number") ? "-" : "";
    const other = first ? "" : "-";
    const now = state.values.get(table.id);
    const next =
      now === first + column ? other + column : now === other + column ? "" : first + column;
    setState({ [table.id]: next });
  }

  let shown = "";
  onState(() => {
    const sort = state.values.get(table.id) ?? "";
    const words = state.values.get(filterName) ?? "";
    if (shown === sort + "\n" + words) return;
    shown = sort + "\n" + words;
    const column = sort === "" ? -1 : Math.abs(parseInt(sort, 10));
    const direction = sort.startsWith("-") ? -1 : 1;
    const order = rows.map((_, i) => i);
    if (column >= 0 && column < headings.length) {
      order.sort((a, b) => compareCells(values[a][column], values[b][column], direction));
    }
    body.append(...order.map((i) => rows[i]));
    headings.forEach((heading, i) => markSorted(heading, i === column, direction));
    const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => {
      row.hidden = !asked.every((word) => texts[i].includes(word));
    });
    if (field && field.value !== words) field.value = words;
  });
}

function markSorted(heading, isSorted, direction) {
  if (isSorted) heading.setAttribute("aria-sort", direction < 0 ? "descending" : "ascending");
  else heading.removeAttribute("aria-sort");
}

function isPlain(table) {
  return (
    table.tHead?.rows.length === 1 &&
    table.tBodies.length === 1 &&
    !table.querySelector("[colspan], [rowspan]")
  );
}

document.addEventListener("DOMContentLoaded", () => {
  document.documentElement.classList.add("scripted");
  startTabs();
  for (const section of document.querySelectorAll("section[id]")) {
    addAnchor(section.querySelector("h2"), section.id);
  }
  [...document.querySelectorAll("table.sortable, #studies table, #study table")]
    .filter(isPlain)
    .forEach(startTable);
  startDocuments(JSON.parse(document.getElementById("data").textContent).files ?? []);
  document.addEventListener("click", followLink);
  const goTo = () => {
    readState();
    tellState();
    showPlace();
  };
  addEventListener("popstate", goTo); // also when someone edits the address
  goTo();
});
