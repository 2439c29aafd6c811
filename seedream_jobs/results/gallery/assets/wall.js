'use strict';
// All images in the order of the job, as many side by side as fit; only the part in sight exists.
(function () {
  const G = globalThis.Gallery;
  const SPARE = 2;

  G.wallView = (app, host) => {
    const { model, view, cells } = app;
    const gap = 16;
    const narrow = host.clientWidth < 640;
    const room = host.clientWidth - (narrow ? 24 : 56);
    const wanted = view.size ?? (narrow ? 150 : 250);
    const across = Math.max(1, Math.floor((room + gap) / (wanted + gap)));
    const width = Math.floor((room - gap * (across - 1)) / across);
    const height = Math.round(width / model.aspect);
    const step = height + 32 + gap;
    const lines = Math.ceil(cells.length / across);
    const shown = model.varying.filter((a) => model.axes[a].kind !== 'run');

    const list = G.el('ul', {
      class: 'wall',
      'aria-label': 'Images in the order of the job',
      style: { '--slot-w': `${width}px`, '--thumb-h': `${height}px`, '--across': String(across), height: `${lines * step}px` },
    });
    host.replaceChildren(list);
    let span = [0, -1];
    let at = 0;

    function card(n) {
      const cell = cells[n];
      const thumb = G.thumb(app, cell);
      thumb.dataset.at = String(n);
      if (n === at) thumb.firstChild.tabIndex = 0;
      const label = shown.map((a) => G.label(model, a, cell.at[a])).join(' · ') || cell.prompt || cell.address;
      return G.el(
        'li',
        {
          'aria-setsize': cells.length,
          'aria-posinset': n + 1,
          style: { transform: `translate(${(n % across) * (width + gap)}px, ${Math.floor(n / across) * step}px)` },
        },
        thumb,
        G.el('p', { class: 'caption', title: label }, label),
      );
    }

    function draw(force) {
      const first = Math.max(0, Math.floor(host.scrollTop / step) - SPARE);
      const last = Math.min(lines - 1, Math.ceil((host.scrollTop + host.clientHeight) / step) + SPARE);
      if (!force && first === span[0] && last === span[1]) return;
      const held = list.contains(document.activeElement) ? document.activeElement.closest('[data-at]')?.dataset.at : null;
      const kept = force ? new Map() : new Map([...list.children].map((li) => [Number(li.firstChild.dataset.at), li]));
      span = [first, last];
      const items = [];
      for (let n = first * across; n < Math.min(cells.length, (last + 1) * across); n++) items.push(kept.get(n) ?? card(n));
      list.replaceChildren(...items);
      if (held) (list.querySelector(`[data-at="${held}"] .open`) ?? host).focus({ preventScroll: true });
    }

    function focus(n) {
      const old = list.querySelector(`[data-at="${at}"] .open`);
      if (old) old.tabIndex = -1;
      at = n;
      const y = Math.floor(n / across) * step;
      if (y < host.scrollTop) host.scrollTop = y;
      else if (y + step > host.scrollTop + host.clientHeight) host.scrollTop = y + step - host.clientHeight + gap;
      draw(false);
      const open = list.querySelector(`[data-at="${n}"] .open`);
      if (!open) return;
      open.tabIndex = 0;
      open.focus({ preventScroll: true });
    }

    const moves = {
      ArrowLeft: (n) => n - 1,
      ArrowRight: (n) => n + 1,
      ArrowUp: (n) => n - across,
      ArrowDown: (n) => n + across,
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
