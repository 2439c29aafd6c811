'use strict';
// Everything above the images: what stands where, what is shown, and the ways to the other tools.
(function () {
  const G = globalThis.Gallery;
  const STRIP = 14; // an axis with more values has a list instead of tabs

  const hasImage = (cell) => Boolean(cell.sha256 || cell.image || cell.thumbnail);
  const requestOf = (cell) => `${cell.run} ${cell.key}`;

  const CHANGED = {
    'new image': ['{n} new image', '{n} new images'],
    'new request': ['{n} new request', '{n} new requests'],
    gone: ['{n} gone', '{n} gone'],
    equal: ['{n} equal', '{n} equal'],
    'no image': ['{n} without an image', '{n} without an image'],
  };

  // What the head says. Images are images, requests are requests; money is charged, reserved or play money.
  G.summary = (model) => {
    const requests = new Map(); // → the word for its state
    let [images, missing] = [0, 0];
    for (const cell of model.cells) {
      if (hasImage(cell)) images++;
      if (cell.state === 'not_delivered') missing++;
      const { said } = G.stateOf(cell.state === 'not_delivered' ? 'stored' : cell.state);
      if (!cell.earlier) requests.set(requestOf(cell), said);
    }
    const counts = new Map();
    for (const said of requests.values()) counts.set(said, (counts.get(said) ?? 0) + 1);
    const parts = [G.t('{images} of {requests}', { images: G.count(images, '{n} image', '{n} images'), requests: G.count(requests.size, '{n} request', '{n} requests') })];
    if (counts.size > 1 || !counts.has(G.t('stored'))) for (const [said, n] of counts) parts.push(`${n.toLocaleString('en')} ${said}`);
    if (missing) parts.push(G.count(missing, '{n} image not delivered', '{n} images not delivered'));
    for (const [word, n] of model.changes) parts.push(G.count(n, ...CHANGED[word]));
    for (const run of model.runs) {
      const name = model.runs.length > 1 ? `${run.title}: ` : '';
      if (run.left_out) parts.push(name + G.t('{n} more planned, not on this page', { n: run.left_out.toLocaleString('en') }));
      if (run.orphans) parts.push(name + G.t('{n} images that the job no longer makes: gallery --with-orphans', { n: run.orphans.toLocaleString('en') }));
      if (run.charged_usd) parts.push(name + G.t(run.play_money ? '{usd} USD of play money' : '{usd} USD charged', { usd: run.charged_usd }));
      if (run.reserved_usd) parts.push(name + G.t(run.play_money ? '{usd} USD of play money reserved' : '{usd} USD reserved', { usd: run.reserved_usd }));
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
    ].map(([name, word, icon]) => G.button(G.t(word), icon, () => app.layout(name), { 'aria-pressed': String(view.layout === name), 'data-layout': name }));
    const search = G.el('input', { type: 'search', id: 'search', placeholder: G.t('Search prompts and notes'), 'aria-label': G.t('Search'), value: app.filter.text });
    search.addEventListener('input', () => app.search(search.value));
    search.addEventListener('keydown', (event) => event.key === 'Enter' && app.nextMatch());
    const size = G.el('input', { type: 'range', min: 96, max: 420, step: 4, value: view.size ?? 200, 'aria-label': G.t('Size of the images') });
    size.addEventListener('input', () => app.resize(Number(size.value)));
    const n = G.filterCount(app.filter) - (app.filter.text ? 1 : 0);
    host.replaceChildren(
      G.el('div', { class: 'segmented', role: 'group', 'aria-label': G.t('Layout') }, ...layouts),
      ...(grid && model.varying.length
        ? [
            G.select(G.t('Rows'), options('–'), inner('rows'), (value) => app.side('rows', Number(value)), { id: 'rows' }),
            G.button(G.t('Swap rows and columns'), 'swap', () => app.swap(), { quiet: true, id: 'swap' }),
            G.select(G.t('Columns'), options('–'), inner('cols'), (value) => app.side('cols', Number(value)), { id: 'cols' }),
          ]
        : []),
      G.select(G.t('Sort'), Object.entries(G.SORTS).map(([value, [text]]) => [value, G.t(text)]), view.sort, (value) => app.sort(value), { id: 'sort' }),
      G.el('label', { class: 'field size' }, G.el('span', {}, G.t('Size')), size),
      G.el('span', { class: 'push' }),
      G.el('span', { id: 'matches', class: 'hint' }),
      search,
      G.button(n ? `${G.t('Filter')} (${n})` : G.t('Filter'), 'filter', () => app.toggleFilters(), { id: 'filter', 'aria-expanded': String(app.filtersOpen), 'aria-controls': 'filters' }),
    );
    G.drawMatches(app, document.getElementById('matches'));
  };

  // How many images the search and the filter let through, and how many of them stand on other tabs.
  G.drawMatches = (app, host) => {
    if (!host) return;
    const others = app.passing.length - app.cells.length;
    if (!G.filterCount(app.filter)) return host.replaceChildren();
    host.replaceChildren(
      G.t('{n} here', { n: app.cells.length.toLocaleString('en') }),
      others ? G.button(G.t('{n} on other tabs', { n: others.toLocaleString('en') }), 'right', () => app.nextMatch(), { title: `${G.t('Next match')} (n)`, id: 'others' }) : '',
    );
  };

  G.drawTools = (app, host) => {
    const ratings = G.button('', 'download', () => openExport(app), { id: 'export' });
    host.replaceChildren(
      G.button(G.t('Blind vote'), 'compare', () => G.openVote(app), { id: 'vote' }),
      G.button(G.t('Scores'), 'table', () => G.openScores(app), { id: 'scores' }),
      G.refreshed(ratings, () => {
        const count = app.marks.count();
        ratings.querySelector('.word').textContent = count ? `${G.t('Export ratings')} (${count})` : G.t('Export ratings');
      }),
      G.button(G.t('Light or dark'), 'theme', () => G.nextTheme(app), { quiet: true, id: 'theme' }),
      G.button(G.t('Keys'), 'question', () => G.openHelp(), { quiet: true, id: 'help' }),
      G.button(G.t('Fold the controls away'), 'fold', () => app.fold(), { quiet: true, id: 'fold' }),
    );
  };

  function openExport(app) {
    const name = G.el('input', { type: 'text', id: 'reviewer', value: app.marks.reviewer, maxlength: 80, autocomplete: 'name' });
    const chosen = app.marks.anyChoice();
    const runs = [...new Map(app.model.runs.map((run) => [run.name, run])).values()]; // one of each job
    const file = (run) => G.ratingsFile(app.model, run.name);
    const save = (run, n) => G.button(G.t('Save {file}', { file: file(run) }), 'download', () => {
      app.marks.reviewer = name.value.trim();
      if (chosen && !app.marks.reviewer) {
        G.toast(G.t('Give your name: a choice is by somebody'));
        return name.focus();
      }
      return G.exportRatings(app.model, app.marks, run.name);
    }, { class: 'button primary', id: n ? null : 'save-ratings' });
    const then = (text, command) => G.el('p', { class: 'hint' }, G.t(text), ...runs.flatMap((run) => [' ', G.el('code', {}, command(run))]));
    const votes = app.marks.votes().length;
    const dialog = G.dialog('small', G.t('Export ratings'), [
      G.el('h2', {}, G.t('Export ratings')),
      G.el('p', {}, `${G.count(app.marks.count(), '{n} image judged', '{n} images judged')}, ${G.count(votes, '{n} vote', '{n} votes')}. ` + G.t(app.marks.persistent ? 'They are kept in this browser only until you export them.' : 'This browser keeps nothing: they are gone when the page is closed.')),
      G.el('label', { class: 'field stacked' }, G.el('span', {}, G.t(chosen ? 'Your name' : 'Your name (optional)')), name),
      then('Then, in the campaign:', (run) => `seedream-jobs ratings apply ${file(run)}`),
      chosen ? then('And for what is chosen or rejected:', (run) => `seedream-jobs choose JOB ${file(run)}${run.play_money ? ' --emulator' : ''}`) : null,
      G.el('div', { class: 'actions' }, ...runs.map(save), G.button(G.t('Close'), null, () => dialog.close())),
    ]);
  }

  const PLACES = [
    ['tabs', 'tabs'],
    ['rows', 'groups of rows'],
    ['cols', 'groups of columns'],
    ['inside', 'side by side'],
  ];

  function strip(app, a) {
    const { name, values } = app.model.axes[a];
    const chosen = app.view.tab[a];
    const options = [[-1, G.t('all')], ...values.map((label, v) => [v, label])];
    if (values.length > STRIP || app.crowded) return G.select('', options.map(([v, text]) => [String(v), text]), String(chosen), (value) => app.tab(a, Number(value)), { 'aria-label': name, 'data-tabs': a });
    return G.el(
      'div',
      { class: 'segmented strip', role: 'radiogroup', 'aria-label': name, 'data-tabs': a },
      ...options.map(([v, text]) => {
        const input = G.el('input', { type: 'radio', name: `tab-${a}`, value: String(v), checked: v === chosen, on: { change: () => app.tab(a, v) } });
        return G.el('label', { 'data-tab': `${name}=${text}`, 'data-value': v }, input, G.el('span', {}, text, G.el('b', { class: 'count' })));
      }),
    );
  }

  // One line for each axis that is neither the rows nor the columns: its tabs, and where else it could stand.
  G.drawTabs = (app, host) => {
    const { model, view } = app;
    const primary = [view.rows, view.cols].map((side) => side[side.length - 1]);
    const further = view.layout === 'grid' ? model.varying.filter((a) => !primary.includes(a)) : [];
    // Many tabs in one line would be scrolled past: then each axis is a list.
    app.crowded = further.reduce((sum, a) => sum + (view.tabs.includes(a) ? model.axes[a].values.join('').length + 4 * model.axes[a].values.length : 12), 0) > innerWidth / 9;
    host.replaceChildren(
      ...further.map((a) => {
        const { name } = model.axes[a];
        const place = ['tabs', 'rows', 'cols'].find((side) => view[side].includes(a)) ?? 'inside';
        return G.el(
          'div',
          { class: 'tab-line' },
          G.el('span', { class: 'tab-name' }, name),
          place === 'tabs' ? strip(app, a) : null,
          G.select('', PLACES.map(([value, text]) => [value, G.t(text)]), place, (value) => app.place(a, value), { 'aria-label': G.t('{name} stands as', { name }), class: 'place', 'data-place': name }),
        );
      }),
    );
    host.hidden = !further.length;
  };

  // While something is searched or filtered each tab says how many matches stand on it.
  G.drawTabCounts = (app, host) => {
    const filtered = G.filterCount(app.filter) > 0;
    for (const strip of host.querySelectorAll('[data-tabs]')) {
      const a = Number(strip.dataset.tabs);
      const { values } = app.model.axes[a];
      const counts = filtered ? G.tabCounts(app.model, app.passing, a) : null;
      const said = (v) => (counts ? (v < 0 ? app.passing.length : counts[v]).toLocaleString('en') : '');
      for (const label of strip.querySelectorAll('[data-value]')) {
        label.querySelector('.count').textContent = said(Number(label.dataset.value));
        label.classList.toggle('none', counts !== null && said(Number(label.dataset.value)) === '0');
      }
      for (const option of strip.querySelectorAll('option')) {
        const v = Number(option.value);
        option.textContent = (v < 0 ? G.t('all') : values[v]) + (counts ? ` (${said(v)})` : '');
      }
    }
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
          { type: 'button', class: 'tray-item', 'aria-label': G.t('Take out {label}', { label }), title: label, on: { click: () => app.choose(cell) } },
          source ? G.el('img', { src: source, alt: '' }) : G.icon(G.stateOf(cell.state).icon),
        );
      }),
      G.el('span', { class: 'hint' }, cells.length < 2 ? G.t('Take another to compare') : ''),
      G.button(G.t('Compare {n}', { n: cells.length }), 'compare', () => G.openCompare(app, cells), { disabled: cells.length < 2, class: 'button primary', id: 'compare' }),
      G.button(G.t('Clear'), 'close', () => app.unchoose(), { quiet: true }),
    );
  };
})();
