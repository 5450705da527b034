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
  // A notebook's frame is low: the table comes first, whole, and the pictures below it.
  if (self !== top) at("overview").before(at("tables"));
  showHead();
  showRemarks();
  showMethods();
  if (page.figure) new Figure(page.figure);
  else at("figure").remove();
  // Without charts the table has the room beside the figure.
  if (page.figure && !page.charts.length && self === top) at("charts").replaceWith(at("tables"));
  for (const facts of page.charts) charts.push(new Chart(facts));
  for (const facts of page.tables) tables.push(new Table(facts));
