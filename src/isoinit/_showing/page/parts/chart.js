  // One name has one colour on the whole page, one method too.
  const kinds = [...new Set(page.charts.flatMap((chart) => chart.curves)
    .filter((curve) => !curve.points).map((curve) => curve.name))];
  const shortName = shortened(kinds.filter((name) => parted(name).length > 1));
  const WHOLE = [0, 1, 2, 3, 4, 5].flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
  const POINT = COLOURS - 1; // the colour of points that no line joins

  class Chart {
    constructor(facts) {
      this.facts = facts;
      this.curves = facts.curves.map((curve) => ({
        ...curve, at: curve.at.length ? curve.at : curve.values.map((_, i) => i) }));
      this.length = Math.max(0, ...this.curves.map((curve) => curve.at.at(-1) + 1));
      this.groups = [...new Set(this.curves.map((curve) => curve.group).filter(Boolean))];
      this.byMethod = this.groups.some((group) => page.methods.includes(group));
      this.figure = make("figure", {}, make("h2", {}, facts.title), make("figcaption", {}, this.caption()));
      at("charts").append(this.figure);
      if (!this.curves.some((curve) => curve.values.some((v) => drawn(v, facts.log) !== null))) {
        this.figure.append(make("p", { class: "empty" }, "There is nothing to draw."));
        return;
      }
      this.tip = make("div", { class: "tip", "aria-hidden": "true" });
      this.dot = make("span", { class: "dot", "aria-hidden": "true" });
      this.tip.hidden = this.dot.hidden = true;
      this.draw();
      this.figure.append(this.tip, this.legend());
      this.plot.over.append(this.dot);
      this.describe();
      new ResizeObserver(() => this.resize()).observe(this.figure);
    }

    caption() {
      return `${this.facts.y}${this.facts.log ? ", log scale" : ""}`;
    }

    /** The number of a curve's colour, and the number of its dashes. */
    shade(curve) {
      if (curve.points) return [this.byMethod ? page.methods.indexOf(curve.group) : POINT, 0];
      const kind = Math.max(0, kinds.indexOf(curve.name));
      if (!this.byMethod) return [kind, dash(kind)];
      const method = Math.max(0, page.methods.indexOf(curve.group));
      return [method, (this.kinds().indexOf(curve.name) + dash(method)) % DASHES.length];
    }

    kinds() {
      return [...new Set(this.curves.map((curve) => curve.name))];
    }

    /** Whether a curve is drawn wide and pale, behind those of the last group. */
    pale(curve) {
      return !this.byMethod && this.groups.length > 1 && curve.group !== this.groups.at(-1);
    }

    shown(curve) {
      return ![curve.name, curve.group].some((name) => muted.has(name)) && !hidden.has(curve.group);
    }

    /** An entry for each kind of line, each group of lines that are no method, and the bands. */
    legend() {
      const found = [];
      const entry = (key, mark, text) => {
        const button = make("button", { type: "button", "aria-pressed": String(!muted.has(key)), title: `Show or hide: ${text}` }, mark, text);
        button.dataset.key = key;
        button.addEventListener("click", () => {
          if (muted.has(key)) muted.delete(key); else muted.add(key);
          for (const chart of charts) chart.refresh();
        });
        found.push(make("li", {}, button));
      };
      const names = this.kinds().filter((name) => name && (!this.byMethod || this.kinds().length > 1));
      for (const name of names) {
        const curve = this.curves.find((each) => each.name === name), [shade, line] = this.shade(curve);
        const mark = this.byMethod ? swatch(POINT, curve.points ? 0 : line) : swatch(shade, line);
        if (curve.points) mark.classList.add("points");
        entry(name, mark, shortName(name));
      }
      if (!this.byMethod && this.groups.length > 1) for (const group of this.groups) {
        const mark = swatch(POINT, 0);
        mark.classList.toggle("pale", group !== this.groups.at(-1));
        entry(group, mark, group);
      }
      if (this.facts.band && this.curves.some((curve) => curve.low.length))
        entry("band", make("span", { class: "swatch band", "aria-hidden": "true" }), this.facts.band);
      this.entries = make("ul", { class: "legend", "aria-label": `Legend of ${this.facts.title}` }, ...found);
      return this.entries;
    }

    /** The points that findings are about: index -> severity. What is said of most marks none. */
    flags() {
      const found = flagged(), marked = new Map();
      this.facts.names.forEach((name, i) => { if (found.has(name)) marked.set(i, found.get(name)); });
      return marked.size > this.length / 2 ? new Map() : marked;
    }

    draw() {
      const { facts, length } = this;
      const series = [{}], data = [Array.from({ length }, (_, i) => i + 1)], bands = [];
      this.owners = [null];
      // What is undefined lies between the points of a line; what is null is a gap in it.
      const filled = (curve, values) => {
        const found = new Array(length).fill(undefined);
        values.forEach((value, i) => { found[curve.at[i]] = drawn(value, facts.log); });
        return found;
      };
      const ordered = [...this.curves].sort((a, b) => this.pale(b) - this.pale(a));
      for (const curve of ordered) {
        const [shade, line] = this.shade(curve), pale = this.pale(curve);
        const stroke = () => colour(shade) + (pale ? "59" : "");
        const add = (values, options) => {
          series.push({ stroke, ...options });
          data.push(filled(curve, values));
          this.owners.push({ curve, band: options.width === 0 && !options.points.show });
        };
        const few = curve.values.length < 60;
        if (curve.points) add(curve.values, { width: 0, paths: () => null,
          points: { show: true, size: pale ? 12 : 7, width: 0, fill: stroke } });
        else add(curve.values, { width: pale ? 7 : 2, dash: pale ? [] : DASHES[line], cap: "round",
          points: { show: few && !pale, size: 5, width: 0, fill: stroke } });
        if (curve.low.length) {
          add(curve.high, { width: 0, points: { show: false } });
          add(curve.low, { width: 0, points: { show: false } });
          bands.push({ series: [series.length - 2, series.length - 1], fill: () => colour(shade) + "2b" });
        }
      }
      this.owners.forEach((owner, i) => { if (owner) series[i].show = this.visible(owner); });
      const axis = {
        stroke: () => variable("--soft"), grid: { stroke: () => variable("--grid"), width: 1 },
        ticks: { show: false }, font: "12px system-ui", labelFont: "12px system-ui",
      };
      const counted = facts.names.length && !facts.curves.some((curve) => curve.at.length) && facts.names.every((name) => /^\d+$/.test(name)); // widths
      const called = (mark) => (counted ? facts.names[mark - 1] ?? "" : mark);
      const whole = (_, found) => found.map((mark) => Number.isInteger(mark) ? called(mark) : "");
      const sizes = facts.log
        ? { splits: (_, __, low, high) => marks(low, high), values: (_, found) => labels(found) }
        : { values: (_, found) => found.map((mark) => number(mark)) };
      this.plot = new uPlot({
        width: this.width(), height: 260, series, bands,
        scales: { x: { time: false, range: (_, low, high) => [low - 0.35, high + 0.35] }, y: facts.log ? { range } : {} },
        axes: [{ ...axis, values: whole, incrs: WHOLE, label: facts.x, size: 28, labelSize: 20, labelGap: 0 },
          { ...axis, ...sizes, label: facts.y, size: 50, labelSize: 20, labelGap: 0 }],
        legend: { show: false },
        cursor: { points: { show: false }, x: false, y: false, drag: { setScale: false, x: false } },
        hooks: { setCursor: [(plot) => this.hover(plot)], drawAxes: [(plot) => this.mark(plot)] },
      }, data, this.figure);
      this.plot.root.setAttribute("role", "img");
      this.plot.root.setAttribute("aria-label", `${facts.title}: ${this.caption()}, by ${facts.x}; its numbers follow as a table`);
      this.plot.over.addEventListener("mouseleave", () => { this.tip.hidden = this.dot.hidden = true; });
    }

    visible({ curve, band }) {
      return this.shown(curve) && !(band && muted.has("band"));
    }

    /** Shade the points that findings are about. */
    mark({ ctx, bbox, valToPos }) {
      const width = Math.max(bbox.width / this.length, 2 * devicePixelRatio);
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.globalAlpha = 0.1;
      for (const [index, severity] of this.flags()) {
        ctx.fillStyle = variable(severity === "error" ? "--error" : "--warning");
        ctx.fillRect(valToPos(index + 1, "x", true) - width / 2, bbox.top, width, bbox.height);
      }
      ctx.restore();
    }

    name(index) {
      return this.facts.names[index] ?? `${this.facts.x} ${index + 1}`;
    }

    /** The point that is drawn nearest to the pointer: its place on the axis, and its own place. */
    nearest(left, top) {
      let best = null, least = Infinity;
      for (const [k, owner] of this.owners.entries()) {
        if (!owner || owner.band || !this.plot.series[k].show) continue;
        for (const index of owner.curve.at) {
          const value = this.plot.data[k][index];
          if (value === null || value === undefined) continue;
          const x = this.plot.valToPos(index + 1, "x");
          if (Math.abs(x - left) * 2 > least) continue;
          const y = this.plot.valToPos(value, "y"), far = Math.hypot(2 * (x - left), y - top);
          if (far < least) [best, least] = [{ index, x, y }, far];
        }
      }
      return best;
    }

    hover(plot) {
      const { left, top } = plot.cursor;
      const found = left < 0 || left === undefined ? null : this.nearest(left, top);
      this.tip.hidden = this.dot.hidden = !found;
      if (!found) return;
      const { index } = found;
      const lines = [make("strong", {}, this.name(index))];
      for (const curve of this.curves) {
        const place = curve.at.indexOf(index);
        if (place < 0 || !this.shown(curve)) continue;
        const value = curve.values[place];
        const around = curve.low.length ? ` (${number(curve.low[place])} to ${number(curve.high[place])})` : "";
        const [shade, line] = this.shade(curve), mark = swatch(shade, line);
        mark.classList.toggle("pale", this.pale(curve));
        lines.push(make("div", {}, make("span", {}, mark, this.told(curve)),
          make("span", {}, value === null ? "none" : number(value) + around)));
      }
      const severity = this.flags().get(index);
      if (severity) lines.push(make("em", { class: severity }, `named in a finding (${severity})`));
      this.tip.replaceChildren(...lines);
      const width = this.tip.offsetWidth, room = this.figure.clientWidth;
      const x = plot.over.offsetLeft + found.x + 14, y = plot.root.offsetTop + plot.over.offsetTop + 8;
      this.tip.style.left = `${Math.max(0, x + width > room ? x - width - 28 : x)}px`;
      this.tip.style.top = `${y + Math.min(Math.max(found.y, 0), 120)}px`;
      this.dot.style.left = `${found.x}px`;
      this.dot.style.top = `${found.y}px`;
    }

    /** What a curve is called beside its value: its kind, and its group where there are several. */
    told(curve) {
      if (this.byMethod) return curve.group;
      return [curve.points ? "" : shortName(curve.name), curve.group].filter(Boolean).join(", ") || this.facts.y;
    }

    /** The same numbers as a table, for who cannot see the picture; made when it is opened. */
    describe() {
      const more = make("details", {}, make("summary", {}, "The numbers"));
      more.addEventListener("toggle", () => {
        if (more.children.length > 1) return;
        const row = (tag, first, others) => make("tr", {}, make(tag, {}, first),
          ...others.map((text) => make(tag, { class: "number" }, text)));
        // Kinds share a column, for no layer is of two.
        const folded = this.facts.curves.some((curve) => curve.at.length);
        const heads = this.groups.length ? this.groups : folded ? [""] : this.kinds();
        const heading = (head) => head || this.facts.y, values = new Map();
        for (const curve of this.curves) {
          const column = this.groups.length ? heads.indexOf(curve.group) : folded ? 0 : heads.indexOf(curve.name);
          curve.at.forEach((place, i) => {
            if (!values.has(place)) values.set(place, new Array(heads.length).fill(""));
            values.get(place)[column] = number(curve.values[i]);
          });
        }
        const body = make("tbody");
        for (const place of [...values.keys()].sort((a, b) => a - b))
          body.append(row("td", this.name(place), values.get(place)));
        const head = make("thead", {}, row("th", this.facts.x, heads.map(heading)));
        more.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${this.facts.title}: the numbers` },
          make("table", {}, head, body)));
      });
      this.figure.append(more);
    }

    /** Show what is switched on. */
    refresh() {
      if (!this.plot) return;
      this.tip.hidden = this.dot.hidden = true;
      this.plot.batch(() => this.owners.forEach((owner, i) => {
        if (owner && this.plot.series[i].show !== this.visible(owner))
          this.plot.setSeries(i, { show: this.visible(owner) });
      }));
      for (const button of this.entries.querySelectorAll("button"))
        button.setAttribute("aria-pressed", String(!muted.has(button.dataset.key)));
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
