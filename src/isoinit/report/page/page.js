"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  // Okabe & Ito's colours, apart for most eyes; dashes tell further curves of one colour apart.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];
  const DASHES = [[], [6, 4], [2, 3]];
  const FIRST = 100, MORE = 200, PRINTED = 300;
  const hidden = new Set();
  const charts = [], tables = [];

  /** An element with attributes and children; text becomes text, never HTML. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const at = (id) => document.getElementById(id);
  const colour = (index) => COLOURS[index % COLOURS.length];
  const dash = (index) => DASHES[Math.floor(index / COLOURS.length) % DASHES.length];
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function number(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "string") return value;
    const size = Math.abs(value);
    if (value === 0 || Number.isInteger(value) && size < 1e9) return value.toLocaleString("en");
    return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function swatch(index) {
    const mark = make("span", { class: "swatch", "aria-hidden": "true" });
    mark.style.borderTopColor = colour(index);
    mark.style.borderTopStyle = ["solid", "dashed", "dotted"][Math.floor(index / COLOURS.length) % 3];
    return mark;
  }

  function showHead() {
    at("title").textContent = page.title;
    at("verdict").textContent = page.verdict;
    at("verdict").className = /^(healthy|nothing|complete)/.test(page.verdict) ? "good" : "bad";
    for (const [name, value] of page.facts) at("facts").append(
      make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  }

  function showRemarks() {
    const list = make("ul");
    for (const remark of page.remarks) {
      const method = remark.method ? `${remark.method}: ` : "";
      const item = make("li", { class: remark.severity }, make("b", {}, remark.severity),
        `${method}${remark.sentence}`);
      if (remark.advice) item.append(make("div", { class: "advice" }, remark.advice));
      if (remark.source) item.append(make("div", { class: "source" }, remark.source));
      item.dataset.method = remark.method;
      list.append(item);
    }
    at("remarks").append(page.remarks.length ? list : make("p", { class: "empty" }, "Nothing was found."));
  }

  function showMethods() {
    if (page.methods.length < 2) return at("methods").remove();
    page.methods.forEach((method, index) => {
      const box = make("input", { type: "checkbox", checked: "" });
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(method); else hidden.add(method);
        refresh();
      });
      at("methods").append(make("label", {}, box, swatch(index), method));
    });
  }

  function refresh() {
    for (const item of document.querySelectorAll("#remarks li")) item.hidden = hidden.has(item.dataset.method);
    for (const chart of charts) chart.switch();
    for (const table of tables) table.update();
  }

  /** What is drawn: sizes on a log scale, where zero and what is no number leave a gap. */
  function drawn(values, length, log) {
    const found = new Array(length).fill(null);
    values.forEach((value, i) => {
      if (typeof value !== "number") return;
      const size = log ? Math.abs(value) : value;
      if (!log || size > 0) found[i] = size;
    });
    return found;
  }

  class Chart {
    constructor(facts) {
      this.facts = facts;
      this.length = Math.max(0, ...facts.curves.map((curve) => curve.values.length));
      this.figure = make("figure", {}, make("h2", {}, facts.title));
      at("charts").append(this.figure);
      const index = (curve) => Math.max(page.methods.indexOf(curve.name), page.methods.length ? -1 : 0);
      this.colours = facts.curves.map((curve, i) => page.methods.length ? index(curve) : i);
      const any = facts.curves.some((c) => drawn(c.values, this.length, facts.log).some((v) => v !== null));
      if (!any) {
        this.figure.append(make("p", { class: "empty" }, "There is nothing to draw."));
        return;
      }
      this.tip = make("div", { class: "tip", role: "status" });
      this.tip.hidden = true;
      this.draw();
      this.figure.append(this.tip, make("figcaption", {}, this.caption()));
      this.describe();
      new ResizeObserver(() => this.resize()).observe(this.figure);
    }

    caption() {
      const scale = this.facts.log ? ", log scale" : "";
      const names = page.methods.length ? "" : this.facts.curves.length > 1
        ? ": " + this.facts.curves.map((curve) => curve.name).join(", ") : "";
      return `${this.facts.y}${scale}, by ${this.facts.x}${names}`;
    }

    draw() {
      const { facts, length } = this;
      const series = [{}], data = [Array.from({ length }, (_, i) => i + 1)], bands = [];
      this.owners = [null];
      facts.curves.forEach((curve, i) => {
        const stroke = colour(this.colours[i]);
        const add = (values, options) => {
          series.push({ stroke, ...options });
          data.push(drawn(values, length, facts.log));
          this.owners.push(curve);
        };
        const alone = { show: length < 60, size: 4 };
        add(curve.values, { width: 2, dash: dash(this.colours[i]), points: alone, spanGaps: false });
        if (curve.low.length) {
          add(curve.high, { width: 0, points: { show: false } });
          add(curve.low, { width: 0, points: { show: false } });
          bands.push({ series: [series.length - 2, series.length - 1], fill: stroke + "2b" });
        }
      });
      const axis = (label) => ({
        stroke: () => variable("--soft"), grid: { stroke: () => variable("--line"), width: 1 },
        ticks: { stroke: () => variable("--line") }, label, labelSize: 22, font: "12px system-ui",
        labelFont: "12px system-ui",
      });
      const whole = (_, marks) => marks.map((mark) => Number.isInteger(mark) ? mark : "");
      const sizes = (_, marks) => marks.map((mark) => mark === null ? "" : number(mark));
      this.plot = new uPlot({
        width: Math.max(this.figure.clientWidth, 240), height: 280, series, bands,
        scales: { x: { time: false }, y: facts.log ? { distr: 3, log: 10 } : {} },
        axes: [{ ...axis(facts.x), values: whole }, { ...axis(), size: 64, values: sizes }],
        legend: { show: false }, cursor: { points: { size: 7 }, y: false },
        hooks: { setCursor: [(plot) => this.hover(plot)] },
      }, data, this.figure);
      this.plot.root.setAttribute("role", "img");
      this.plot.root.setAttribute("aria-label", `${facts.title}: ${this.caption()}`);
      this.plot.over.addEventListener("mouseleave", () => { this.tip.hidden = true; });
    }

    name(index) {
      return this.facts.names[index] ?? `${this.facts.x} ${index + 1}`;
    }

    hover(plot) {
      const { idx, left, top } = plot.cursor;
      this.tip.hidden = idx === null || idx === undefined || left < 0;
      if (this.tip.hidden) return;
      const rows = this.facts.curves.map((curve, i) => [curve, this.colours[i]])
        .filter(([curve]) => !hidden.has(curve.name) && curve.values[idx] !== undefined)
        .map(([curve, shade]) => {
          const range = curve.low.length ? ` (${number(curve.low[idx])}–${number(curve.high[idx])})` : "";
          const value = curve.values[idx] === null ? "none" : number(curve.values[idx]) + range;
          return make("div", {}, make("span", {}, swatch(shade), curve.name), make("span", {}, value));
        });
      this.tip.replaceChildren(make("strong", {}, this.name(idx)), ...rows);
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
        const head = make("tr", {}, make("th", {}, this.facts.x),
          ...this.facts.curves.map((curve) => make("th", { class: "number" }, curve.name)));
        const body = make("tbody");
        for (let i = 0; i < this.length; i++) body.append(make("tr", {}, make("td", {}, this.name(i)),
          ...this.facts.curves.map((curve) => make("td", { class: "number" }, number(curve.values[i])))));
        more.append(make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, head), body)));
      });
      this.figure.append(more);
    }

    switch() {
      if (!this.plot) return;
      this.owners.forEach((curve, i) => {
        if (curve && this.plot.series[i].show === hidden.has(curve.name))
          this.plot.setSeries(i, { show: !hidden.has(curve.name) });
      });
    }

    resize() {
      const width = Math.max(this.figure.clientWidth, 240);
      if (this.plot && width !== this.plot.width) this.plot.setSize({ width, height: this.plot.height });
    }

    redraw() {
      if (this.plot) this.plot.redraw(false);
    }
  }

  class Table {
    constructor(facts) {
      this.facts = facts;
      this.sorted = { column: -1, sign: 1 };
      this.texts = facts.rows.map((row) => row.join("\u0000").toLowerCase());
      this.numeric = facts.columns.map((_, i) => facts.rows.length > 0
        && facts.rows.every((row) => typeof row[i] !== "string" || /^-?(inf|nan)$/.test(row[i]))
        && facts.rows.some((row) => row[i] !== null));
      this.method = facts.columns.indexOf("method");
      const section = make("section", {}, make("h2", {}, facts.title));
      at("tables").append(section);
      this.search = make("input", { type: "search", placeholder: "Search", "aria-label": `Search ${facts.title}` });
      this.count = make("output");
      const tools = make("div", { class: "tools" }, this.search);
      this.choices = facts.filters.map((column) => this.choice(column, tools));
      tools.append(this.count);
      this.body = make("tbody");
      this.more = make("p", { class: "more" });
      this.scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": facts.title },
        make("table", {}, make("thead", {}, this.head()), this.body), this.more);
      section.append(tools, this.scroll);
      this.search.addEventListener("input", () => this.update());
      new IntersectionObserver((entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.add(MORE);
      }, { root: this.scroll, rootMargin: "300px" }).observe(this.more);
      this.update();
    }

    choice(column, tools) {
      const index = this.facts.columns.indexOf(column);
      const values = [...new Set(this.facts.rows.map((row) => String(row[index] ?? "")))].sort();
      const select = make("select", {}, make("option", { value: "" }, "all"),
        ...values.filter(Boolean).map((value) => make("option", { value }, value)));
      select.addEventListener("change", () => this.update());
      tools.append(make("label", {}, column, select));
      return [index, select];
    }

    head() {
      const row = make("tr");
      this.facts.columns.forEach((column, i) => {
        const button = make("button", { type: "button" }, column);
        const cell = make("th", { scope: "col", class: this.numeric[i] ? "number" : "" }, button);
        button.addEventListener("click", () => {
          this.sorted = { column: i, sign: this.sorted.column === i ? -this.sorted.sign : 1 };
          for (const other of row.children) other.removeAttribute("aria-sort");
          cell.setAttribute("aria-sort", this.sorted.sign > 0 ? "ascending" : "descending");
          this.update();
        });
        row.append(cell);
      });
      if (this.facts.histograms.length) row.append(make("th", { scope: "col" }, make("button", { type: "button", disabled: "" }, "values")));
      return row;
    }

    update() {
      const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = this.facts.rows;
      this.chosen = rows.map((_, i) => i).filter((i) =>
        wanted.every((word) => this.texts[i].includes(word))
        && this.choices.every(([column, select]) => !select.value || String(rows[i][column]) === select.value)
        && !(this.method >= 0 && hidden.has(rows[i][this.method])));
      const { column, sign } = this.sorted;
      if (column >= 0) this.chosen.sort((a, b) => sign * this.compare(rows[a][column], rows[b][column]));
      this.body.replaceChildren();
      this.count.textContent = `${this.chosen.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
      this.add(FIRST);
    }

    compare(a, b) {
      if (a === null || b === null) return (a === null) - (b === null);
      return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    }

    add(count) {
      const shown = this.body.querySelectorAll("tr[data-row]").length;
      for (const i of this.chosen.slice(shown, shown + count)) this.body.append(this.row(i));
      const left = this.chosen.length - Math.min(shown + count, this.chosen.length);
      this.more.textContent = left ? `${left.toLocaleString("en")} more rows` : this.chosen.length ? "" : "No row matches.";
      this.more.hidden = !this.more.textContent;
    }

    row(i) {
      const row = make("tr", { "data-row": i }, ...this.facts.rows[i].map((cell, j) =>
        make("td", { class: this.numeric[j] ? "number" : "" }, number(cell))));
      if (this.facts.histograms.length) {
        const cell = make("td"), bins = this.facts.histograms[i];
        row.append(cell);
        if (bins) cell.append(this.opener(row, bins, this.facts.rows[i][0]));
      }
      return row;
    }

    opener(row, bins, name) {
      const button = make("button", { type: "button", "aria-expanded": "false", "aria-label": `Histogram of ${name}` }, "histogram");
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!open));
        if (open) return row.nextElementSibling.remove();
        row.after(make("tr", { class: "detail" },
          make("td", { colspan: row.children.length }, histogram(bins, name))));
      });
      return button;
    }

    printed() {
      const missing = PRINTED - this.body.querySelectorAll("tr[data-row]").length;
      if (missing > 0) this.add(missing);
    }
  }

  function histogram(bins, name) {
    const space = "http://www.w3.org/2000/svg", width = 460, height = 120;
    const draw = (tag, attributes, text = "") => {
      const element = document.createElementNS(space, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = text;
      return element;
    };
    const svg = draw("svg", { class: "histogram", viewBox: `0 0 ${width} ${height + 18}`, role: "img",
      "aria-label": `Histogram of ${name} from ${number(bins.low)} to ${number(bins.high)}` });
    const most = Math.max(...bins.counts, 1), step = width / bins.counts.length;
    bins.counts.forEach((count, i) => svg.append(draw("rect", { x: i * step + 0.5, width: Math.max(step - 1, 1),
      y: height - count / most * height, height: count / most * height })));
    svg.append(draw("text", { x: 0, y: height + 14 }, number(bins.low)),
      draw("text", { x: width, y: height + 14, "text-anchor": "end" }, number(bins.high)));
    return svg;
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    at("theme").textContent = name === "dark" ? "Light" : "Dark";
    at("theme").setAttribute("aria-label", `Switch to ${name === "dark" ? "light" : "dark"} colours`);
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
    theme("light");
    for (const table of tables) table.printed();
  });
  addEventListener("afterprint", () => theme(before));
  showHead();
  showRemarks();
  showMethods();
  for (const facts of page.charts) charts.push(new Chart(facts));
  for (const facts of page.tables) tables.push(new Table(facts));
})();
