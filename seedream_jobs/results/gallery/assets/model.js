'use strict';
// The data as the page works with it: cells, axes, filters, and the pivot of any axes against any others. No DOM.
(function () {
  const G = globalThis.Gallery;

  G.load = (raw) => {
    const header = JSON.parse(raw.header);
    const runAxis = header.axes.findIndex((axis) => axis.kind === 'run');
    const cells = raw.cells.map((line, i) => {
      const cell = JSON.parse(line);
      cell.i = i;
      cell.id = cell.key + '/' + cell.index;
      cell.params = header.payloads[cell.payload];
      cell.pair = cell.at.filter((_, axis) => axis !== runAxis).join(',');
      return cell;
    });
    const model = { ...header, cells, runAxis, places: new Map() };
    for (const cell of cells) model.places.set(cell.at.join(','), cell);
    model.varying = header.axes.map((axis, a) => a).filter((a) => header.axes[a].values.length > 1);
    model.aspect = aspectOf(cells);
    model.difference = runAxis >= 0 && header.runs.length === 2 ? differences(model) : null;
    return model;
  };

  // The middle of the images' ratios of width to height, kept from extremes: every slot of the page has this shape.
  function aspectOf(cells) {
    const ratios = [];
    for (const cell of cells) if (cell.width && cell.height) ratios.push(cell.width / cell.height);
    ratios.sort((a, b) => a - b);
    return ratios.length ? Math.min(1.78, Math.max(0.66, ratios[ratios.length >> 1])) : 1;
  }

  // Run against run: what became of each pair of equal places. Per cell: same, image, request, state, only.
  function differences(model) {
    const pairs = new Map();
    for (const cell of model.cells) {
      const pair = pairs.get(cell.pair);
      if (pair) pair[cell.run] = cell;
      else pairs.set(cell.pair, cell.run ? [undefined, cell] : [cell, undefined]);
    }
    const found = new Array(model.cells.length);
    for (const [a, b] of pairs.values()) {
      const kind = !a || !b ? 'only' : kindOf(a, b);
      if (a) found[a.i] = kind;
      if (b) found[b.i] = kind;
    }
    return { pairs, found };
  }

  function kindOf(a, b) {
    if (a.key !== b.key || a.prompt !== b.prompt || a.payload !== b.payload) return 'request';
    if (a.state !== b.state) return 'state';
    return a.sha256 === b.sha256 ? 'same' : 'image';
  }

  G.partnerOf = (model, cell) => model.difference?.pairs.get(cell.pair)?.[1 - cell.run];

  G.label = (model, a, value) => (value < 0 ? '–' : model.axes[a].values[value]);

  // "season: spring, style: ink", of the axes that vary
  G.labels = (model, cell, axes = model.varying) =>
    axes.filter((a) => cell.at[a] >= 0).map((a) => `${model.axes[a].name}: ${G.label(model, a, cell.at[a])}`).join(', ');

  const EASY = 16; // as many rows are still taken in by scrolling; more are put on tabs

  // Where the axes stand at first: the first that varies as rows, the last short one as columns; others group the
  // rows while these stay few, and are tabs beyond that.
  G.firstView = (model) => {
    const free = model.varying.filter((a) => model.axes[a].kind === 'axis');
    const short = free.filter((a) => model.axes[a].values.length <= 16);
    const cols = free.length > 1 ? [short.length ? short[short.length - 1] : free[free.length - 1]] : [];
    const rest = free.filter((a) => !cols.includes(a));
    const rows = rest.slice(0, 1);
    const tabs = [];
    let height = rows.length ? model.axes[rows[0]].values.length : 1;
    for (const a of rest.slice(1)) {
      height *= model.axes[a].values.length;
      if (height <= EASY) rows.push(a);
      else tabs.push(a);
    }
    return {
      layout: cols.length && rows.length ? 'grid' : 'wall',
      rows,
      cols,
      tabs,
      tab: model.axes.map((axis, a) => (tabs.includes(a) ? 0 : -1)),
      size: null, // pixels across one image; null fits the window
    };
  };

  G.noFilter = (model) => ({
    text: '',
    states: new Set(),
    values: model.axes.map(() => new Set()),
    contains: model.axes.map(() => ''),
    difference: new Set(),
    starred: false,
    rating: 0,
  });

  G.filterCount = (filter) =>
    (filter.text ? 1 : 0) + (filter.states.size ? 1 : 0) + (filter.difference.size ? 1 : 0) + (filter.starred ? 1 : 0) +
    (filter.rating ? 1 : 0) + filter.values.filter((set) => set.size).length + filter.contains.filter(Boolean).length;

  const haystack = (model, cell) =>
    [cell.prompt, cell.address, cell.task, cell.error, ...cell.at.map((v, a) => (v < 0 ? '' : model.axes[a].values[v]))]
      .join('\n')
      .toLowerCase();

  // The cells that pass, whatever tab they stand on.
  G.filterCells = (model, filter, marks) => {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const valued = filter.values.map((set, a) => [a, set]).filter(([, set]) => set.size);
    const containing = filter.contains.map((text, a) => [a, text.toLowerCase()]).filter(([, text]) => text);
    return model.cells.filter((cell) => {
      if (filter.states.size && !filter.states.has(G.stateOf(cell.state).word)) return false;
      for (const [a, set] of valued) if (!set.has(cell.at[a])) return false;
      for (const [a, text] of containing) if (!G.label(model, a, cell.at[a]).toLowerCase().includes(text)) return false;
      if (filter.difference.size && !filter.difference.has(model.difference.found[cell.i])) return false;
      const mark = filter.starred || filter.rating || words.length ? marks.get(cell.id) : null;
      if (filter.starred && !mark?.star) return false;
      if (filter.rating && !(mark?.rating >= filter.rating)) return false;
      if (words.length) {
        cell.text = cell.text ?? haystack(model, cell);
        const text = mark?.note ? cell.text + '\n' + mark.note.toLowerCase() : cell.text;
        for (const word of words) if (!text.includes(word)) return false;
      }
      return true;
    });
  };

  G.onTab = (cells, view) => {
    const fixed = view.tabs.filter((a) => view.tab[a] >= 0);
    return fixed.length ? cells.filter((cell) => fixed.every((a) => cell.at[a] === view.tab[a])) : cells;
  };

  // Lines along one side: the tuples of values that occur, in the order of the axes.
  function lines(model, cells, axes) {
    const rank = (cell) => axes.reduce((sum, a) => sum * (model.axes[a].values.length + 1) + cell.at[a] + 1, 0);
    const ranks = cells.map(rank);
    const order = [...new Set(ranks)].sort((a, b) => a - b);
    const number = new Map(order.map((value, n) => [value, n]));
    const list = new Array(order.length);
    ranks.forEach((value, n) => (list[number.get(value)] = list[number.get(value)] ?? axes.map((a) => cells[n].at[a])));
    return { list, of: ranks.map((value) => number.get(value)) };
  }

  // Rows against columns; what is on neither side stands together in one slot, in the order of the job.
  G.pivot = (model, cells, view) => {
    const rows = lines(model, cells, view.rows);
    const cols = lines(model, cells, view.cols);
    const width = cols.list.length;
    const slots = new Map();
    let deepest = 1;
    cells.forEach((cell, n) => {
      const place = rows.of[n] * width + cols.of[n];
      const slot = slots.get(place);
      if (slot) deepest = Math.max(deepest, slot.push(cell));
      else slots.set(place, [cell]);
    });
    for (const slot of slots.values()) if (slot.length > 1) slot.sort((a, b) => byPlace(a, b));
    return { rows: rows.list, cols: cols.list, deepest, slot: (r, c) => slots.get(r * width + c) };
  };

  function byPlace(a, b) {
    for (let n = 0; n < a.at.length; n++) if (a.at[n] !== b.at[n]) return a.at[n] - b.at[n];
    return a.i - b.i;
  }

  // The next cell along one axis that is in `allowed`, all other values equal.
  G.step = (model, cell, a, direction, allowed) => {
    const at = [...cell.at];
    for (at[a] += direction; at[a] >= 0 && at[a] < model.axes[a].values.length; at[a] += direction) {
      const found = model.places.get(at.join(','));
      if (found && allowed.has(found)) return found;
    }
    return null;
  };
})();
