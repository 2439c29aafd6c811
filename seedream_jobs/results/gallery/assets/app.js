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
    takeThumbnails(model);
    const scroller = byId('scroller');
    const listeners = new Set();
    const app = {
      model,
      marks: G.openMarks(model),
      view: G.firstView(model),
      filter: G.noFilter(model),
      filtersOpen: false,
      chosen: new Set(),
      filtered: new Set(),
      cells: [],
      current: null,
    };

    function drawView() {
      const { scrollTop, scrollLeft } = scroller; // lost while the view is empty
      app.current?.close();
      if (!app.cells.length) {
        const empty = model.cells.length
          ? [G.el('p', {}, 'Nothing matches.'), G.button('Clear all filters', 'close', () => app.clearFilters())]
          : [G.el('p', {}, 'No images yet.')];
        scroller.replaceChildren(G.el('div', { class: 'empty' }, ...empty));
        app.current = { redraw() {}, fill() {}, move: () => null, focusCell() {}, close() {} };
      } else app.current = app.view.layout === 'grid' ? G.gridView(app, scroller) : G.wallView(app, scroller);
      scroller.scrollTo(scrollLeft, scrollTop);
      app.current.fill();
      scroller.dataset.ready = String(app.cells.length);
    }

    function refilter() {
      const passing = G.filterCells(model, app.filter, app.marks);
      app.filtered = new Set(passing);
      app.cells = app.view.layout === 'grid' ? G.onTab(passing, app.view) : passing;
      drawView();
    }

    // Controls are drawn anew when they change what they say; the focus stays with the control of the same name.
    function drawAround() {
      const held = document.activeElement;
      const find = held?.id ? `#${held.id}` : held?.dataset?.place ? `[data-place="${CSS.escape(held.dataset.place)}"]` : held?.dataset?.layout ? `[data-layout="${held.dataset.layout}"]` : null;
      const radio = held?.type === 'radio' ? `input[name="${held.name}"]:checked` : null;
      G.drawControls(app, byId('controls'));
      G.drawTabs(app, byId('tabs'));
      byId('filters').hidden = !app.filtersOpen;
      const again = find || radio ? document.querySelector(radio ?? find) : null;
      if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    }

    function everything() {
      drawAround();
      refilter();
    }

    const count = () => G.announce(`${app.cells.length} of ${model.cells.length} images`);
    const take = (a) => {
      for (const side of ['rows', 'cols', 'tabs']) app.view[side] = app.view[side].filter((b) => b !== a);
    };

    Object.assign(app, {
      refilter() {
        refilter();
        const n = G.filterCount(app.filter) - (app.filter.text ? 1 : 0);
        byId('filter').querySelector('.word').textContent = n ? `Filter (${n})` : 'Filter';
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
      },
      clearFilters() {
        app.filter = G.noFilter(model);
        G.drawFilters(app, byId('filters'));
        everything();
        count();
      },
      layout(name) {
        app.view.layout = name;
        scroller.scrollTo(0, 0);
        everything();
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
        scroller.scrollTo(0, 0);
        everything();
      },
      swap() {
        [app.view.rows, app.view.cols] = [app.view.cols, app.view.rows];
        scroller.scrollTo(0, 0);
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
        refilter();
        drawAround();
        count();
      },
      resize(size) {
        app.view.size = size;
        drawView();
      },
      choose(cell) {
        if (!app.chosen.delete(cell)) {
          if (app.chosen.size === MOST) return G.toast(`At most ${MOST} images can be compared`);
          app.chosen.add(cell);
        }
        G.drawTray(app, byId('tray'));
        for (const node of document.querySelectorAll(`[data-cell="${cell.i}"]`)) freshen(node, cell);
        return G.announce(`${app.chosen.size} chosen`);
      },
      unchoose() {
        const cells = [...app.chosen];
        app.chosen.clear();
        G.drawTray(app, byId('tray'));
        for (const cell of cells) for (const node of document.querySelectorAll(`[data-cell="${cell.i}"]`)) freshen(node, cell);
        scroller.focus({ preventScroll: true });
      },
      open: (cell) => G.openLightbox(app, cell),
      closed: (cell) => app.current.focusCell(cell),
      // A step to another tab turns the page behind the lightbox, so that closing it ends where one looked last.
      reveal(cell) {
        if (app.view.layout !== 'grid') return;
        const turned = app.view.tabs.filter((a) => app.view.tab[a] >= 0 && app.view.tab[a] !== cell.at[a]);
        if (!turned.length) return;
        for (const a of turned) app.view.tab[a] = cell.at[a];
        refilter();
        drawAround();
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
      fresh.firstChild.tabIndex = node.firstChild.tabIndex;
      node.replaceWith(fresh);
      if (part) fresh.querySelector(part).focus({ preventScroll: true });
    }

    app.marks.onChange((id) => {
      G.drawTools(app, byId('tools'));
      if (id === null) app.current.redraw();
      else {
        for (const node of document.querySelectorAll('[data-cell]')) {
          const cell = model.cells[Number(node.dataset.cell)];
          if (cell.id === id) freshen(node, cell);
        }
      }
      for (const listener of listeners) listener(id);
    });

    scroller.addEventListener('click', (event) => G.thumbClick(app, event));
    G.watchImages(scroller);
    document.addEventListener('keydown', (event) => {
      if (event.key !== '/' || G.typing(event) || document.querySelector('dialog[open]')) return;
      event.preventDefault();
      byId('search').focus();
    });
    let seen = '';
    const extent = () => `${scroller.clientWidth} ${scroller.clientHeight}`;
    new ResizeObserver(() => {
      if (extent() === seen) return;
      if (extent().split(' ')[0] === seen.split(' ')[0]) app.current.fill();
      else drawView();
      seen = extent();
    }).observe(scroller);

    byId('title').textContent = model.title;
    byId('summary').textContent = G.summary(model);
    byId('app').hidden = false;
    G.drawTools(app, byId('tools'));
    G.drawTray(app, byId('tray'));
    everything();
    seen = extent();
    G.app = app;
  }

  try {
    start();
  } catch (error) {
    document.body.append(G.el('p', { class: 'plain-page', role: 'alert' }, `The gallery could not be drawn: ${error.message}. Without JavaScript it is a plain table.`));
    throw error;
  }
})();
