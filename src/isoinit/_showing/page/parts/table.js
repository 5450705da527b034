  const FIRST = 100, MORE = 200, PRINTED = 300; // lines of a table that are made at a time
  const WIDE = 16; // characters of a text that gets room
  const collator = new Intl.Collator("en", { numeric: true });
  const NAMED = { inf: Infinity, "-inf": -Infinity, nan: null };
  const size = (cell) => cell in NAMED ? NAMED[cell] : cell;

  class Table {
    constructor(facts) {
      this.facts = facts;
      this.sorted = { column: -1, sign: 0 };
      this.opened = new Set(); // the folds and the rows that are open, as "f3" and "r17"
      this.kinds = facts.columns.map((_, i) => this.kind(i));
      this.method = facts.columns.indexOf("method");
      this.of = new Map(); // row -> its fold
      facts.folds.forEach((fold, f) => { for (const row of fold.rows) this.of.set(row, f); });
      this.flags = flagged();
      this.section = make("section", {}, make("h2", {}, facts.title));
      at("tables").append(this.section);
      this.search = make("input", { type: "search", placeholder: "Search", "aria-label": `Search ${facts.title}` });
      this.count = make("output");
      const tools = make("div", { class: "tools" }, this.search);
      this.choices = facts.filters.map((column) => this.choice(column, tools)).filter(Boolean);
      tools.append(this.count);
      this.body = make("tbody");
      this.more = make("button", { type: "button", class: "more" });
      this.none = make("p", { class: "empty" }, "No row matches.");
      const table = make("table", { "aria-label": facts.title }, make("thead", {}, this.head()), this.body);
      const names = [...facts.folds.map((fold) => `${fold.name} ×00`), ...facts.rows.filter((_, i) => !this.of.has(i)).map((row) => String(row[0]))];
      table.style.setProperty("--name", names.reduce((most, name) => Math.max(most, name.length), 0));
      const holder = make("div", {}, table);
      this.section.append(tools, holder, this.none, this.more);
      // Only a table of too many columns scrolls by itself: its head does not stay in sight then.
      new ResizeObserver(() => holder.classList.toggle("scrolls", table.scrollWidth > holder.clientWidth + 1)).observe(holder);
      this.search.addEventListener("input", () => this.update(true));
      this.body.addEventListener("click", (event) => this.clicked(event));
      this.more.addEventListener("click", () => this.fill(this.body.children.length + MORE));
      this.update();
    }

    /** How a column looks: numbers to the right, long texts with room; and what a phone leaves out. */
    kind(i) {
      const { columns, details, main, rows } = this.facts;
      if (details.includes(columns[i])) return "detail";
      if (i === 0) return "name";
      const cells = rows.map((row) => row[i]).filter((cell) => cell !== null);
      const sized = cells.length && cells.every((cell) => typeof cell === "number" || cell in NAMED);
      const wide = cells.some((cell) => String(cell).length > WIDE);
      const rest = main.length && !main.includes(columns[i]) ? " rest" : "";
      return (sized ? "number" : wide ? "wide" : "text") + rest;
    }

    texts(i) {
      this.found ??= this.facts.rows.map((row) => row.join("\u0000").toLowerCase());
      return this.found[i];
    }

    choice(column, tools) {
      const index = this.facts.columns.indexOf(column);
      const values = [...new Set(this.facts.rows.map((row) => String(row[index] ?? "")))];
      if (values.length < 2) return null;
      const select = make("select", { "aria-label": `Filter by ${column}` }, make("option", { value: "" }, "all"),
        ...values.filter(Boolean).sort(collator.compare).map((value) => make("option", { value }, value)));
      select.addEventListener("change", () => this.update(true));
      tools.append(make("label", {}, column, select));
      return [index, select];
    }

    head() {
      const row = make("tr");
      this.facts.columns.forEach((column, i) => {
        if (this.kinds[i] === "detail") return;
        const button = make("button", { type: "button" }, column);
        const cell = make("th", { scope: "col", class: this.kinds[i], "aria-sort": "none" }, button);
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

    /** Find what is asked for. What was asked for anew opens the folds that it is in. */
    update(anew = false) {
      this.section.hidden = hidden.has(this.facts.method);
      const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const { rows } = this.facts, { column, sign } = this.sorted;
      const asked = wanted.length > 0 || this.choices.some(([, select]) => select.value);
      const chosen = rows.map((_, i) => i).filter((i) =>
        wanted.every((word) => this.texts(i).includes(word))
        && this.choices.every(([index, select]) => !select.value || String(rows[i][index]) === select.value)
        && !(this.method >= 0 && hidden.has(rows[i][this.method])));
      if (sign) chosen.sort((a, b) => this.compare(size(rows[a][column]), size(rows[b][column]), sign));
      this.groups = new Map(); // what is folded, and what stands alone, in the order of the first
      for (const i of chosen) {
        const key = this.of.has(i) ? `f${this.of.get(i)}` : `r${i}`;
        if (!this.groups.has(key)) this.groups.set(key, []);
        this.groups.get(key).push(i);
      }
      if (anew) this.opened = new Set(asked ? [...this.groups.keys()].filter((key) => key[0] === "f") : []);
      this.count.textContent = `${count(chosen.length)} of ${count(rows.length)}`;
      this.none.hidden = chosen.length > 0;
      this.fill(FIRST);
    }

    /** In which order two cells stand; what is not known stands last either way. */
    compare(a, b, sign) {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" && typeof b === "number" ? (a > b) - (a < b) : collator.compare(a, b));
    }

    /** Make the first lines: folds, the rows of those that are open, the details of open rows. */
    fill(most) {
      const lines = [];
      for (const [key, rows] of this.groups) {
        if (key[0] === "f") lines.push({ key, rows });
        if (key[0] === "f" && this.opened.has(key)) lines.push({ about: key });
        if (key[0] === "r" || this.opened.has(key)) for (const i of rows) {
          lines.push({ key: `r${i}`, member: key[0] === "f" });
          if (this.opened.has(`r${i}`)) lines.push({ about: `r${i}` });
        }
      }
      this.body.replaceChildren(...lines.slice(0, most).map((line) => line.about
        ? this.detail(line.about) : line.rows ? this.fold(line) : this.row(line)).filter(Boolean));
      const left = Math.max(0, lines.length - most);
      this.more.textContent = `Show ${count(Math.min(MORE, left))} of ${count(left)} more`;
      this.more.hidden = !left;
    }

    fold({ key, rows }) {
      const fold = this.facts.folds[key.slice(1)];
      const part = rows.length < fold.rows.length ? `${count(rows.length)} of ${count(fold.rows.length)}` : `×${count(rows.length)}`;
      const worst = ["error", "warning"].find((severity) => rows.some((i) => this.flags.get(this.facts.rows[i][0]) === severity));
      return this.line(key, "fold", fold.name, [null, ...fold.cells], worst, make("span", { class: "times" }, ` ${part}`));
    }

    row({ key, member }) {
      const cells = this.facts.rows[key.slice(1)], name = String(cells[0]);
      return this.line(key, member ? "member" : "", name, cells, this.flags.get(name));
    }

    line(key, kind, name, cells, severity, ...more) {
      const told = this.told(key), opens = kind === "fold" || told.length > 0, open = this.opened.has(key);
      // What only a phone leaves out of the row needs no button elsewhere.
      const narrow = kind !== "fold" && told.every((each) => each[2].endsWith(" rest"));
      const opener = opens
        ? make("button", { type: "button", class: "opener", "aria-expanded": String(open), "aria-label": kind === "fold" ? `Rows of ${name}` : `Details of ${name}` })
        : make("span", { class: "opener" });
      const badge = severity && !this.facts.columns.includes("verdict") ? [make("em", { class: severity }, ` ${severity}`)] : [];
      const row = make("tr", { class: `${kind}${opens ? " openable" : ""}${narrow ? " narrow" : ""}${open ? " open" : ""}`, [kind === "fold" ? "data-fold" : "data-row"]: key.slice(1) });
      this.kinds.forEach((shape, j) => {
        if (shape === "detail") return;
        row.append(make("td", { class: shape }, ...(j ? this.cell(cells[j])
          : [make("div", {}, opener, make("span", {}, ...breakable(name), ...more, ...badge))])));
      });
      return row;
    }

    /** A number or a text; a range may break in its middle. */
    cell(value) {
      const text = number(value);
      if (!Array.isArray(value) || !text.includes("…")) return [text];
      const [least, most] = text.split("…");
      return [`${least}…`, make("wbr"), most].map((part) => typeof part === "string" ? make("span", {}, part) : part);
    }

    /** What an opened line tells: the long texts, and what a phone had no room for; once for a fold. */
    told(key) {
      const { folds, rows, columns, histograms } = this.facts, place = Number(key.slice(1));
      const above = key[0] === "r" ? folds[this.of.get(place)]?.cells : undefined;
      const cells = key[0] === "f" ? [null, ...folds[place].cells] : rows[place];
      const told = columns.map((column, j) => [column, cells[j], this.kinds[j]]).filter(([, cell, kind], j) =>
        cell !== null && cell !== "" && cell !== above?.[j - 1] && (kind === "detail" || kind.endsWith(" rest")));
      if (key[0] === "r" && histograms[place]) told.push(["histogram", histograms[place], "histogram"]);
      return told;
    }

    detail(key) {
      const told = this.told(key), list = make("dl");
      if (!told.length) return null;
      const cell = make("td", { colspan: this.kinds.filter((kind) => kind !== "detail").length });
      let shown = false; // on a wide screen, too
      for (const [name, value, kind] of told) {
        if (kind === "histogram") continue;
        list.append(make("div", { class: kind }, make("dt", {}, name), make("dd", {}, number(value))));
        shown ||= kind === "detail";
      }
      if (list.children.length) cell.append(list);
      const bins = told.find(([, , kind]) => kind === "histogram");
      if (bins) cell.append(histogram(bins[1], this.facts.rows[key.slice(1)][0]));
      return make("tr", { class: `about${shown || bins ? "" : " rest"}` }, cell);
    }

    clicked(event) {
      const row = event.target.closest("tr.openable"), button = row?.querySelector("button.opener");
      // Who selects a name to copy it does not want to open its row.
      if (!row || event.target !== button && getSelection().toString()) return;
      const key = row.dataset.fold === undefined ? `r${row.dataset.row}` : `f${row.dataset.fold}`;
      if (!this.opened.delete(key)) this.opened.add(key);
      this.fill(Math.max(FIRST, this.body.children.length + 1));
      this.open(key)?.focus({ preventScroll: true });
    }

    /** The button of a line. */
    open(key) {
      const [kind, place] = [key[0] === "f" ? "fold" : "row", key.slice(1)];
      return this.body.querySelector(`tr[data-${kind}="${place}"] button.opener`);
    }

    /** Open the row of a layer, or the fold of several, and show it. Returns whether there is one. */
    find(name) {
      const names = [name, `${name}.weight`], { folds, rows } = this.facts;
      const fold = folds.findIndex((each) => names.includes(each.name)), row = rows.findIndex((each) => names.includes(each[0]));
      const key = fold >= 0 ? `f${fold}` : `r${row}`;
      if (fold < 0 && row < 0) return false;
      this.search.value = "";
      for (const [, select] of this.choices) select.value = "";
      this.update(true);
      if (!this.groups.has(key)) this.opened.add(`f${this.of.get(row)}`);
      this.opened.add(key);
      this.fill(Infinity);
      this.open(key)?.focus({ preventScroll: true });
      this.open(key)?.closest("tr").scrollIntoView({ block: "center" });
      return true;
    }

    printed() {
      if (this.body.children.length < PRINTED) this.fill(PRINTED);
    }
  }
