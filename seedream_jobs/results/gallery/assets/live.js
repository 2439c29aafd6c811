'use strict';
// The page of a run under way: reads its data again and again, and stops once they say that the run has ended.
(function () {
  const G = globalThis.Gallery;
  const PATIENCE = 30; // seconds without news beyond three rounds, before the page says so

  const liveOf = (raw) => (raw.live ? JSON.parse(raw.live) : null);

  function same(a, b) {
    const names = Object.keys(b.columns);
    return a.header === b.header && names.length === Object.keys(a.columns).length && names.every((name) => a.columns[name] === b.columns[name]);
  }

  // Runs the page's data file once more. The policy forbids that any text becomes a script's address: the element is a
  // copy of one that the page came with.
  function readAgain(done) {
    const copy = document.importNode(document.getElementById('again').content, true);
    const script = copy.querySelector('script');
    for (const kind of ['load', 'error']) {
      script.addEventListener(kind, () => {
        script.remove();
        done();
      });
    }
    document.body.append(copy);
  }

  const lookOf = (cell) => JSON.stringify([cell.state, cell.thumbnail, cell.image, cell.error, cell.cost, cell.opinion, cell.choice]);

  // Takes new data; what the reader has chosen, typed, opened and scrolled to stays.
  function renew(app, raw) {
    const { model } = app;
    const inSight = new Set([...document.querySelectorAll('[data-cell]')].map((node) => model.cells[node.dataset.cell]));
    for (const cell of [app.opened, ...app.compared, ...app.chosen]) if (cell) inSight.add(cell);
    const held = model.cells[document.activeElement?.closest('#scroller [data-cell]')?.dataset.cell];
    const looks = new Map([...inSight].map((cell) => [cell, lookOf(cell)]));
    const axesOf = () => JSON.stringify(model.axes.map(({ name, values }) => [name, values]));
    // An image that is a little wider than was asked for moves no other.
    const layout = () => [model.cells.length, ...app.cells.map((cell) => `${cell.i} ${Math.round(Math.log(cell.ratio) * 16)}`)].join('\n');
    const before = { hash: G.hashOf(app), axes: axesOf(), layout: layout() };

    G.cellNamed(model, ''); // makes the table of names
    const { named } = model;
    const fresh = G.load(raw, (newer) => {
      const cell = named.get(G.nameOf(newer)) ?? null;
      named.delete(G.nameOf(newer)); // two cells may have one name
      return cell;
    });
    for (const name of ['places', 'named', 'select', 'votes']) delete model[name];
    Object.assign(model, fresh);
    const turned = axesOf() !== before.axes;
    if (turned) G.applyHash(app, before.hash); // by name: the axes' numbers are others
    app.select();
    const changed = new Set([...inSight].filter((cell) => lookOf(cell) !== looks.get(cell)));
    draw(app, changed, turned ? app.everything : layout() === before.layout ? null : app.redraw, held);
  }

  // :changed are cells in sight that look different now; :redraw is needed where others are in sight, or elsewhere.
  function draw(app, changed, redraw, held) {
    const { model } = app;
    const byId = (id) => document.getElementById(id);
    const [scroller, filters] = [byId('scroller'), byId('filters')];
    byId('summary').textContent = byId('summary').title = G.summary(model);
    if (redraw) {
      const { scrollTop, scrollLeft } = scroller;
      redraw();
      if (held && scroller.querySelector(`[data-cell="${held.i}"]`)) app.current.focusCell(held);
      scroller.scrollTo(scrollLeft, scrollTop);
    } else {
      for (const node of document.querySelectorAll('[data-cell]')) {
        const cell = model.cells[node.dataset.cell];
        if (changed.has(cell)) app.freshen(node, cell);
      }
      G.drawMatches(app, byId('matches'));
      G.drawTabCounts(app, byId('tabs'));
    }
    // What is typed in the panel stays as it is; of its chips the one with the focus keeps it.
    const chip = document.activeElement?.dataset.filter;
    if (app.filtersOpen && (chip || !filters.contains(document.activeElement))) {
      G.drawFilters(app, filters);
      if (chip) filters.querySelector(`[data-filter="${CSS.escape(chip)}"]`)?.focus({ preventScroll: true });
    }
    G.drawTray(app, byId('tray'));
    for (const listener of app.news) listener(changed);
  }

  G.watchRun = (app, line) => {
    if (!document.getElementById('again')) return; // a page that stands alone
    let raw = globalThis.seedreamGallery;
    let live = liveOf(raw);
    let heard = live ? Math.min(Date.now(), live.at * 1000) : 0; // milliseconds, by this computer's clock
    let quiet = false;
    let doubted = false; // the data said once that the run has ended
    let timer = null;
    let pressed = false;

    function say(text, command = null) {
      line.hidden = false;
      line.replaceChildren(text, ...(command ? [' ', G.el('code', {}, command)] : []));
    }

    function tell() {
      const seconds = Math.round((Date.now() - heard) / 1000);
      const late = seconds > 3 * live.every + PATIENCE;
      if (late) {
        const time = seconds < 120 ? G.t('{n} s', { n: seconds }) : G.t('{n} min', { n: Math.round(seconds / 60) });
        const text = G.t('Nothing was heard of the run for {time}. How it stands:', { time });
        if (!quiet) G.announce(text);
        say(text, live.look);
      } else say(G.t('The run goes on, as of {time}', { time: new Date(live.at * 1000).toLocaleTimeString() }));
      line.classList.toggle('late', late);
      quiet = late;
    }

    function take() {
      if (pressed) return void setTimeout(look, 1000); // what is under the mouse must still be there when the click ends
      const now = globalThis.seedreamGallery;
      if (!same(raw, now)) renew(app, now);
      raw = now;
      const next = liveOf(raw);
      if (next && next.at !== live?.at) heard = live ? Date.now() : Math.min(Date.now(), next.at * 1000);
      // Another command may have built the page in the midst of the run: an end is believed when it is said twice.
      const ended = live && !next && doubted;
      doubted = !next;
      live = next ?? (ended ? null : live);
      if (live) {
        tell();
        wait(doubted ? 1.5 : 1);
      } else if (ended) {
        line.classList.remove('late');
        say(G.t('The run has ended.'));
        G.announce(G.t('The run has ended.'));
      }
    }

    const look = () => readAgain(take);
    // Where nothing is heard for long the page looks less often.
    function wait(rounds = 1) {
      clearTimeout(timer);
      timer = setTimeout(look, Math.max(rounds * live.every * 1000, (Date.now() - heard) / 20));
    }

    for (const kind of ['pointerdown', 'pointerup', 'pointercancel']) addEventListener(kind, (event) => (pressed = kind === 'pointerdown' && event.button === 0), true);
    if (live) {
      tell();
      wait();
    }
    // A run may have begun since the page was opened; and a page that nobody sees is slowed down by the browser.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && location.protocol === 'file:') look();
    });
  };
})();
