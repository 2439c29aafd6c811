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
    const { widths, heights } = tracks();
    const starts = (sizes) => {
      let sum = 0;
      return sizes.map((size) => (sum += size + gap) - size - gap);
    };
    const [left, top0] = [starts(widths), starts(heights)];
    const [fullWidth, fullHeight] = [left.at(-1) + widths.at(-1) + gap, top0.at(-1) + heights.at(-1) + gap];
    const tableWidth = head + fullWidth;
    const rest = Math.max(0, host.clientWidth - tableWidth); // right of the last column: the head's line goes on

    // The widths of the columns and the heights of the rows. Where all images of a column have one shape, or all of a
    // row, it takes that shape: no picture then stands in an empty frame.
    function tracks() {
      const [rows, cols] = [pivot.rows.length, pivot.cols.length];
      const alone = pivot.deepest === 1;
      const ofCols = alone ? shapes(cols, (n) => pivot.col(n)) : null;
      const ofRows = alone && !ofCols ? shapes(rows, (n) => pivot.row(n)) : null;
      const across = ofCols ? ofCols.reduce((sum, ratio) => sum + ratio, 0) : cols * model.aspect;
      const room = host.clientWidth - head - 16 - gap * cols;
      // Until somebody chooses a size: as large as lets all columns be seen, within what is pleasant.
      const fits = Math.max(100, Math.min(360, (host.clientHeight * 0.55 * inner) / deep, room / across));
      const tall = view.size ? (view.size / model.aspect) * WIDER[inner] : fits;
      const wide = Math.round(tall * model.aspect);
      const high = ofRows ? ofRows.map((ratio) => Math.round(Math.min(wide / ratio, host.clientHeight * 0.8))) : new Array(rows).fill(Math.round((wide / inner / model.aspect) * deep));
      return { widths: ofCols ? ofCols.map((ratio) => Math.round(tall * ratio)) : new Array(cols).fill(wide), heights: ofCols ? new Array(rows).fill(Math.round(tall)) : high };
    }

    // The shape of each line of images; null where one has several.
    function shapes(count, cellsOf) {
      const found = [];
      for (let n = 0; n < count; n++) {
        const ratios = cellsOf(n).map((cell) => cell.ratio);
        const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
        if (most > least * 1.03) return null;
        found.push(most);
      }
      return found;
    }

    const table = G.el('table', {
      class: 'grid',
      role: 'grid',
      'aria-label': G.t('Images by {axes}', { axes: [...view.rows, ...view.cols].map((a) => model.axes[a].name).join(', ') }),
      'aria-rowcount': pivot.rows.length + 1,
      'aria-colcount': pivot.cols.length + 1,
      style: {
        '--inner': String(inner),
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
        return G.el('span', { class: last ? 'inner' : 'outer', title: last && outer ? G.label(model, a, values[n]) : null }, values[n] < 0 ? '–' : model.axes[a].short[values[n]]);
      });

    const changes = (list, n) => n > 0 && list[n].length > 1 && list[n][0] !== list[n - 1][0];

    function header() {
      const { c0, c1 } = span;
      const before = left[c0];
      const after = fullWidth - left[c1] - widths[c1] - gap + rest;
      const own = widths.slice(c0, c1 + 1).map((px) => px + gap);
      cols.replaceChildren(...[head, before, ...own, after].map((px) => G.el('col', { style: { width: `${px}px` } })));
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
      const box = G.el('div', { class: 'slot', style: { width: `${widths[c]}px`, height: `${heights[r]}px` } });
      const [most, high] = [(widths[c] - (inner - 1) * 4) / inner, Math.floor(heights[r] / deep) - (deep > 1 ? 4 : 0)];
      cells.slice(0, SHOWN).forEach((cell, k) => {
        const thumb = G.thumb(app, cell);
        thumb.style.setProperty('width', `${Math.round(Math.min(most, high * cell.ratio))}px`);
        thumb.style.setProperty('height', `${Math.round(Math.min(high, most / cell.ratio))}px`);
        thumb.dataset.at = `${r},${c},${k}`;
        if (r === at.r && c === at.c && k === at.k) thumb.firstChild.tabIndex = 0;
        box.append(thumb);
      });
      if (cells.length > SHOWN) box.append(G.el('span', { class: 'more' }, `+${cells.length - SHOWN}`));
      td.append(box);
      return td;
    }

    function line(r) {
      const tr = G.el('tr', { 'aria-rowindex': r + 2, class: changes(pivot.rows, r) ? 'group' : null, style: { '--slot-h': `${heights[r]}px` } });
      tr.append(G.el('th', { scope: 'row', 'aria-colindex': 1 }, G.el('div', { class: 'names' }, ...names(view.rows, pivot.rows[r], true))));
      tr.append(G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      for (let c = span.c0; c <= span.c1; c++) tr.append(slot(r, c));
      tr.append(G.el('td', { class: 'gap', 'aria-hidden': 'true' }));
      return tr;
    }

    const spacer = (px) => G.el('tr', { class: 'spacer', 'aria-hidden': 'true' }, G.el('td', { colspan: span.c1 - span.c0 + 4, style: { height: `${px}px` } }));

    function inSight() {
      const [x, y] = [host.scrollLeft, host.scrollTop];
      return {
        r0: Math.max(0, G.lastBefore(top0, y) - SPARE),
        r1: Math.min(heights.length - 1, G.lastBefore(top0, y + host.clientHeight) + SPARE),
        c0: Math.max(0, G.lastBefore(left, x) - SPARE),
        c1: Math.min(widths.length - 1, G.lastBefore(left, x + host.clientWidth - head) + SPARE),
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
      body.replaceChildren(spacer(top0[span.r0]), ...rows, spacer(fullHeight - top0[span.r1] - heights[span.r1] - gap));
      if (held) (body.querySelector(`[data-at="${held}"] .open`) ?? host).focus({ preventScroll: true });
    }

    function show(r, c) {
      const [x, y, stepX, stepY] = [left[c], top0[r], widths[c] + gap, heights[r] + gap];
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
