'use strict';
// The state of the page in its address, after the #: a reload keeps it, and a link to an image or a filter works.
(function () {
  const G = globalThis.Gallery;

  // "garden/subject=a-heron#1", the second image of a request with ~2 behind it, an earlier generation's with ^1, the second run's with @2.
  const nameOf = (G.nameOf = (cell) => cell.address + (cell.index > 1 ? `~${cell.index}` : '') + (cell.earlier ? `^${cell.earlier}` : '') + (cell.run ? `@${cell.run + 1}` : ''));

  G.cellNamed = (model, name) => {
    if (!model.named) {
      model.named = new Map();
      for (const cell of model.cells) if (!model.named.has(nameOf(cell))) model.named.set(nameOf(cell), cell);
    }
    return model.named.get(name) ?? null;
  };

  const DECIDED = (view) => JSON.stringify([view.rows, view.cols, view.tabs]);

  G.hashOf = (app) => {
    const { model, view, filter } = app;
    const first = G.firstView(model);
    const hash = new URLSearchParams();
    const name = (a) => model.axes[a].name;
    if (view.layout !== first.layout) hash.set('layout', view.layout);
    if (DECIDED(view) !== DECIDED(first)) {
      for (const side of ['rows', 'cols', 'tabs']) hash.set(side, view[side].map((a) => encodeURIComponent(name(a))).join(','));
    }
    for (const a of view.tabs) if (view.tab[a] !== 0) hash.set(`tab.${name(a)}`, view.tab[a] < 0 ? '*' : `=${G.label(model, a, view.tab[a])}`);
    if (view.sort !== 'job') hash.set('sort', view.sort);
    if (view.size) hash.set('size', view.size);
    if (view.folded) hash.set('folded', '1');
    if (filter.text) hash.set('search', filter.text);
    for (const [key, set] of [['state', filter.states], ['between', filter.difference], ['choice', filter.verdicts]]) for (const word of set) hash.append(key, word);
    if (filter.starred) hash.set('starred', '1');
    if (filter.rating) hash.set('rating', filter.rating);
    filter.values.forEach((set, a) => [...set].forEach((v) => hash.append(`is.${name(a)}`, G.label(model, a, v))));
    filter.contains.forEach((text, a) => text && hash.set(`has.${name(a)}`, text));
    if (app.opened) hash.set('open', nameOf(app.opened));
    for (const cell of app.compared) hash.append('compare', nameOf(cell));
    return hash.toString();
  };

  // Sets the view and the filter from an address; what it names and the page lacks is passed over.
  G.applyHash = (app, text) => {
    const { model } = app;
    const hash = new URLSearchParams(text.replace(/^#/, ''));
    const axis = (name) => model.axes.findIndex((one) => one.name === name);
    const view = (app.view = G.firstView(model));
    const filter = (app.filter = G.noFilter(model));
    if (['grid', 'wall'].includes(hash.get('layout'))) view.layout = hash.get('layout');
    if (hash.has('rows') || hash.has('cols')) {
      const taken = new Set();
      for (const side of ['rows', 'cols', 'tabs']) {
        const names = (hash.get(side) ?? '').split(',').map((name) => axis(decode(name)));
        view[side] = names.filter((a) => a >= 0 && !taken.has(a) && taken.add(a));
      }
      view.tab = model.axes.map((_, a) => (view.tabs.includes(a) ? 0 : -1));
    }
    for (const [key, value] of hash) {
      const [kind, ...rest] = key.split('.');
      const a = axis(rest.join('.'));
      if (a < 0) continue;
      const label = model.axes[a].values.indexOf(kind === 'tab' ? value.slice(1) : value);
      if (kind === 'tab' && view.tabs.includes(a)) view.tab[a] = value === '*' ? -1 : Math.max(0, label);
      if (kind === 'is' && label >= 0) filter.values[a].add(label);
      if (kind === 'has') filter.contains[a] = value;
    }
    if (Object.keys(G.SORTS).includes(hash.get('sort'))) view.sort = hash.get('sort');
    const size = Number(hash.get('size'));
    if (size >= 48 && size <= 1200) view.size = size;
    view.folded = hash.get('folded') === '1';
    filter.text = hash.get('search') ?? '';
    hash.getAll('state').forEach((word) => filter.states.add(word));
    hash.getAll('between').forEach((word) => model.changes.has(word) && filter.difference.add(word));
    hash.getAll('choice').forEach((word) => filter.verdicts.add(word));
    filter.starred = hash.get('starred') === '1';
    filter.rating = Math.min(5, Math.max(0, Number(hash.get('rating')) || 0));
    return {
      open: hash.has('open') ? G.cellNamed(model, hash.get('open')) : null,
      lost: hash.has('open') && !G.cellNamed(model, hash.get('open')),
      compare: hash.getAll('compare').map((name) => G.cellNamed(model, name)).filter(Boolean).slice(0, 4),
    };
  };

  function decode(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return '';
    }
  }

  let waiting = null;
  // Browsers refuse a page that writes its address many times a second: what is typed is written when it rests.
  G.writeHash = (app, now = false) => {
    clearTimeout(waiting);
    const write = () => {
      const text = G.hashOf(app);
      if (text === location.hash.replace(/^#/, '')) return;
      try {
        history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
      } catch {
        app.wrote = `#${text}`;
        location.replace(`#${text}`);
      }
    };
    if (now) write();
    else waiting = setTimeout(write, 120);
  };
})();
