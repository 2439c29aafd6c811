'use strict';
// Everything above the images: what stands where, what is shown, and the ways to the other tools.
(function () {
  const G = globalThis.Gallery;
  const CHIPS = 24; // an axis with more values is filtered by text
  const STRIP = 14; // an axis with more values has a list instead of tabs

  const counted = (n, thing) => `${n.toLocaleString('en')} ${thing}${n === 1 ? '' : 's'}`;

  // What the head says: how many images, in which states, for how much.
  G.summary = (model) => {
    const counts = new Map();
    for (const cell of model.cells) {
      const { word } = G.stateOf(cell.state);
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    const parts = [counted(model.cells.length, 'image')];
    if (counts.size > 1 || !counts.has('stored')) for (const [word, n] of counts) parts.push(`${n.toLocaleString('en')} ${word}`);
    for (const run of model.runs) {
      const name = model.runs.length > 1 ? `${run.title}: ` : '';
      if (run.cost_usd) parts.push(`${name}${run.cost_usd} USD`);
      if (run.left_out) parts.push(`${name}${run.left_out.toLocaleString('en')} more planned, not on this page`);
    }
    return parts.join(' · ');
  };

  G.drawControls = (app, host) => {
    const { model, view } = app;
    const options = (none) => [...(none ? [['-1', none]] : []), ...model.varying.map((a) => [String(a), model.axes[a].name])];
    const inner = (side) => String(view[side].length ? view[side][view[side].length - 1] : -1);
    const grid = view.layout === 'grid';
    const layouts = [
      ['grid', 'Grid', 'grid'],
      ['wall', 'Wall', 'wall'],
    ].map(([name, word, icon]) => G.button(word, icon, () => app.layout(name), { 'aria-pressed': String(view.layout === name), 'data-layout': name }));
    const search = G.el('input', { type: 'search', id: 'search', placeholder: 'Search prompts and notes', 'aria-label': 'Search', value: app.filter.text });
    search.addEventListener('input', () => app.search(search.value));
    const size = G.el('input', { type: 'range', min: 96, max: 420, step: 4, value: view.size ?? 200, 'aria-label': 'Size of the images' });
    size.addEventListener('input', () => app.resize(Number(size.value)));
    const n = G.filterCount(app.filter) - (app.filter.text ? 1 : 0);
    host.replaceChildren(
      G.el('div', { class: 'segmented', role: 'group', 'aria-label': 'Layout' }, ...layouts),
      ...(grid && model.varying.length
        ? [
            G.select('Rows', options('–'), inner('rows'), (value) => app.side('rows', Number(value)), { id: 'rows' }),
            G.button('Swap rows and columns', 'swap', () => app.swap(), { quiet: true, id: 'swap' }),
            G.select('Columns', options('–'), inner('cols'), (value) => app.side('cols', Number(value)), { id: 'cols' }),
          ]
        : []),
      G.el('label', { class: 'field size' }, G.el('span', {}, 'Size'), size),
      G.el('span', { class: 'push' }),
      search,
      G.button(n ? `Filter (${n})` : 'Filter', 'filter', () => app.toggleFilters(), { id: 'filter', 'aria-expanded': String(app.filtersOpen), 'aria-controls': 'filters' }),
    );
  };

  G.drawTools = (app, host) => {
    const count = app.marks.count();
    host.replaceChildren(
      G.button('Blind vote', 'compare', () => G.openVote(app), { id: 'vote' }),
      G.button(count ? `Export ratings (${count})` : 'Export ratings', 'download', () => openExport(app), { id: 'export' }),
    );
  };

  function openExport(app) {
    const name = G.el('input', { type: 'text', id: 'reviewer', value: app.marks.reviewer, maxlength: 80, autocomplete: 'name' });
    const save = G.button('Save ratings.json', 'download', () => {
      app.marks.reviewer = name.value.trim();
      G.exportRatings(app.model, app.marks);
    }, { class: 'button primary', id: 'save-ratings' });
    const votes = app.marks.votes().length;
    const dialog = G.dialog('small', 'Export ratings', [
      G.el('h2', {}, 'Export ratings'),
      G.el('p', {}, `${counted(app.marks.count(), 'rated image')}, ${counted(votes, 'vote')}. ` + (app.marks.persistent ? 'They are kept in this browser only until you export them.' : 'This browser keeps nothing: they are gone when the page is closed.')),
      G.el('label', { class: 'field stacked' }, G.el('span', {}, 'Your name (optional)'), name),
      G.el('p', { class: 'hint' }, 'Then, in the campaign: ', G.el('code', {}, 'seedream-jobs ratings apply ratings.json')),
      G.el('div', { class: 'actions' }, save, G.button('Close', null, () => dialog.close())),
    ]);
  }

  // A group of chips: none pressed means all.
  function chips(name, values, set, counts, app) {
    if (!values.length) return null;
    return G.el(
      'fieldset',
      {},
      G.el('legend', {}, name),
      ...values.map(([value, text]) =>
        G.el(
          'button',
          {
            type: 'button',
            class: 'chip',
            'aria-pressed': String(set.has(value)),
            'data-filter': `${name}=${text}`,
            on: {
              click: (event) => {
                if (!set.delete(value)) set.add(value);
                event.currentTarget.setAttribute('aria-pressed', String(set.has(value)));
                app.refilter();
              },
            },
          },
          text,
          counts ? G.el('span', { class: 'count' }, String(counts.get(value) ?? 0)) : null,
        ),
      ),
    );
  }

  G.drawFilters = (app, host) => {
    const { model, filter } = app;
    const states = new Map();
    for (const cell of model.cells) states.set(G.stateOf(cell.state).word, (states.get(G.stateOf(cell.state).word) ?? 0) + 1);
    const groups = [chips('State', [...states.keys()].map((word) => [word, word]), filter.states, states, app)];
    if (model.difference) {
      const words = { same: 'same image', image: 'new image', request: 'new request', state: 'new state', only: 'in one run only' };
      const counts = new Map();
      for (const kind of model.difference.found) counts.set(kind, (counts.get(kind) ?? 0) + 1);
      groups.push(chips('Between runs', Object.entries(words).filter(([kind]) => counts.has(kind)), filter.difference, counts, app));
    }
    for (const a of model.varying) {
      const { name, values } = model.axes[a];
      if (values.length <= CHIPS) groups.push(chips(name, values.map((label, v) => [v, label]), filter.values[a], null, app));
      else {
        const input = G.el('input', { type: 'search', value: filter.contains[a], placeholder: `one of ${values.length} values`, 'aria-label': `${name} contains` });
        input.addEventListener('input', () => {
          filter.contains[a] = input.value.trim();
          app.refilter();
        });
        groups.push(G.el('fieldset', {}, G.el('legend', {}, name), input));
      }
    }
    const starred = G.el('button', { type: 'button', class: 'chip', 'aria-pressed': String(filter.starred), 'data-filter': 'starred' }, 'starred');
    starred.addEventListener('click', () => {
      filter.starred = !filter.starred;
      starred.setAttribute('aria-pressed', String(filter.starred));
      app.refilter();
    });
    const rated = G.select('rated', [['0', 'or not'], ...[1, 2, 3, 4, 5].map((n) => [String(n), n === 5 ? '5' : `${n} or more`])], String(filter.rating), (value) => {
      filter.rating = Number(value);
      app.refilter();
    });
    groups.push(G.el('fieldset', {}, G.el('legend', {}, 'Review'), starred, rated));
    host.replaceChildren(...groups.filter(Boolean), G.button('Clear all', 'close', () => app.clearFilters(), { id: 'clear' }));
  };

  const PLACES = [
    ['tabs', 'tabs'],
    ['rows', 'groups of rows'],
    ['cols', 'groups of columns'],
    ['inside', 'side by side'],
  ];

  function strip(app, a) {
    const { name, values } = app.model.axes[a];
    const chosen = app.view.tab[a];
    const options = [[-1, 'all'], ...values.map((label, v) => [v, label])];
    if (values.length > STRIP) return G.select('', options.map(([v, text]) => [String(v), text]), String(chosen), (value) => app.tab(a, Number(value)), { 'aria-label': name });
    return G.el(
      'div',
      { class: 'segmented strip', role: 'radiogroup', 'aria-label': name },
      ...options.map(([v, text]) => {
        const input = G.el('input', { type: 'radio', name: `tab-${a}`, value: String(v), checked: v === chosen, on: { change: () => app.tab(a, v) } });
        return G.el('label', { 'data-tab': `${name}=${text}` }, input, G.el('span', {}, text));
      }),
    );
  }

  // One line for each axis that is neither the rows nor the columns: its tabs, and where else it could stand.
  G.drawTabs = (app, host) => {
    const { model, view } = app;
    const primary = [view.rows, view.cols].map((side) => side[side.length - 1]);
    const further = view.layout === 'grid' ? model.varying.filter((a) => !primary.includes(a)) : [];
    host.replaceChildren(
      ...further.map((a) => {
        const { name } = model.axes[a];
        const place = ['tabs', 'rows', 'cols'].find((side) => view[side].includes(a)) ?? 'inside';
        return G.el(
          'div',
          { class: 'tab-line' },
          G.el('span', { class: 'tab-name' }, name),
          place === 'tabs' ? strip(app, a) : null,
          G.select('', PLACES, place, (value) => app.place(a, value), { 'aria-label': `${name} stands as`, class: 'place', 'data-place': name }),
        );
      }),
    );
    host.hidden = !further.length;
  };

  G.drawTray = (app, host) => {
    const cells = [...app.chosen];
    host.hidden = !cells.length;
    host.replaceChildren(
      ...cells.map((cell) => {
        const source = cell.thumbnail ?? cell.image;
        const label = G.labels(app.model, cell) || cell.address;
        return G.el(
          'button',
          { type: 'button', class: 'tray-item', 'aria-label': `Take out ${label}`, title: label, on: { click: () => app.choose(cell) } },
          source ? G.el('img', { src: source, alt: '' }) : G.icon(G.stateOf(cell.state).icon),
        );
      }),
      G.el('span', { class: 'hint' }, cells.length < 2 ? 'Choose another to compare' : ''),
      G.button(`Compare ${cells.length}`, 'compare', () => G.openCompare(app, cells), { disabled: cells.length < 2, class: 'button primary', id: 'compare' }),
      G.button('Clear', 'close', () => app.unchoose(), { quiet: true }),
    );
  };
})();
