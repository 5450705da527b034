  // A log scale is a linear one of decades. uPlot has its own, whose ticks fail below 1e-16.

  /** What is drawn of a value: a size as a decade; null where there is a gap. */
  function drawn(value, log) {
    if (typeof value !== "number" || (log && value === 0)) return null;
    return log ? Math.log10(Math.abs(value)) : value;
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
    return finer.find((found) => found.length > 1) ?? finer[2];
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
