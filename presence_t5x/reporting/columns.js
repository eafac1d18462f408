// Scored documents as columns, and which of them a question asks for: no element of the page here.

const ARRAYS = { Uint8Array, Uint16Array, Uint32Array, Int32Array, Float64Array };
const NONE = "(none)"; // what an empty label is called, in the address too

function readArray({ kind, content }) {
  const signs = atob(content);
  const bytes = new Uint8Array(signs.length);
  for (let i = 0; i < signs.length; i++) bytes[i] = signs.charCodeAt(i);
  return new ARRAYS[kind](bytes.buffer);
}

// Numbers as the rest of the page writes them.
function formatNumber(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) || (size >= 1000 && size < 1e6)) {
    return value.toLocaleString("en-US", { maximumFractionDigits: 0 }).replace("-", "−");
  }
  if (size >= 1e-3 && size < 1000) return value.toPrecision(4).replace("-", "−");
  const [mantissa, exponent] = value.toExponential(3).split("e");
  const signs = [...String(Number(exponent))];
  const power = signs.map((sign) => (sign === "-" ? "⁻" : SUPERSCRIPTS[sign])).join("");
  return `${Number(mantissa)}×10${power}`.replace("-", "−");
}

class Documents {
  // `file`: what the page holds of a file of scores.
  constructor(file) {
    this.ids = file.ids;
    this.size = file.ids.length;
    this.labels = file.labels.map((label) => ({ ...label, codes: readArray(label.codes) }));
    this.numbers = file.numbers.map((one) => ({ ...one, values: readArray(one.values) }));
    this.texts = file.texts; // by row; most have none
    this.withoutText = file.without_text;
  }

  number(name) {
    return this.numbers.find((one) => one.name === name);
  }

  // How many documents have each value of a label.
  count(label) {
    const counts = new Uint32Array(label.values.length);
    for (const code of label.codes) counts[code] += 1;
    return counts;
  }

  // A question in the words of the address: `get` gives the value under a name, or "".
  read(get) {
    const bound = (name, none) => (get(name) === "" ? none : Number(get(name)));
    return {
      words: get("q").toLowerCase(),
      labels: this.labels.map((label) => {
        const wanted = get(label.name);
        return wanted && label.values.findIndex((value) => (value || NONE) === wanted);
      }),
      range: get("range") || "score",
      min: bound("min", -Infinity),
      max: bound("max", Infinity),
      sort: get("sort"),
    };
  }

  // The rows that answer a question, in its order.
  find(question) {
    return this.sorted(this.matching(question), question.sort);
  }

  matching({ words, labels, range, min, max }) {
    const { size, ids, texts } = this;
    const values = this.number(range)?.values;
    const asked = this.labels.map(({ codes }, i) => ({ codes, code: labels[i] }));
    const wanted = asked.filter(({ code }) => code !== "");
    const isBound = min > -Infinity || max < Infinity;
    const found = new Uint32Array(size);
    let number = 0;
    for (let row = 0; row < size && values; row++) {
      if (wanted.some(({ codes, code }) => codes[row] !== code)) continue;
      // What is not known lies in no range.
      if (isBound && !(values[row] >= min && values[row] <= max)) continue;
      if (words && !ids[row].toLowerCase().includes(words)) {
        if (!texts[row]?.toLowerCase().includes(words)) continue;
      }
      found[number++] = row;
    }
    return found.subarray(0, number);
  }

  // Equal values keep the order of the file; what is not known comes last.
  sorted(rows, sort) {
    const keys = this.keys(sort.replace(/^-/, ""));
    if (!keys) return rows;
    const sign = sort.startsWith("-") ? -1 : 1;
    const known = rows.filter((row) => !Number.isNaN(keys[row]));
    const unknown = rows.filter((row) => Number.isNaN(keys[row]));
    known.sort((a, b) => sign * (keys[a] - keys[b]) || a - b);
    const order = new Uint32Array(rows.length);
    order.set(known);
    order.set(unknown, known.length);
    return order;
  }

  // Numbers that sort a column.
  keys(name) {
    if (name === "id") return this.ranksOfIds();
    return this.labels.find((label) => label.name === name)?.codes ?? this.number(name)?.values;
  }

  ranksOfIds() {
    if (!this.ranks) {
      const { ids, size } = this;
      const order = Uint32Array.from({ length: size }, (_, i) => i);
      order.sort((a, b) => (ids[a] < ids[b] ? -1 : ids[a] > ids[b] ? 1 : a - b));
      this.ranks = new Uint32Array(size);
      order.forEach((row, rank) => (this.ranks[row] = rank));
    }
    return this.ranks;
  }

  // Sum and mean of what is known of a number.
  sums(name, rows) {
    const { values } = this.number(name);
    let sum = 0;
    let number = 0;
    for (const row of rows) {
      if (Number.isNaN(values[row])) continue;
      sum += values[row];
      number += 1;
    }
    return { sum, mean: number ? sum / number : NaN };
  }

  // A document's place by score, the highest first.
  rank(row) {
    const { values } = this.number("score");
    if (Number.isNaN(values[row])) return "–";
    const higher = values.reduce((count, value) => count + (value > values[row]), 0);
    return `${formatNumber(higher + 1)} of ${formatNumber(this.size)}`;
  }
}
