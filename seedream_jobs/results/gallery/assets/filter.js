'use strict';
// Which cells are shown, and in which order: search, filter and sort over all tabs. No DOM.
(function () {
  const G = globalThis.Gallery;

  G.noFilter = (model) => ({
    text: '',
    states: new Set(),
    values: model.axes.map(() => new Set()),
    contains: model.axes.map(() => ''),
    difference: new Set(),
    verdicts: new Set(),
    starred: false,
    rating: 0,
  });

  G.filterCount = (filter) =>
    (filter.text ? 1 : 0) + (filter.states.size ? 1 : 0) + (filter.difference.size ? 1 : 0) + (filter.verdicts.size ? 1 : 0) +
    (filter.starred ? 1 : 0) + (filter.rating ? 1 : 0) + filter.values.filter((set) => set.size).length + filter.contains.filter(Boolean).length;

  // What is known of an image: one's own mark where there is one, else what the reviews say.
  G.ratingOf = (app, cell) => app.marks.of(cell)?.rating || cell.opinion?.rating || 0;
  G.verdictOf = (app, cell) => {
    const own = app.marks.of(cell)?.verdict;
    return own === undefined ? (cell.choice?.verdict ?? '') : own;
  };

  const haystack = (model, cell) =>
    [cell.prompt, cell.address, cell.task, cell.error, ...(cell.opinion?.notes ?? []).map((one) => one.note), cell.choice?.why, ...cell.at.map((v, a) => (v < 0 ? '' : model.axes[a].values[v]))]
      .join('\n')
      .toLowerCase();

  function contains(model, cell, words, mark) {
    cell.text ??= haystack(model, cell);
    const text = mark?.note || mark?.why ? `${cell.text}\n${mark.note ?? ''}\n${mark.why ?? ''}`.toLowerCase() : cell.text;
    return words.every((word) => text.includes(word));
  }

  // The cells that pass, whatever tab they stand on.
  G.filterCells = (app) => {
    const { model, filter, marks } = app;
    if (!G.filterCount(filter)) return model.cells;
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const valued = filter.values.map((set, a) => [a, set]).filter(([, set]) => set.size);
    const containing = filter.contains.map((text, a) => [a, text.toLowerCase()]).filter(([, text]) => text);
    return model.cells.filter((cell) => {
      if (filter.states.size && !filter.states.has(G.stateOf(cell.state).word)) return false;
      for (const [a, set] of valued) if (!set.has(cell.at[a])) return false;
      for (const [a, text] of containing) if (!G.label(model, a, cell.at[a]).toLowerCase().includes(text)) return false;
      if (filter.difference.size && !filter.difference.has(cell.change)) return false;
      if (filter.starred && !marks.of(cell)?.star && !cell.opinion?.stars) return false;
      if (filter.rating && G.ratingOf(app, cell) < filter.rating) return false;
      if (filter.verdicts.size && !filter.verdicts.has(G.verdictOf(app, cell) || 'undecided')) return false;
      return !words.length || contains(model, cell, words, marks.any ? marks.of(cell) : null);
    });
  };

  G.onTab = (cells, view) => {
    const fixed = view.tabs.filter((a) => view.tab[a] >= 0);
    return fixed.length ? cells.filter((cell) => fixed.every((a) => cell.at[a] === view.tab[a])) : cells;
  };

  // For each tab of an axis how many of the cells stand on it, on whatever tabs of the other axes.
  G.tabCounts = (model, cells, a) => {
    const counts = new Array(model.axes[a].values.length).fill(0);
    for (const cell of cells) if (cell.at[a] >= 0) counts[cell.at[a]]++;
    return counts;
  };

  G.SORTS = {
    job: ['order of the job', null],
    rating: ['rating', (app) => (cell) => G.ratingOf(app, cell)],
    cost: ['cost', () => (cell) => Number(cell.cost ?? 0)],
    time: ['time', () => (cell) => cell.submitted ?? 0],
    size: ['pixels', () => (cell) => (cell.width ?? 0) * (cell.height ?? 0)],
  };

  // The greatest first, equals in the order of the job.
  G.sorted = (app, cells) => {
    const by = G.SORTS[app.view.sort][1]?.(app);
    if (!by) return cells;
    const value = new Map(cells.map((cell) => [cell, by(cell)]));
    return [...cells].sort((a, b) => value.get(b) - value.get(a) || a.i - b.i);
  };
})();
