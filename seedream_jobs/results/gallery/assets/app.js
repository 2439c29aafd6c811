'use strict';
// Puts the page together: the state of the view, and what each action changes in it.
(function () {
  const G = globalThis.Gallery;
  const MOST = 4;
  const byId = (id) => document.getElementById(id);

  // A page that stands alone carries its thumbnails in the plain table, once; a row stands for a cell, in order.
  function takeThumbnails(model) {
    const rows = (document.querySelector('noscript')?.textContent ?? '').split('<tr><th scope="row">').slice(1);
    rows.forEach((row, i) => {
      const found = /^<img src="(data:image\/[a-z]+;base64,[A-Za-z0-9+/=]+)"/.exec(row);
      if (found) model.cells[i].thumbnail = found[1];
    });
  }

  function start() {
    const model = G.load(globalThis.seedreamGallery);
    G.speak(model.language);
    takeThumbnails(model);
    const scroller = byId('scroller');
    const listeners = new Set();
    const app = {
      model,
      marks: G.openMarks(model),
      filtersOpen: false,
      chosen: new Set(),
      opened: null, // the cell in the lightbox
      compared: [],
      passing: [], // what the filter lets through, on whatever tab
      cells: [], // of these what is on this tab, in order
      current: null,
      news: new Set(), // called with the cells that new data of a run have changed
    };

    function empty() {
      if (!model.cells.length) return [G.el('p', {}, G.t('No images yet.'))];
      const clear = G.button(G.t('Clear all filters'), 'close', () => app.clearFilters());
      if (!app.passing.length) return [G.el('p', {}, G.t('Nothing matches.')), clear];
      const there = G.filterCount(app.filter)
        ? G.count(app.passing.length, 'No match on this tab, {n} on another.', 'No match on this tab, {n} on others.')
        : G.t('No images on this tab.');
      return [G.el('p', {}, there), G.button(G.t('Next match (n)'), 'right', () => app.nextMatch(), { class: 'button primary', id: 'next-match' }), G.filterCount(app.filter) ? clear : ''];
    }

    function drawView() {
      const { scrollTop, scrollLeft } = scroller; // lost while the view is empty
      app.current?.close();
      if (!app.cells.length) {
        scroller.replaceChildren(G.el('div', { class: 'empty' }, ...empty()));
        app.current = { redraw() {}, fill() {}, move: () => null, focusCell() {}, close() {} };
      } else app.current = app.view.layout === 'grid' ? G.gridView(app, scroller) : G.wallView(app, scroller);
      scroller.scrollTo(scrollLeft, scrollTop);
      app.current.fill();
      scroller.dataset.ready = String(app.cells.length);
    }

    function select() {
      app.passing = G.filterCells(app);
      app.filtered = null; // made when a lightbox asks for it
      app.cells = app.view.layout === 'grid' ? G.onTab(app.passing, app.view) : G.sorted(app, app.passing);
    }

    function refilter() {
      select();
      drawView();
      G.drawMatches(app, byId('matches'));
      G.drawTabCounts(app, byId('tabs'));
      G.writeHash(app);
    }

    // Controls are drawn anew when they change what they say; the focus stays with the control of the same name.
    function drawAround() {
      const held = document.activeElement;
      const find = held?.id ? `#${held.id}` : held?.dataset?.place ? `[data-place="${CSS.escape(held.dataset.place)}"]` : held?.dataset?.layout ? `[data-layout="${held.dataset.layout}"]` : null;
      const radio = held?.type === 'radio' ? `input[name="${held.name}"]:checked` : null;
      G.drawControls(app, byId('controls'));
      G.drawTabs(app, byId('tabs'));
      byId('filters').hidden = !app.filtersOpen;
      byId('app').classList.toggle('folded', app.view.folded);
      byId('unfold').hidden = !app.view.folded;
      const again = find || radio ? document.querySelector(radio ?? find) : null;
      if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    }

    function everything() {
      drawAround();
      refilter();
    }

    const count = () => {
      const others = app.passing.length - app.cells.length;
      G.announce(G.t('{n} of {all} images', { n: app.cells.length, all: model.cells.length }) + (others ? `, ${G.t('{n} on other tabs', { n: others })}` : ''));
    };
    const take = (a) => {
      for (const side of ['rows', 'cols', 'tabs']) app.view[side] = app.view[side].filter((b) => b !== a);
    };
    const top = () => scroller.scrollTo(0, 0);

    Object.assign(app, {
      select,
      everything,
      freshen,
      redraw: refilter,
      isFiltered(cell) {
        app.filtered ??= new Set(app.passing);
        return app.filtered.has(cell);
      },
      refilter() {
        refilter();
        const n = G.filterCount(app.filter) - (app.filter.text ? 1 : 0);
        byId('filter').querySelector('.word').textContent = n ? `${G.t('Filter')} (${n})` : G.t('Filter');
        count();
      },
      search(text) {
        app.filter.text = text;
        refilter();
        count();
      },
      toggleFilters() {
        app.filtersOpen = !app.filtersOpen;
        if (app.filtersOpen) G.drawFilters(app, byId('filters'));
        drawAround();
        drawView();
        G.drawTabCounts(app, byId('tabs'));
      },
      clearFilters() {
        app.filter = G.noFilter(model);
        G.drawFilters(app, byId('filters'));
        everything();
        count();
      },
      // The next image that passes, on whatever tab; round at the end.
      nextMatch() {
        if (!app.passing.length) return G.announce(G.t('Nothing matches.'));
        const list = app.view.layout === 'grid' ? app.passing : app.cells;
        const held = document.activeElement?.closest?.('[data-cell]');
        const from = held ? model.cells[Number(held.dataset.cell)] : (app.found ?? null);
        const next = list[(from ? list.indexOf(from) + 1 : 0) % list.length];
        app.found = next;
        app.reveal(next);
        return app.current.focusCell(next);
      },
      layout(name) {
        app.view.layout = name;
        top();
        everything();
      },
      sort(name) {
        app.view.sort = name;
        if (name !== 'job') app.view.layout = 'wall'; // a grid has an order of its own
        top();
        everything();
      },
      fold() {
        app.view.folded = !app.view.folded;
        drawAround();
        G.drawTabCounts(app, byId('tabs'));
        G.writeHash(app);
        G.announce(G.t(app.view.folded ? 'Controls folded away' : 'Controls shown'));
      },
      // An axis chosen for one side leaves its old place to the one it drives out.
      side(side, a) {
        const other = side === 'rows' ? 'cols' : 'rows';
        const before = app.view[side][app.view[side].length - 1];
        const home = ['rows', 'cols', 'tabs'].find((place) => app.view[place].includes(a));
        if (before === a) return;
        app.view[side] = app.view[side].filter((b) => b !== before);
        if (a >= 0) {
          take(a);
          app.view[side].push(a);
        }
        if (before !== undefined && before >= 0) {
          if (home === other) app.view[other].push(before);
          else {
            app.view.tabs.push(before);
            app.view.tab[before] = 0;
          }
        }
        top();
        everything();
      },
      swap() {
        [app.view.rows, app.view.cols] = [app.view.cols, app.view.rows];
        top();
        everything();
      },
      place(a, where) {
        take(a);
        if (where === 'tabs') {
          app.view.tabs.push(a);
          app.view.tab[a] = Math.max(0, app.view.tab[a]);
        } else if (where !== 'inside') app.view[where].unshift(a);
        everything();
      },
      tab(a, value) {
        app.view.tab[a] = value;
        drawAround();
        refilter();
        count();
      },
      resize(size) {
        app.view.size = size;
        drawView();
        G.writeHash(app);
      },
      choose(cell) {
        if (!app.chosen.delete(cell)) {
          if (app.chosen.size === MOST) return G.toast(G.t('At most {n} images can be compared', { n: MOST }));
          app.chosen.add(cell);
        }
        G.drawTray(app, byId('tray'));
        for (const node of document.querySelectorAll(`[data-cell="${cell.i}"]`)) freshen(node, cell);
        return G.announce(G.t('{n} taken for comparing', { n: app.chosen.size }));
      },
      unchoose() {
        const cells = [...app.chosen];
        app.chosen.clear();
        G.drawTray(app, byId('tray'));
        for (const cell of cells) for (const node of document.querySelectorAll(`[data-cell="${cell.i}"]`)) freshen(node, cell);
        scroller.focus({ preventScroll: true });
      },
      open: (cell) => G.openLightbox(app, cell),
      closed(cell) {
        app.opened = null;
        G.writeHash(app);
        app.current.focusCell(cell);
      },
      shows(cell) {
        app.opened = cell;
        G.writeHash(app);
      },
      compares(cells) {
        app.compared = cells;
        G.writeHash(app);
      },
      // A step to another tab turns the page behind the lightbox, so that closing it ends where one looked last.
      reveal(cell) {
        if (app.view.layout !== 'grid') return;
        const turned = app.view.tabs.filter((a) => app.view.tab[a] >= 0 && app.view.tab[a] !== cell.at[a]);
        if (!turned.length) return;
        for (const a of turned) app.view.tab[a] = cell.at[a];
        drawAround();
        refilter();
      },
      onMark(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    });

    // One slot anew, in place, the focus kept.
    function freshen(node, cell) {
      const part = node.contains(document.activeElement) ? (document.activeElement.className === 'choose' ? '.choose' : '.open') : null;
      const fresh = G.thumb(app, cell);
      fresh.dataset.at = node.dataset.at;
      fresh.style.cssText = node.style.cssText;
      fresh.firstChild.tabIndex = node.firstChild.tabIndex;
      node.replaceWith(fresh);
      if (part) fresh.querySelector(part).focus({ preventScroll: true });
    }

    app.marks.onChange((sha256) => {
      byId('export').refresh();
      if (sha256 === null) app.current.redraw();
      else {
        for (const node of document.querySelectorAll('[data-cell]')) {
          const cell = model.cells[Number(node.dataset.cell)];
          if (cell.sha256 === sha256) freshen(node, cell);
        }
      }
      for (const listener of listeners) listener(sha256);
    });

    function follow() {
      if (app.wrote === location.hash) return;
      const asked = G.applyHash(app, location.hash);
      document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close());
      if (app.filtersOpen) G.drawFilters(app, byId('filters'));
      everything();
      if (asked.lost) G.toast(G.t('The image that the link names is not on this page'));
      if (asked.open) {
        app.reveal(asked.open);
        app.open(asked.open);
      }
      if (asked.compare.length > 1) G.openCompare(app, asked.compare);
    }

    scroller.addEventListener('click', (event) => G.thumbClick(app, event));
    G.watchImages(scroller);
    document.querySelector('.skip').addEventListener('click', (event) => {
      event.preventDefault(); // the address says what is shown
      (scroller.querySelector('.open[tabindex="0"]') ?? scroller).focus();
    });
    byId('unfold').addEventListener('click', () => app.fold());
    document.addEventListener('keydown', (event) => {
      if (G.typing(event) || event.altKey || event.metaKey || event.ctrlKey) return;
      if (event.key === 'f') return G.fullScreen();
      if (event.key === '?') return G.openHelp();
      if (document.querySelector('dialog[open]')) return undefined;
      const keys = { '/': () => byId('search').focus(), n: () => app.nextMatch(), h: () => app.fold(), t: () => G.nextTheme(app) };
      if (!Object.keys(keys).includes(event.key)) return undefined;
      event.preventDefault();
      if (event.key === '/' && app.view.folded) app.fold();
      return keys[event.key]();
    });
    globalThis.addEventListener('hashchange', follow);
    globalThis.addEventListener('pagehide', () => G.writeHash(app, true));
    let seen = '';
    const extent = () => `${scroller.clientWidth} ${scroller.clientHeight}`;
    new ResizeObserver(() => {
      if (extent() === seen) return;
      if (extent().split(' ')[0] === seen.split(' ')[0]) app.current.fill();
      else drawView();
      seen = extent();
    }).observe(scroller);

    const regions = { tabs: 'Further axes', controls: 'Controls', filters: 'Filter', tray: 'Taken for comparing' };
    for (const [id, text] of Object.entries(regions)) byId(id).setAttribute('aria-label', G.t(text));
    document.querySelector('.skip').textContent = G.t('Skip to the images');
    byId('unfold').append(G.icon('down'));
    byId('unfold').setAttribute('aria-label', `${G.t('Show the controls')} (h)`);
    byId('title').textContent = model.title;
    byId('summary').textContent = G.summary(model);
    byId('summary').title = byId('summary').textContent;
    byId('app').hidden = false;
    G.app = app;
    G.drawTools(app, byId('tools'));
    G.drawTray(app, byId('tray'));
    follow();
    seen = extent();
    G.watchRun(app, byId('run'));
  }

  try {
    start();
  } catch (error) {
    document.body.append(G.el('p', { class: 'plain-page', role: 'alert' }, `${G.t('The gallery could not be drawn: {error}. Without JavaScript it is a plain table.', { error: error.message })}`));
    throw error;
  }
})();
