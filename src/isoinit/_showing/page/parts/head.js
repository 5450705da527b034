  const REMARKS = 8; // that are shown before one asks for the others
  let refreshRemarks = () => {}, unfold = () => {};

  function showHead() {
    at("title").textContent = page.title;
    at("verdict").textContent = page.verdict;
    at("verdict").className = page.good ? "good" : "bad";
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
    if (!page.verdict && !page.remarks.length) return at("remarks").remove(); // nothing was judged
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
    document.documentElement.classList.add("compared");
    page.methods.forEach((method, index) => {
      const box = make("input", { type: "checkbox", checked: "" });
      const label = make("label", {}, box, swatch(index), method);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(method); else hidden.add(method);
        label.classList.toggle("off", !box.checked);
        refreshRemarks();
        for (const chart of charts) chart.refresh();
        for (const table of tables) table.update();
      });
      at("methods").append(label);
    });
  }
