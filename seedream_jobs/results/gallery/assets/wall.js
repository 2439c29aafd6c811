'use strict';
// All images in one order, in rows of equal height and of the window's width; only the part in sight exists.
(function () {
  const G = globalThis.Gallery;
  const GAP = 12; // pixels
  const CAPTION = 24;
  const LETTER = 6.4; // pixels of a caption's letter, about
  const SPARE = 400; // pixels kept beyond the edge, so that a scroll finds images there

  // For each image its place, for each row its top: rows are filled from the left and stretched to the full width.
  function justify(cells, room, wanted) {
    const place = { x: [], w: [], row: [], tops: [], heights: [], firsts: [] };
    let from = 0;
    let top = 0;
    let ratios = 0;
    const close = (until, height) => {
      let x = 0;
      place.tops.push(top);
      place.heights.push(height);
      place.firsts.push(from);
      for (let n = from; n < until; n++) {
        const width = cells[n].ratio * height;
        place.x.push(Math.round(x));
        place.w.push(Math.round(x + width) - Math.round(x));
        place.row.push(place.tops.length - 1);
        x += width + GAP;
      }
      top += Math.round(height) + CAPTION + GAP;
      from = until;
      ratios = 0;
    };
    for (let n = 0; n < cells.length; n++) {
      ratios += cells[n].ratio;
      const height = (room - GAP * (n - from)) / ratios;
      if (height <= wanted) close(n + 1, Math.max(40, height));
    }
    // The last row is not stretched: one image would fill the window.
    if (from < cells.length) close(cells.length, Math.min(wanted, (room - GAP * (cells.length - from - 1)) / ratios));
    place.firsts.push(cells.length);
    place.total = top;
    return place;
  }

  G.wallView = (app, host) => {
    const { model, view, cells } = app;
    const narrow = host.clientWidth < 640;
    const room = host.clientWidth - (narrow ? 24 : 56);
    const { x, w, row, tops, heights, firsts, total } = justify(cells, room, view.size ?? (narrow ? 150 : 230));
    const shown = model.varying.filter((a) => model.axes[a].kind !== 'run');

    const list = G.el('ul', { class: 'wall', 'aria-label': G.t('Images, sorted by: {sort}', { sort: G.t(G.SORTS[view.sort][0]) }), style: { height: `${total}px` } });
    host.replaceChildren(list);
    const built = new Map(); // number → its element, as long as it is in sight
    let span = [0, -1];
    let at = 0;

    // Where not all of it has room, the part that tells an image from its neighbours is kept.
    function caption(n) {
      const cell = cells[n];
      const whole = G.caption(model, cell, shown);
      if (!whole) return cell.prompt || cell.address;
      if (whole.length * LETTER <= w[n]) return whole;
      const beside = [cells[n - 1], cells[n + 1]].filter(Boolean);
      const differing = shown.filter((a) => beside.some((other) => other.at[a] !== cell.at[a]));
      return differing.length && differing.length < shown.length ? `… ${G.caption(model, cell, differing)}` : whole;
    }

    function card(n) {
      const cell = cells[n];
      const thumb = G.thumb(app, cell);
      thumb.dataset.at = String(n);
      if (n === at) thumb.firstChild.tabIndex = 0;
      const label = caption(n);
      return G.el(
        'li',
        {
          'aria-setsize': cells.length,
          'aria-posinset': n + 1,
          style: { left: `${x[n]}px`, top: `${tops[row[n]]}px`, width: `${w[n]}px`, '--thumb-h': `${Math.round(heights[row[n]])}px` },
        },
        thumb,
        G.el('p', { class: 'caption', title: G.labels(model, cell, shown) || label }, label),
      );
    }

    const rowAt = (y) => G.lastBefore(tops, y);

    // Rows that stay keep their elements untouched: only what comes and what goes costs anything.
    function draw(force) {
      const next = [firsts[rowAt(host.scrollTop - SPARE)], firsts[rowAt(host.scrollTop + host.clientHeight + SPARE) + 1]];
      if (!force && next[0] === span[0] && next[1] === span[1]) return;
      const held = list.contains(document.activeElement) ? document.activeElement.closest('[data-at]')?.dataset.at : null;
      span = next;
      for (const [n, node] of built) {
        if (!force && n >= span[0] && n < span[1]) continue;
        node.remove();
        built.delete(n);
      }
      const fresh = document.createDocumentFragment();
      for (let n = span[0]; n < span[1]; n++) {
        if (built.has(n)) {
          if (fresh.childNodes.length) list.insertBefore(fresh, built.get(n));
          continue;
        }
        const node = card(n);
        built.set(n, node);
        fresh.append(node);
      }
      list.append(fresh);
      if (held) (list.querySelector(`[data-at="${held}"] .open`) ?? host).focus({ preventScroll: true });
    }

    function focus(n) {
      const old = list.querySelector(`[data-at="${at}"] .open`);
      if (old) old.tabIndex = -1;
      at = n;
      const y = tops[row[n]];
      const step = heights[row[n]] + CAPTION + GAP;
      if (y < host.scrollTop) host.scrollTop = y;
      else if (y + step > host.scrollTop + host.clientHeight) host.scrollTop = y + step - host.clientHeight + GAP;
      draw(false);
      const open = list.querySelector(`[data-at="${n}"] .open`);
      if (!open) return;
      open.tabIndex = 0;
      open.focus({ preventScroll: true });
    }

    // The image of the next row whose middle is nearest.
    function beside(n, direction) {
      const r = row[n] + direction;
      if (r < 0 || r >= tops.length) return -1;
      const middle = x[n] + w[n] / 2;
      let best = firsts[r];
      for (let m = firsts[r]; m < firsts[r + 1]; m++) if (Math.abs(x[m] + w[m] / 2 - middle) < Math.abs(x[best] + w[best] / 2 - middle)) best = m;
      return best;
    }

    const moves = {
      ArrowLeft: (n) => n - 1,
      ArrowRight: (n) => n + 1,
      ArrowUp: (n) => beside(n, -1),
      ArrowDown: (n) => beside(n, 1),
      Home: () => 0,
      End: () => cells.length - 1,
    };

    function onKey(event) {
      const held = event.target.closest?.('[data-at]');
      if (!held || event.altKey || event.metaKey || event.ctrlKey) return;
      const n = Number(held.dataset.at);
      if (Object.keys(moves).includes(event.key)) {
        event.preventDefault();
        const found = moves[event.key](n);
        if (found >= 0 && found < cells.length) focus(found);
      } else if (G.markKey(app, cells[n], event.key)) event.preventDefault();
    }

    const onScroll = () => draw(false);
    host.addEventListener('scroll', onScroll, { passive: true });
    host.addEventListener('keydown', onKey);
    draw(true);

    return {
      redraw: () => draw(true), // after a change of marks
      fill: () => draw(false), // after a change of height
      move(cell, key) {
        const found = moves[key]?.(cells.indexOf(cell));
        return found >= 0 ? (cells[found] ?? null) : null;
      },
      focusCell(cell) {
        const n = cells.indexOf(cell);
        if (n >= 0) focus(n);
      },
      close() {
        host.removeEventListener('scroll', onScroll);
        host.removeEventListener('keydown', onKey);
      },
    };
  };
})();
