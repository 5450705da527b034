  const page = JSON.parse(document.getElementById("data").textContent);
  // Six colours apart for most eyes, in both themes (--c0 to --c5); dashes tell apart further curves.
  const COLOURS = 6, DASHES = [[], [7, 4], [2, 3]], LINES = ["solid", "dashed", "dotted"];
  const hidden = new Set(); // the methods that are switched off
  const muted = new Set(); // the entries of legends that are: kinds, groups, bands
  const charts = [], tables = [];

  /** An element with attributes and children; text becomes text, never HTML. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** The same for what is drawn. */
  function draw(tag, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const at = (id) => document.getElementById(id);
  const dash = (index) => Math.floor(index / COLOURS) % DASHES.length;
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => variable(`--c${index % COLOURS}`);
  const count = (value) => value.toLocaleString("en");

  function number(value, digits = 4) {
    if (value === null || value === undefined) return "";
    if (Array.isArray(value)) { // the least and the largest of several
      const [least, most] = value.map((each) => number(each, Math.min(digits, 3)));
      return least === most ? least : `${least}…${most}`;
    }
    if (typeof value === "string") return value;
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (Number.isInteger(value) && size < 1e9) return count(value);
    return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
  }

  /** What stands for a line in a legend. */
  function swatch(index, line = dash(index)) {
    const mark = make("span", { class: "swatch", "aria-hidden": "true" });
    mark.style.borderColor = `var(--c${index % COLOURS})`;
    mark.style.borderTopStyle = LINES[line];
    return mark;
  }

  /** The parts of a name: they end with a dot, or with the slash of a path. */
  const parted = (name) => name.split(/(?<=[./])/);

  /** A name that may break after its parts. */
  const breakable = (name) => parted(name).flatMap((part) => [make("wbr"), part]);

  /** Names without the beginning that all of them share. */
  function shortened(names) {
    const parts = parted(names[0] ?? "").slice(0, -1);
    while (parts.length && !names.every((name) => name.startsWith(parts.join("")))) parts.pop();
    const start = parts.join("");
    return (name) => names.length > 1 && name.startsWith(start) ? name.slice(start.length) : name;
  }

  /** The severity of the worst finding about each name. */
  function flagged() {
    const found = new Map();
    for (const remark of page.remarks.filter((each) => !hidden.has(each.method)))
      for (const name of remark.where)
        if (found.get(name) !== "error") found.set(name, remark.severity);
    return found;
  }
