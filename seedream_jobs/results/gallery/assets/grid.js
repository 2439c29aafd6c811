'use strict';
// The pivot as a table of which only the part in sight exists, in both directions.
(function () {
  const G = globalThis.Gallery;
  const SPARE = 2; // rows and columns kept beyond the edge, so that a scroll finds them there
  const SHOWN = 9; // images in one slot; the rest is counted

  const COLUMNS = [0, 1, 2, 2, 2, 3, 3, 3, 3, 3];
  const WIDER = [0, 1, 1.5, 1.9];

  G.gridView = (app, host) => {
    const { model, view } = app;
    const pivot = G.pivot(model, app.cells, view);
    const narrow = host.clientWidth < 640;
    const inner = narrow && pivot.deepest === 2 ? 1 : COLUMNS[Math.min(pivot.deepest, SHOWN)];
    const deep = Math.ceil(Math.min(pivot.deepest, SHOWN) / inner);
    const gap = 10;
    const head = narrow ? 92 : 168;
    const width = Math.round((view.size ?? fitting()) * WIDER[inner]);
    const height = Math.round((width / inner / model.aspect) * deep);
    const [stepX, stepY] = [width + gap, height + gap];
    const tableWidth = head + stepX * pivot.cols.length;
    const rest = Math.max(0, host.clientWidth - tableWidth); // right of the last column: the head's line goes on

    // Until somebody chooses a size: as large as lets all columns be seen, within what is pleasant.
    function fitting() {
      const room = (host.clientWidth - head - 16) / pivot.cols.length - gap;
      const tall = (host.clientHeight * 0.5 * model.aspect * inner) / deep;
      return Math.max(132, Math.min(360, tall / WIDER[inner], room / WIDER[inner]));
    }

    const table = G.el('table', {
      class: 'grid',
      role: 'grid',
      'aria-label': `Images by ${[...view.rows, ...view.cols].map((a) => model.axes[a].name).join(' and ') || 'nothing'}`,
      'aria-rowcount': pivot.rows.length + 1,
      'aria-colcount': pivot.cols.length + 1,
      style: {
        '--slot-w': `${width}px`,
        '--slot-h': `${height}px`,
        '--inner': String(inner),
        '--thumb-h': `${Math.floor(height / deep)}px`,
        '--head': `${head}px`,
        width: `${tableWidth + rest}px`,
      },
    });
    const top = G.el('thead');
    const body = G.el('tbody');
    const cols = G.el('colgroup');
    table.append(cols, top, body);
    host.replaceChildren(table);
    const built = new Map(); // row number → its element, as long as it is in sight
    let span = { r0: 0, r1: -1, c0: 0, c1: -1 };
    let at = { r: 0, c: 0, k: 0 }; // the one slot that Tab reaches

    const names = (axes, values, outer) =>
      axes.map((a, n) => {
        const last = n === axes.length - 1;
        return G.el('span', { class: last ? 'inner' : 'outer', title: last && outer ? G.label(model, a, values[n]) : null }, G.label(model, a, values[n]));
      });

    const changes = (list, n) => n > 0 && list[n].length > 1 && list[n][0] !== list[n - 1][0];

    function header() {
      const { c0, c1 } = span;
      const before = c0 * stepX;
      const after = (pivot.cols.length - 1 - c1) * stepX + rest;
      const widths = [head, before, ...new Array(c1 - c0 + 1).fill(stepX), after];
      cols.replaceChildren(...widths.map((px) => G.el('col', { style: { width: `${px}px` } })));
      const what = (axes) => axes.map((a) => model.axes[a].name).join(' / ');
      const corner = G.el(
        'th',
        { class: 'corner', scope: 'col', 'aria-colindex': 1 },
        G.el('span', { class: 'axis-down' }, what(view.rows)),
        G.el('span', { class: 'axis-across' }, what(view.cols)),
      );
      const row = G.el('tr', { 'aria-rowindex': 1 }, corner, G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      for (let c = c0; c <= c1; c++) {
        row.append(G.el('th', { scope: 'col', 'aria-colindex': c + 2, class: changes(pivot.cols, c) ? 'group' : null }, ...names(view.cols, pivot.cols[c], true)));
      }
      row.append(G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      top.replaceChildren(row);
    }

    function slot(r, c) {
      const cells = pivot.slot(r, c);
      const td = G.el('td', { role: 'gridcell', 'aria-colindex': c + 2, class: changes(pivot.cols, c) ? 'group' : null });
      if (!cells) return td;
      const box = G.el('div', { class: 'slot' });
      cells.slice(0, SHOWN).forEach((cell, k) => {
        const thumb = G.thumb(app, cell);
        thumb.dataset.at = `${r},${c},${k}`;
        if (r === at.r && c === at.c && k === at.k) thumb.firstChild.tabIndex = 0;
        box.append(thumb);
      });
      if (cells.length > SHOWN) box.append(G.el('span', { class: 'more' }, `+${cells.length - SHOWN}`));
      td.append(box);
      return td;
    }

    function line(r) {
      const tr = G.el('tr', { 'aria-rowindex': r + 2, class: changes(pivot.rows, r) ? 'group' : null });
      tr.append(G.el('th', { scope: 'row', 'aria-colindex': 1 }, G.el('div', { class: 'names' }, ...names(view.rows, pivot.rows[r], true))));
      tr.append(G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      for (let c = span.c0; c <= span.c1; c++) tr.append(slot(r, c));
      tr.append(G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      return tr;
    }

    const spacer = (px) => G.el('tr', { class: 'spacer', 'aria-hidden': 'true' }, G.el('td', { colspan: span.c1 - span.c0 + 4, style: { height: `${px}px` } }));

    function inSight() {
      const most = (n, length) => Math.max(0, Math.min(length - 1, n));
      const [x, y] = [host.scrollLeft, host.scrollTop];
      return {
        r0: most(Math.floor(y / stepY) - SPARE, pivot.rows.length),
        r1: most(Math.ceil((y + host.clientHeight) / stepY) + SPARE, pivot.rows.length),
        c0: most(Math.floor(x / stepX) - SPARE, pivot.cols.length),
        c1: most(Math.ceil((x + host.clientWidth - head) / stepX) + SPARE, pivot.cols.length),
      };
    }

    function draw(force) {
      const next = inSight();
      const sameCols = next.c0 === span.c0 && next.c1 === span.c1;
      if (!force && sameCols && next.r0 === span.r0 && next.r1 === span.r1) return;
      const held = body.contains(document.activeElement) ? document.activeElement.closest('[data-at]')?.dataset.at : null;
      span = next;
      if (force || !sameCols) {
        built.clear();
        header();
      }
      for (const r of built.keys()) if (r < span.r0 || r > span.r1) built.delete(r);
      const rows = [];
      for (let r = span.r0; r <= span.r1; r++) {
        if (!built.has(r)) built.set(r, line(r));
        rows.push(built.get(r));
      }
      body.replaceChildren(spacer(span.r0 * stepY), ...rows, spacer((pivot.rows.length - 1 - span.r1) * stepY));
      if (held) (body.querySelector(`[data-at="${held}"] .open`) ?? host).focus({ preventScroll: true });
    }

    function show(r, c) {
      const [x, y] = [c * stepX, r * stepY];
      const headHeight = top.offsetHeight;
      if (y < host.scrollTop) host.scrollTop = y;
      else if (y + stepY + headHeight > host.scrollTop + host.clientHeight) host.scrollTop = y + stepY + headHeight - host.clientHeight;
      if (x < host.scrollLeft) host.scrollLeft = x;
      else if (x + stepX + head > host.scrollLeft + host.clientWidth) host.scrollLeft = x + stepX + head - host.clientWidth;
      draw(false);
    }

    function focus(place) {
      const old = body.querySelector(`[data-at="${at.r},${at.c},${at.k}"] .open`);
      if (old) old.tabIndex = -1;
      at = place;
      show(place.r, place.c);
      const open = body.querySelector(`[data-at="${place.r},${place.c},${place.k}"] .open`);
      if (!open) return;
      open.tabIndex = 0;
      open.focus({ preventScroll: true });
    }

    // The next slot with an image or placeholder in a direction; null at the edge.
    function next({ r, c, k }, dr, dc) {
      for (r += dr, c += dc; r >= 0 && c >= 0 && r < pivot.rows.length && c < pivot.cols.length; r += dr, c += dc) {
        const cells = pivot.slot(r, c);
        if (cells) return { r, c, k: Math.min(k, cells.length - 1) };
      }
      return null;
    }

    function edge({ r }, end) {
      return end ? next({ r, c: pivot.cols.length, k: SHOWN }, 0, -1) : next({ r, c: -1, k: 0 }, 0, 1);
    }

    function within({ r, c, k }, direction) {
      const cells = pivot.slot(r, c);
      return cells && cells[k + direction] ? { r, c, k: k + direction } : null;
    }

    const moves = {
      ArrowLeft: (p) => next(p, 0, -1),
      ArrowRight: (p) => next(p, 0, 1),
      ArrowUp: (p) => next(p, -1, 0),
      ArrowDown: (p) => next(p, 1, 0),
      Home: (p) => edge(p, false),
      End: (p) => edge(p, true),
      '[': (p) => within(p, -1),
      ']': (p) => within(p, 1),
    };

    const parse = (text) => {
      const [r, c, k] = text.split(',').map(Number);
      return { r, c, k };
    };

    function onKey(event) {
      const held = event.target.closest?.('[data-at]');
      if (!held || event.altKey || event.metaKey || event.ctrlKey) return;
      const place = parse(held.dataset.at);
      if (Object.keys(moves).includes(event.key)) {
        event.preventDefault();
        const found = moves[event.key](place);
        if (found && found.k < SHOWN) focus(found);
      } else if (G.markKey(app, pivot.slot(place.r, place.c)[place.k], event.key)) event.preventDefault();
    }

    const onScroll = () => draw(false);
    host.addEventListener('scroll', onScroll, { passive: true });
    host.addEventListener('keydown', onKey);
    const first = next({ r: 0, c: -1, k: 0 }, 0, 1);
    if (first) at = first;
    draw(true);

    return {
      pivot,
      redraw: () => draw(true), // after a change of marks
      fill: () => draw(false), // after a change of height
      // For the lightbox: where a cell stands, and what stands in a direction from there.
      placeOf(cell) {
        for (let r = 0; r < pivot.rows.length; r++) {
          if (view.rows.some((a, n) => pivot.rows[r][n] !== cell.at[a])) continue;
          for (let c = 0; c < pivot.cols.length; c++) {
            if (view.cols.some((a, n) => pivot.cols[c][n] !== cell.at[a])) continue;
            const k = pivot.slot(r, c)?.indexOf(cell) ?? -1;
            if (k >= 0) return { r, c, k };
          }
        }
        return null;
      },
      move(cell, key) {
        const place = this.placeOf(cell);
        const found = place && moves[key]?.(place);
        return found ? pivot.slot(found.r, found.c)[found.k] : null;
      },
      focusCell(cell) {
        const place = this.placeOf(cell);
        if (place && place.k < SHOWN) focus(place);
      },
      close() {
        host.removeEventListener('scroll', onScroll);
        host.removeEventListener('keydown', onKey);
      },
    };
  };
})();
