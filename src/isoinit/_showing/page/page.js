"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  // Six colours apart for most eyes, in both themes (--c0 to --c5); dashes tell apart further curves.
  const COLOURS = 6, DASHES = [[], [7, 4], [2, 3]], LINES = ["solid", "dashed", "dotted"];
  const FIRST = 100, MORE = 200, PRINTED = 300; // rows of a table that are made at a time
  const REMARKS = 8; // that are shown before one asks for the others
  const MEDIUM = 20, LONG = 60, CLAMPED = 120; // characters: for a wide column, a wider one, a cell that is cut
  const hidden = new Set();
  const charts = [], tables = [];
  let refreshRemarks = () => {}, unfold = () => {};

  /** An element with attributes and children; text becomes text, never HTML. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const at = (id) => document.getElementById(id);
  const dash = (index) => Math.floor(index / COLOURS) % DASHES.length;
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => variable(`--c${index % COLOURS}`);
  const count = (value) => value.toLocaleString("en");

  function number(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return value;
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (Number.isInteger(value) && size < 1e9) return count(value);
    return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function swatch(index) {
    const mark = make("span", { class: "swatch", "aria-hidden": "true" });
    mark.style.borderTopColor = `var(--c${index % COLOURS})`;
    mark.style.borderTopStyle = LINES[dash(index)];
    return mark;
  }

  function showHead() {
    at("title").textContent = page.title;
    at("verdict").textContent = page.verdict;
    at("verdict").className = /^(healthy|even|nothing|complete)/.test(page.verdict) ? "good" : "bad";
    for (const [name, value] of page.facts) at("facts").append(
      make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    for (const note of page.notes) at("notes").append(make("p", {}, note));
  }

  function remarkItem(remark) {
    const item = make("li", { class: remark.severity });
    const line = make("div", {}, make("b", {}, remark.severity));
    if (remark.method) line.append(make("span", { class: "tag" },
      swatch(Math.max(0, page.methods.indexOf(remark.method))), remark.method));
    line.append(remark.sentence);
    item.append(line);
    if (remark.advice) item.append(make("div", { class: "advice" }, remark.advice));
    if (remark.source) item.append(make("div", { class: "source" }, remark.source));
    item.dataset.method = remark.method;
    return item;
  }

  function showRemarks() {
    const items = page.remarks.map(remarkItem);
    const empty = make("p", { class: "empty" }, "Nothing found.");
    const more = make("button", { type: "button", class: "more-remarks" });
    let most = REMARKS;
    refreshRemarks = () => {
      const left = items.filter((item) => !hidden.has(item.dataset.method));
      for (const item of items) item.hidden = true;
      for (const item of left.slice(0, most)) item.hidden = false;
      empty.hidden = left.length > 0;
      more.hidden = left.length <= most;
      more.textContent = `Show ${left.length - most} more`;
    };
    unfold = () => { most = Infinity; refreshRemarks(); };
    more.addEventListener("click", unfold);
    at("remarks").append(make("ul", {}, ...items), empty, more);
    refreshRemarks();
  }

  function showMethods() {
    if (page.methods.length < 2) return at("methods").remove();
    page.methods.forEach((method, index) => {
      const box = make("input", { type: "checkbox", checked: "" });
      const label = make("label", {}, box, swatch(index), method);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(method); else hidden.add(method);
        label.classList.toggle("off", !box.checked);
        refresh();
      });
      at("methods").append(label);
    });
  }

  function refresh() {
    refreshRemarks();
    for (const chart of charts) chart.refresh();
    for (const table of tables) table.update();
  }

  // A log scale is a linear one of decades. uPlot has its own, whose ticks fail below 1e-16.

  /** What is drawn: sizes as decades, where zero leaves a gap as what is no number does. */
  function drawn(values, length, log) {
    const found = new Array(length).fill(null);
    values.forEach((value, i) => {
      if (typeof value === "number" && !(log && value === 0))
        found[i] = log ? Math.log10(Math.abs(value)) : value;
    });
    return found;
  }

  /** Some air around the curves. A factor below two and a half is drawn flat: noise is no trend. */
  function range(plot, low, high) {
    if (low === null || low === undefined) return [-1, 1];
    const middle = (low + high) / 2, half = Math.max((high - low) / 2 * 1.08, 0.2);
    return [middle - half, middle + half];
  }

  /** Where decades are marked; between them only where there are few. */
  function marks(low, high) {
    const among = (factors, step) => {
      const found = [];
      for (let decade = Math.floor(low); decade <= high; decade++) for (const factor of factors) {
        const mark = decade + Math.log10(factor);
        if (decade % step === 0 && mark >= low && mark <= high) found.push(mark);
      }
      return found;
    };
    const decades = among([1], Math.max(1, Math.ceil((high - low) / 7)));
    if (decades.length > 2) return decades;
    const finer = [[1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map((factors) => among(factors, 1));
    return finer.find((found) => found.length > 2) ?? finer[2];
  }

  function labels(found) {
    const raised = (decade) => "10" + String(decade).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");
    const plain = found.every((mark) => mark >= -3 && mark <= 4);
    return found.map((mark) => {
      if (plain) return number(10 ** mark);
      const decade = Math.floor(mark + 1e-9), factor = Math.round(10 ** (mark - decade));
      return factor === 1 ? raised(decade) : `${factor}·${raised(decade)}`;
    });
  }

  class Chart {
    constructor(facts) {
      this.facts = facts;
      this.length = Math.max(0, ...facts.curves.map((curve) => curve.values.length));
      this.indices = new Map(facts.names.map((name, i) => [name, i]));
      // A curve of a method has the method's colour; others have their own, in order.
      this.shades = facts.curves.map((curve, i) => {
        const index = page.methods.indexOf(curve.name);
        return index < 0 ? i : index;
      });
      this.figure = make("figure", {}, make("h2", {}, facts.title), make("figcaption", {}, this.caption()));
      at("charts").append(this.figure);
      if (!facts.curves.some((curve) => drawn(curve.values, this.length, facts.log).some((v) => v !== null))) {
        this.figure.append(make("p", { class: "empty" }, "There is nothing to draw."));
        return;
      }
      this.tip = make("div", { class: "tip", "aria-hidden": "true" });
      this.tip.hidden = true;
      this.flags = this.flagged();
      this.draw();
      this.figure.append(this.tip);
      if (!page.methods.length && facts.curves.length > 1) this.figure.append(this.legend());
      this.describe();
      new ResizeObserver(() => this.resize()).observe(this.figure);
    }

    caption() {
      return `${this.facts.y} by ${this.facts.x}${this.facts.log ? ", log scale" : ""}`;
    }

    legend() {
      return make("ul", { class: "legend" }, ...this.facts.curves.map((curve, i) =>
        make("li", {}, swatch(this.shades[i]), curve.name)));
    }

    /** The points that findings are about: index -> severity, errors before others. */
    flagged() {
      const found = new Map();
      for (const remark of page.remarks.filter((each) => !hidden.has(each.method))) {
        const indices = remark.where.map((name) => this.indices.get(name)).filter((i) => i !== undefined);
        if (indices.length > this.length / 2) continue; // what is said of all of them marks none
        for (const index of indices) if (found.get(index) !== "error") found.set(index, remark.severity);
      }
      return found;
    }

    draw() {
      const { facts, length } = this;
      const series = [{}], data = [Array.from({ length }, (_, i) => i + 1)], bands = [];
      this.owners = [null];
      facts.curves.forEach((curve, i) => {
        const stroke = () => colour(this.shades[i]);
        const add = (values, options) => {
          series.push({ stroke, show: !hidden.has(curve.name), ...options });
          data.push(drawn(values, length, facts.log));
          this.owners.push(curve);
        };
        add(curve.values, { width: 2, dash: DASHES[dash(this.shades[i])], points: { show: length < 60, size: 4 } });
        if (curve.low.length) {
          add(curve.high, { width: 0, points: { show: false } });
          add(curve.low, { width: 0, points: { show: false } });
          bands.push({ series: [series.length - 2, series.length - 1], fill: () => stroke() + "2b" });
        }
      });
      const axis = {
        stroke: () => variable("--soft"), grid: { stroke: () => variable("--grid"), width: 1 },
        ticks: { show: false }, font: "12px system-ui", labelFont: "12px system-ui",
      };
      const counted = facts.names.length && facts.names.every((name) => /^\d+$/.test(name)); // widths
      const called = (mark) => (counted ? facts.names[mark - 1] ?? "" : mark);
      const whole = (_, found) => found.map((mark) => Number.isInteger(mark) ? called(mark) : "");
      const sizes = facts.log
        ? { splits: (_, __, low, high) => marks(low, high), values: (_, found) => labels(found) }
        : { values: (_, found) => found.map(number) };
      this.plot = new uPlot({
        width: this.width(), height: 270, series, bands,
        scales: { x: { time: false }, y: facts.log ? { range } : {} },
        axes: [{ ...axis, values: whole, label: facts.x, size: 28, labelSize: 20, labelGap: 0 },
          { ...axis, ...sizes, size: 56 }],
        legend: { show: false }, cursor: { points: { size: 7 }, y: false, drag: { setScale: false, x: false } },
        hooks: { setCursor: [(plot) => this.hover(plot)], drawAxes: [(plot) => this.mark(plot)] },
      }, data, this.figure);
      this.plot.root.setAttribute("role", "img");
      this.plot.root.setAttribute("aria-label", `${facts.title}: ${this.caption()}; its numbers follow as a table`);
      this.plot.over.addEventListener("mouseleave", () => { this.tip.hidden = true; });
    }

    /** Shade the points that findings are about. */
    mark({ ctx, bbox, valToPos }) {
      const width = Math.max(bbox.width / this.length, 2 * devicePixelRatio);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.globalAlpha = 0.1;
      for (const [index, severity] of this.flags) {
        ctx.fillStyle = variable(severity === "error" ? "--error" : "--warning");
        ctx.fillRect(valToPos(index + 1, "x", true) - width / 2, bbox.top, width, bbox.height);
      }
      ctx.restore();
    }

    name(index) {
      return this.facts.names[index] ?? `${this.facts.x} ${index + 1}`;
    }

    hover(plot) {
      const { idx, left, top } = plot.cursor;
      this.tip.hidden = idx === null || idx === undefined || left < 0;
      if (this.tip.hidden) return;
      const lines = [make("strong", {}, this.name(idx))];
      this.facts.curves.forEach((curve, i) => {
        const value = curve.values[idx];
        if (hidden.has(curve.name) || value === undefined) return;
        const around = curve.low.length ? ` (${number(curve.low[idx])} to ${number(curve.high[idx])})` : "";
        lines.push(make("div", {}, make("span", {}, swatch(this.shades[i]), curve.name),
          make("span", {}, value === null ? "none" : number(value) + around)));
      });
      if (this.flags.has(idx)) lines.push(
        make("em", { class: this.flags.get(idx) }, `named in a finding (${this.flags.get(idx)})`));
      this.tip.replaceChildren(...lines);
      const width = this.tip.offsetWidth, room = this.figure.clientWidth;
      const x = plot.over.offsetLeft + left + 14, y = plot.root.offsetTop + plot.over.offsetTop + 8;
      this.tip.style.left = `${Math.max(0, x + width > room ? x - width - 28 : x)}px`;
      this.tip.style.top = `${y + Math.min(top, 120)}px`;
    }

    /** The same numbers as a table, for who cannot see the picture; made when it is opened. */
    describe() {
      const more = make("details", {}, make("summary", {}, "The numbers"));
      more.addEventListener("toggle", () => {
        if (more.children.length > 1) return;
        const { curves, x } = this.facts;
        const row = (tag, first, others) => make("tr", {}, make(tag, {}, first),
          ...others.map((text) => make(tag, { class: "number" }, text)));
        const body = make("tbody");
        for (let i = 0; i < this.length; i++)
          body.append(row("td", this.name(i), curves.map((curve) => number(curve.values[i]))));
        const head = make("thead", {}, row("th", x, curves.map((curve) => curve.name)));
        more.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${this.facts.title}: the numbers` },
          make("table", {}, head, body)));
      });
      this.figure.append(more);
    }

    /** Show the methods that are switched on. */
    refresh() {
      if (!this.plot) return;
      this.tip.hidden = true;
      this.flags = this.flagged();
      this.plot.batch(() => this.owners.forEach((curve, i) => {
        if (curve && this.plot.series[i].show === hidden.has(curve.name))
          this.plot.setSeries(i, { show: !hidden.has(curve.name) });
      }));
    }

    width() {
      return Math.max(this.figure.clientWidth, 240);
    }

    resize() {
      if (this.width() !== this.plot.width) this.plot.setSize({ width: this.width(), height: this.plot.height });
    }

    redraw() {
      if (this.plot) this.plot.redraw(false);
    }
  }

  const collator = new Intl.Collator("en", { numeric: true });
  const NAMED = { inf: Infinity, "-inf": -Infinity, nan: null };
  const size = (cell) => cell in NAMED ? NAMED[cell] : cell;

  class Table {
    constructor(facts) {
      this.facts = facts;
      this.sorted = { column: -1, sign: 0 };
      this.texts = facts.rows.map((row) => row.join("\u0000").toLowerCase());
      this.columns = facts.columns.map((name, i) => this.column(name, i));
      this.method = facts.columns.indexOf("method");
      this.opens = facts.rows.some((_, i) => this.openable(i));
      this.section = make("section", {}, make("h2", {}, facts.title));
      at("tables").append(this.section);
      this.search = make("input", { type: "search", placeholder: "Search", "aria-label": `Search ${facts.title}` });
      this.count = make("output");
      const tools = make("div", { class: "tools" }, this.search);
      this.choices = facts.filters.map((column) => this.choice(column, tools)).filter(Boolean);
      tools.append(this.count);
      this.body = make("tbody");
      this.more = make("p", { class: "more" });
      const table = make("table", {}, make("thead", {}, this.head()), this.body);
      const longest = facts.rows.reduce((most, row) => Math.max(most, String(row[0]).length), 0);
      table.style.setProperty("--name", `${Math.min(longest, 46) + (this.opens ? 4 : 0)}ch`);
      this.scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": facts.title }, table, this.more);
      this.section.append(tools, this.scroll);
      this.search.addEventListener("input", () => this.update());
      this.body.addEventListener("click", (event) => this.clicked(event));
      new IntersectionObserver((entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.add(MORE);
      }, { root: this.scroll, rootMargin: "400px" }).observe(this.more);
      this.update();
    }

    /** How a column looks: numbers to the right, long texts wide. */
    column(name, i) {
      const cells = this.facts.rows.map((row) => row[i]).filter((cell) => cell !== null);
      if (cells.length && cells.every((cell) => typeof cell === "number" || cell in NAMED)) return "number";
      if (i === 0) return "name";
      const longest = cells.reduce((most, cell) => Math.max(most, String(cell).length), 0);
      return longest > LONG ? "long" : longest > MEDIUM ? "medium" : "";
    }

    openable(i) {
      return Boolean(this.facts.histograms[i]) || this.facts.rows[i].some((cell) => typeof cell === "string" && cell.length > CLAMPED);
    }

    choice(column, tools) {
      const index = this.facts.columns.indexOf(column);
      const values = [...new Set(this.facts.rows.map((row) => String(row[index] ?? "")))];
      if (values.length < 2) return null;
      const select = make("select", { "aria-label": `Filter by ${column}` }, make("option", { value: "" }, "all"),
        ...values.filter(Boolean).sort(collator.compare).map((value) => make("option", { value }, value)));
      select.addEventListener("change", () => this.update());
      tools.append(make("label", {}, column, select));
      return [index, select];
    }

    head() {
      const row = make("tr");
      this.facts.columns.forEach((column, i) => {
        const button = make("button", { type: "button" }, column);
        const cell = make("th", { scope: "col", class: this.columns[i], "aria-sort": "none" }, button);
        button.addEventListener("click", () => {
          const sign = this.sorted.column === i ? [1, -1, 0][this.sorted.sign === 1 ? 1 : this.sorted.sign ? 2 : 0] : 1;
          this.sorted = { column: i, sign };
          for (const other of row.children) other.setAttribute("aria-sort", "none");
          cell.setAttribute("aria-sort", sign > 0 ? "ascending" : sign < 0 ? "descending" : "none");
          this.update();
        });
        row.append(cell);
      });
      return row;
    }

    update() {
      this.section.hidden = hidden.has(this.facts.method);
      const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const { rows } = this.facts, { column, sign } = this.sorted;
      this.chosen = rows.map((_, i) => i).filter((i) =>
        wanted.every((word) => this.texts[i].includes(word))
        && this.choices.every(([index, select]) => !select.value || String(rows[i][index]) === select.value)
        && !(this.method >= 0 && hidden.has(rows[i][this.method])));
      if (sign) this.chosen.sort((a, b) => this.compare(size(rows[a][column]), size(rows[b][column]), sign));
      this.body.replaceChildren();
      this.scroll.scrollTop = 0;
      this.count.textContent = `${count(this.chosen.length)} of ${count(rows.length)}`;
      this.add(FIRST);
    }

    /** In which order two cells stand; what is not known stands last either way. */
    compare(a, b, sign) {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? (a > b) - (a < b) : collator.compare(a, b));
    }

    shown() {
      return this.body.querySelectorAll("tr[data-row]").length;
    }

    add(most) {
      const shown = this.shown();
      this.body.append(...this.chosen.slice(shown, shown + most).map((i) => this.row(i)));
      const left = Math.max(0, this.chosen.length - shown - most);
      this.more.textContent = left ? `${count(left)} more rows` : this.chosen.length ? "" : "No row matches.";
      this.more.hidden = !this.more.textContent;
    }

    row(i) {
      const row = make("tr", { "data-row": i });
      this.facts.rows[i].forEach((cell, j) => {
        const content = j ? [number(cell)] : this.named(i, String(cell));
        row.append(make("td", { class: this.columns[j] },
          ...(this.columns[j] === "long" ? [make("div", { class: "clamp" }, ...content)] : content)));
      });
      row.classList.toggle("openable", this.openable(i));
      return row;
    }

    /** A name, which may break after its dots, behind the button that opens its row. */
    named(i, name) {
      const parts = name.split(/(?<=\.)/).flatMap((part) => [make("wbr"), part]);
      if (!this.opens) return parts;
      const opener = this.openable(i)
        ? make("button", { type: "button", class: "opener", "aria-expanded": "false", "aria-label": `Details of ${name}` })
        : make("span", { class: "opener" });
      return [opener, ...parts];
    }

    clicked(event) {
      const row = event.target.closest("tr.openable"), button = row?.querySelector("button.opener");
      // Who selects a name to copy it does not want to open its row.
      if (!row || event.target !== button && getSelection().toString()) return;
      const open = row.classList.toggle("open"), bins = this.facts.histograms[row.dataset.row];
      button.setAttribute("aria-expanded", String(open));
      if (bins && open) row.after(make("tr", { class: "detail" }, make("td", { colspan: this.columns.length },
        histogram(bins, this.facts.rows[row.dataset.row][0]))));
      else if (bins) row.nextElementSibling.remove();
    }

    printed() {
      const missing = PRINTED - this.shown();
      if (missing > 0) this.add(missing);
    }
  }

  function histogram(bins, name) {
    const space = "http://www.w3.org/2000/svg", width = 460, height = 110;
    const draw = (tag, attributes, text = "") => {
      const element = document.createElementNS(space, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = text;
      return element;
    };
    const total = bins.counts.reduce((sum, n) => sum + n, 0);
    const svg = draw("svg", { class: "histogram", viewBox: `0 0 ${width} ${height + 18}`, role: "img",
      "aria-label": `Histogram of ${name}: ${count(total)} values from ${number(bins.low)} to ${number(bins.high)}` });
    const most = Math.max(...bins.counts, 1), step = width / bins.counts.length;
    bins.counts.forEach((n, i) => {
      const left = number(bins.low + (bins.high - bins.low) * i / bins.counts.length);
      const right = number(bins.low + (bins.high - bins.low) * (i + 1) / bins.counts.length);
      const bar = draw("rect", { x: i * step + 0.5, width: Math.max(step - 1, 1),
        y: height - n / most * height, height: n / most * height });
      bar.append(draw("title", {}, `${left} to ${right}: ${count(n)}`));
      svg.append(bar);
    });
    svg.append(draw("line", { x1: 0, x2: width, y1: height, y2: height }),
      draw("text", { x: 0, y: height + 14 }, number(bins.low)),
      draw("text", { x: width / 2, y: height + 14, "text-anchor": "middle" }, `${count(total)} values`),
      draw("text", { x: width, y: height + 14, "text-anchor": "end" }, number(bins.high)));
    return svg;
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    const other = name === "dark" ? "Light" : "Dark";
    at("theme").textContent = other;
    at("theme").setAttribute("aria-label", `${other} colours`);
    for (const chart of charts) chart.redraw();
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  at("theme").addEventListener("click", () =>
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  let before = "light";
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    theme("light"); // charts are pictures, whose colours no style sheet changes
    unfold();
    for (const table of tables) table.printed();
  });
  addEventListener("afterprint", () => theme(before));
  showHead();
  showRemarks();
  showMethods();
  for (const facts of page.charts) charts.push(new Chart(facts));
  for (const facts of page.tables) tables.push(new Table(facts));
})();
