  /** Bars, and over them what the values were meant to be drawn from. */
  function histogram(bins, name) {
    const width = 460, height = 120, base = height + 22, text = (attributes, said) => draw("text", attributes, said);
    const total = bins.counts.reduce((sum, n) => sum + n, 0), plan = bins.planned;
    const told = `Histogram of ${name}: ${count(total)} values from ${number(bins.low)} to ${number(bins.high)}`;
    const svg = draw("svg", { class: "histogram", viewBox: `0 0 ${width} ${height + 40}`, role: "img",
      "aria-label": plan ? `${told}; ${plan.label}` : told });
    // The plan's three standard deviations fit in, so that values that are too small are seen to be.
    const least = plan ? Math.min(bins.low, plan.mean - 3 * plan.std) : bins.low;
    const most = plan ? Math.max(bins.high, plan.mean + 3 * plan.std) : bins.high;
    const x = (value) => most > least ? (value - least) / (most - least) * width : width / 2;
    const step = (bins.high - bins.low) / bins.counts.length;
    const curve = plan && plan.form && plan.std > 0 && step > 0 ? density(plan, total * step, least, most) : [];
    const highest = Math.max(...bins.counts, ...curve.map(([, n]) => n), 1), y = (n) => base - n / highest * height;
    bins.counts.forEach((n, i) => {
      const low = bins.low + i * step, high = low + step, wide = Math.max(x(high) - x(low) - 1, 1);
      const bar = draw("rect", { x: step ? x(low) + 0.5 : width / 2 - 3, width: step ? wide : 6, y: y(n), height: base - y(n) });
      bar.append(draw("title", {}, `${number(low)} to ${number(high)}: ${count(n)}`));
      svg.append(bar);
    });
    svg.append(draw("line", { x1: 0, x2: width, y1: base, y2: base }));
    if (curve.length) svg.append(draw("polyline", { points: curve.map(([v, n]) => `${x(v)},${y(n)}`).join(" ") }));
    if (plan && plan.std > 0) for (const [sign, said] of [[-1, "−std"], [1, "+std"]]) {
      const place = x(plan.mean + sign * plan.std);
      svg.append(draw("line", { class: "std", x1: place, x2: place, y1: 18, y2: base }),
        text({ class: "std", x: place, y: 12, "text-anchor": "middle" }, said));
    }
    svg.append(text({ x: 0, y: base + 14 }, number(least)), text({ x: width, y: base + 14, "text-anchor": "end" }, number(most)));
    const middle = plan ? plan.label : `${count(total)} values`;
    svg.append(text({ x: width / 2, y: base + 14, "text-anchor": "middle", ...(plan ? { class: "std" } : {}) }, middle));
    return svg;
  }

  /** How many values in a bin the plan expects, along the axis. */
  function density({ mean, std, form }, scale, least, most) {
    if (form === "uniform") {
      const half = Math.sqrt(3) * std, level = scale / (2 * half);
      return [[mean - half, 0], [mean - half, level], [mean + half, level], [mean + half, 0]];
    }
    return Array.from({ length: 121 }, (_, i) => {
      const value = least + (most - least) * i / 120;
      return [value, scale / (std * Math.sqrt(2 * Math.PI)) * Math.exp(-(((value - mean) / std) ** 2) / 2)];
    });
  }
