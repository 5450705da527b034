  // Sizes in a drawing, in pixels at full width.
  const BOX = 208, BESIDE = 132, LANE = 136, GAP = 14, TALL = 900, CELLS = 48, EDGE = 6;
  const CHARACTER = 7.2, SMALL = 6.2; // of a label, and of what stands below it: how wide

  /** The model as a graph: a trunk from above to below, branches to its right. */
  class Figure {
    constructor(facts) {
      this.facts = facts;
      this.sizes = [];
      this.each(facts.parts, (box) => this.sizes.push(...box.sizes));
      const known = this.sizes.filter((size) => typeof size === "number" && size > 0).map(Math.log10);
      // Colours end at the farthest size, and no nearer than a factor of ten.
      this.decades = Math.max(1, Math.ceil(Math.max(0, ...known.map(Math.abs)) - 1e-9));
      this.layers = [draw("g", { class: "blocks" }), draw("g", { class: "ways" }), draw("g", { class: "boxes" })];
      this.right = BOX;
      const end = this.way(facts.parts, BOX / 2, this.cap("input", BOX / 2, 10), true);
      const bottom = this.cap("output", BOX / 2, end + GAP + 12);
      const width = this.right + EDGE + 2, svg = draw("svg", { viewBox: `${-EDGE - 1} 0 ${width} ${bottom}`, width, height: bottom,
        role: "group", "aria-label": `${facts.title}: layers from the input to the output` }, this.hatch(), ...this.layers);
      const holder = make("div", { class: "graph" }, svg);
      at("figure").append(make("h2", {}, facts.title), make("figcaption", {}, facts.caption), this.legend(), holder);
      if (bottom > TALL) this.unfolds(holder);
      document.documentElement.classList.add("drawn");
    }

    each(parts, use) {
      for (const part of parts) {
        (part.boxes ?? []).forEach(use);
        this.each(part.parts ?? [], use);
        this.each(part.skip ?? [], use);
      }
    }

    unfolds(holder) {
      const more = make("button", { type: "button", "aria-expanded": "false" }, "Show the whole graph");
      holder.classList.add("cut");
      more.addEventListener("click", () => {
        const cut = holder.classList.toggle("cut");
        more.setAttribute("aria-expanded", String(!cut));
        more.textContent = cut ? "Show the whole graph" : "Show less";
      });
      at("figure").append(more);
    }

    /** How far a size is from one, from -1 to 1, and the colour of that. */
    colour(size) {
      if (typeof size !== "number" && size !== "inf") return "url(#unknown)";
      const far = size === "inf" ? 1 : size > 0 ? Math.log10(size) / this.decades : -1;
      const share = Math.round(Math.min(1, Math.abs(far)) ** 0.7 * 100);
      return `color-mix(in oklab, var(${far < 0 ? "--small" : "--large"}) ${share}%, var(--even))`;
    }

    hatch() {
      return draw("defs", {}, draw("pattern", { id: "unknown", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        draw("rect", { class: "ground", width: 6, height: 6 }), draw("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 6 })));
    }

    legend() {
      const steps = Array.from({ length: 2 * 4 + 1 }, (_, i) => (i - 4) / 4 * this.decades);
      const scale = make("span", { class: "colours" }, ...steps.map((decade) => {
        const cell = make("span");
        cell.style.background = this.colour(10 ** decade);
        return cell;
      }));
      const end = 10 ** this.decades;
      const found = !this.sizes.length ? [] : [make("li", { title: "The signal shrinks below one to the left, and grows above one to the right" },
        `${number(1 / end)}`, scale, `${number(end)}`, make("span", { class: "soft" }, "(middle: 1)"))];
      let norms = false, unknown = false;
      this.each(this.facts.parts, (box) => {
        norms ||= box.kind === "norm";
        unknown ||= box.kind !== "norm" && box.sizes.some((size) => size === null || size === "nan");
      });
      if (norms) found.push(make("li", {}, make("span", { class: "sample norm" }), "norm layer"));
      if (unknown) found.push(make("li", {}, make("span", { class: "sample unknown" }), "not known"));
      return make("ul", { class: "legend graph-legend", "aria-label": "Legend of the model" }, ...found);
    }

    cap(text, x, y) {
      this.layers[2].append(draw("text", { class: "cap", x, y, "text-anchor": "middle" }, text));
      return y + 4;
    }

    line(points, trunk = false) {
      this.layers[1].append(draw("polyline", { class: trunk ? "trunk" : "", points: points.map((point) => point.join(",")).join(" ") }));
    }

    /** Draw parts below each other on a way at x, from y on; return where the last one ends. */
    way(parts, x, y, trunk, width = BOX, bare = false) {
      let start = y; // of the line that has not been drawn yet
      for (const part of parts) {
        const above = y + GAP / 2;
        y += GAP;
        if (part.times) y = this.block(part, x, y, trunk, width);
        else if (part.boxes) {
          const middles = this.row(part.boxes, x - width / 2, y, width);
          y = middles.bottom;
          if (middles.places.length > 1) { // the line parts, and comes together again
            this.line([[x, start], [x, above]], trunk);
            for (const place of middles.places) this.line([[x, above], [place, above], [place, y + GAP / 2], [x, y + GAP / 2]]);
            start = y + GAP / 2;
          }
        } else y = this.branch(part, x, y, width);
      }
      if (!bare) this.line([[x, start], [x, y + (trunk ? GAP : GAP / 2)]], trunk);
      return y;
    }

    /** Draw boxes side by side; return where they end, and the middle of each. */
    row(boxes, left, y, width) {
      const each = (width - 6 * (boxes.length - 1)) / boxes.length;
      const heights = boxes.map((box, i) => this.box(box, left + i * (each + 6), y, each, boxes.length));
      this.right = Math.max(this.right, left + width);
      return { bottom: y + Math.max(...heights), places: boxes.map((_, i) => left + i * (each + 6) + each / 2) };
    }

    branch({ name, parts, skip }, x, y, width) {
      const over = x + LANE - (BOX - width) / 2;
      if (name) this.layers[2].append(draw("text", { class: "cap", x: over + BOX / 2, y: y - 4, "text-anchor": "end" }, this.fit(name, BOX)));
      this.line([[x, y], [over, y]]);
      const end = this.way(parts, over, y, false);
      // What lies on the trunk meanwhile is drawn narrow, beside the branch.
      const beside = skip.length ? this.way(skip, x - (width - BESIDE) / 2 + 8, y, false, BESIDE, true) : 0;
      const bottom = Math.max(end, beside) + GAP;
      this.line([[over, end], [over, bottom], [x, bottom]]);
      this.layers[2].append(draw("circle", { class: "sum", cx: x, cy: bottom, r: 7 }),
        draw("text", { class: "sum", x, y: bottom + 4, "text-anchor": "middle" }, "+"));
      return bottom + 7;
    }

    block({ name, times, parts }, x, y, trunk, width) {
      const frame = draw("rect", { class: "block", x: x - width / 2 - EDGE, y, rx: 8 });
      this.layers[0].append(frame);
      const before = this.right;
      this.right = x + width / 2;
      const end = this.way(parts, x, y + 22, true, width) + GAP;
      frame.setAttribute("width", this.right - (x - width / 2) + 2 * EDGE);
      frame.setAttribute("height", end - y);
      this.layers[2].append(draw("text", { class: "times", x: x - width / 2 + 8, y: y + 16 }, `× ${count(times)}`),
        draw("text", { class: "cap", x: this.right - 8, y: y + 16, "text-anchor": "end" }, this.fit(name, this.right - x - 30)));
      this.right = Math.max(before, this.right + EDGE);
      return end;
    }

    /** The end of a name, as much of it as there is room for: whole parts where one fits. */
    fit(name, room, each = CHARACTER) {
      const most = Math.max(4, Math.floor(room / each));
      if (name.length <= most) return name;
      const parts = parted(name);
      while (parts.length > 1 && parts.join("").length >= most) parts.shift();
      const end = parts.join("");
      return end.length < most ? `…${end}` : `…${end.slice(1 - most)}`;
    }

    box(box, x, y, width, beside) {
      const norm = box.kind === "norm", told = beside < 3 ? box.told : box.told.slice(-1);
      let said = told.map(([what, value]) => beside < 3 ? `${what} ${number(value, 3)}`.trim() : number(value, 2));
      if (said.join(" · ").length * SMALL < width - 8) said = said.length ? [said.join(" · ")] : [];
      // What is too long for a line of a narrow box takes two: "embedding 1024×128".
      said = said.flatMap((text) => text.length * SMALL < width - 4 ? [text] : text.split(/ (?=[^ ]*$)/));
      const height = 24 + 15 * said.length;
      const whole = [box.name, ...box.told.map(([what, value]) => what ? `${what}: ${number(value)}` : value)];
      const group = draw("g", { class: `box ${box.kind}`, tabindex: 0, role: "button", "aria-label": `${whole.join(", ")}. Find it in the table` });
      group.append(draw("title", {}, whole.join("\n")));
      const clip = draw("rect", { class: "edge", x, y, width, height, rx: norm ? 12 : 5 });
      if (!norm) {
        const cells = box.sizes.length <= CELLS ? box.sizes : Array.from({ length: CELLS }, (_, i) => box.sizes[Math.floor(i * box.sizes.length / CELLS)]);
        const step = width / Math.max(cells.length, 1);
        if (!cells.length) group.append(draw("rect", { class: "plain", x, y, width, height }));
        cells.forEach((size, i) => {
          const cell = draw("rect", { x: x + i * step, y, width: step + (i < cells.length - 1 ? 0.5 : 0), height });
          cell.style.fill = this.colour(size);
          group.append(cell);
        });
      }
      group.append(clip, draw("text", { x: x + width / 2, y: y + 16, "text-anchor": "middle" }, this.fit(box.label, width - 10)));
      said.forEach((text, i) => group.append(
        draw("text", { class: "said", x: x + width / 2, y: y + 31 + 15 * i, "text-anchor": "middle" }, this.fit(text, width - 4, SMALL))));
      const find = () => tables.some((table) => table.find(box.name));
      group.addEventListener("click", find);
      group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); find(); } });
      this.layers[2].append(group);
      return height;
    }
  }
