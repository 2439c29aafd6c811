'use strict';
// The data as the page works with it: cells, axes, and the pivot of any axes against any others. No DOM.
(function () {
  const G = globalThis.Gallery;

  // :known finds the cell on the page that is the same as a new one.
  G.load = (raw, known = () => null) => {
    const { header, cells: read } = G.readCells(raw);
    const cells = read.map((newer) => {
      const cell = known(newer);
      return cell ? G.renewCell(cell, newer) : newer;
    });
    const runAxis = header.axes.findIndex((axis) => axis.kind === 'run');
    const model = { ...header, cells, runAxis };
    for (const axis of header.axes) axis.short = distinctive(axis.values);
    model.varying = header.axes.map((axis, a) => a).filter((a) => header.axes[a].values.length > 1);
    model.aspect = aspectOf(cells);
    for (const cell of cells) cell.ratio = ratioOf(cell, model.aspect);
    model.changes = header.runs.length > 1 ? changes(cells) : new Map();
    return model;
  };

  // The middle of the images' ratios of width to height, for slots whose image is not there yet.
  function aspectOf(cells) {
    const ratios = [];
    for (const cell of cells) if (cell.width && cell.height) ratios.push(cell.width / cell.height);
    ratios.sort((a, b) => a - b);
    return ratios.length ? ratios[ratios.length >> 1] : 1;
  }

  function ratioOf(cell, fallback) {
    let ratio = cell.width && cell.height ? cell.width / cell.height : 0;
    if (!ratio) {
      const asked = /^(\d{1,5})\s*[:x×*]\s*(\d{1,5})$/.exec(String(cell.params.size ?? ''));
      ratio = asked ? asked[1] / asked[2] : fallback;
    }
    return Math.min(4, Math.max(0.25, ratio || 1));
  }

  const LONG = 22; // characters that fit beside a picture

  // Labels cut down to the part that tells each from its neighbours in the alphabet, where they are long.
  function distinctive(values) {
    const short = [...values];
    const order = values.map((_, v) => v).sort((a, b) => (values[a] < values[b] ? -1 : 1));
    const shared = (a, b) => {
      let n = 0;
      while (n < a.length && a[n] === b[n]) n++;
      return n;
    };
    order.forEach((v, n) => {
      const text = values[v];
      if (text.length <= LONG) return;
      const same = Math.max(n ? shared(text, values[order[n - 1]]) : 0, n + 1 < order.length ? shared(text, values[order[n + 1]]) : 0);
      const from = text.lastIndexOf(' ', same) + 1;
      if (from > LONG / 2) short[v] = '…' + text.slice(from);
    });
    return short;
  }

  // The words of `seedream-jobs compare`, in its order, each with how many requests it is said of.
  const CHANGES = ['new image', 'new request', 'gone', 'equal', 'no image'];
  function changes(cells) {
    const counts = new Map(CHANGES.map((word) => [word, 0]));
    for (const cell of cells) {
      // A request of two runs is counted in the later one, a group of images once.
      if (cell.change && cell.index === 1 && !(cell.pair > cell.i)) counts.set(cell.change, counts.get(cell.change) + 1);
    }
    return new Map([...counts].filter(([, n]) => n));
  }

  G.partnerOf = (model, cell) => (cell.pair === null ? undefined : model.cells[cell.pair]);

  // The other images of the same request, by their generation, the latest first.
  G.generationsOf = (model, cell) =>
    model.axes.some((axis) => axis.kind === 'generation')
      ? model.cells.filter((one) => one.key === cell.key && one.run === cell.run && one.index === cell.index)
      : [cell];

  G.when = (cell) => (cell.submitted ? `${new Date(cell.submitted * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC` : null);

  G.label = (model, a, value) => (value < 0 ? '–' : model.axes[a].values[value]);

  // "spring · ink", each cut down to what differs: for captions
  G.caption = (model, cell, axes = model.varying) =>
    axes.filter((a) => cell.at[a] >= 0).map((a) => model.axes[a].short[cell.at[a]]).join(' · ');

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
      sort: 'job',
      folded: false,
      rows,
      cols,
      tabs,
      tab: model.axes.map((axis, a) => (tabs.includes(a) ? 0 : -1)),
      size: null, // pixels across one image; null fits the window
    };
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
    const slot = (r, c) => slots.get(r * width + c);
    const row = (r) => cols.list.flatMap((_, c) => slot(r, c) ?? []);
    const col = (c) => rows.list.flatMap((_, r) => slot(r, c) ?? []);
    return { rows: rows.list, cols: cols.list, deepest, slot, row, col };
  };

  // The number of the last of ascending numbers that is not above `y`; 0 where all are.
  G.lastBefore = (ascending, y) => {
    let [low, high] = [0, ascending.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (ascending[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  };

  function byPlace(a, b) {
    for (let n = 0; n < a.at.length; n++) if (a.at[n] !== b.at[n]) return a.at[n] - b.at[n];
    return a.i - b.i;
  }

  // The next cell along one axis that is allowed, all other values equal.
  G.step = (model, cell, a, direction, allowed) => {
    if (!model.places) {
      model.places = new Map();
      for (const one of model.cells) model.places.set(one.at.join(','), one);
    }
    const at = [...cell.at];
    for (at[a] += direction; at[a] >= 0 && at[a] < model.axes[a].values.length; at[a] += direction) {
      const found = model.places.get(at.join(','));
      if (found && allowed(found)) return found;
    }
    return null;
  };
})();
