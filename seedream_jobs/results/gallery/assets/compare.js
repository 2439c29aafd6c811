'use strict';
// Two to four images side by side under one zoom, with what differs between them; two can be laid over each other.
(function () {
  const G = globalThis.Gallery;

  function differenceOf(model, cells) {
    const rows = [];
    const [a, b] = cells;
    for (const name of G.differingFields(cells)) {
      const value = (cell) => (name === 'prompt' ? cell.prompt : cell.params[name] === undefined ? '–' : JSON.stringify(cell.params[name]));
      const row = G.el('tr', {}, G.el('th', { scope: 'row' }, name.replace(/_/g, ' ')));
      if (cells.length === 2) {
        const parts = G.wordDifference(value(a), value(b));
        const side = (kind, tag) =>
          G.el('td', {}, ...parts.filter(([k]) => k === 'same' || k === kind).map(([k, text]) => (k === 'same' ? text : G.el(tag, {}, text))));
        row.append(side('gone', 'del'), side('came', 'ins'));
      } else row.append(...cells.map((cell) => G.el('td', {}, value(cell))));
      rows.push(row);
    }
    if (!rows.length) return G.el('p', { class: 'hint' }, 'The same request: only chance differs.');
    const heads = cells.map((_, n) => G.el('th', { scope: 'col' }, String.fromCharCode(65 + n)));
    return G.el(
      'table',
      { class: 'differences' },
      G.el('caption', { class: 'quiet' }, 'Differences of the requests'),
      G.el('thead', {}, G.el('tr', {}, G.el('td'), ...heads)),
      G.el('tbody', {}, ...rows),
    );
  }

  G.openCompare = (app, cells) => {
    const { model } = app;
    const differing = model.varying.filter((a) => cells.some((cell) => cell.at[a] !== cells[0].at[a]));
    const letter = (n) => String.fromCharCode(65 + n);
    const panes = cells.map((cell) => G.el('div', { class: 'stage' }, G.fullImage(cell)));
    const reviews = cells.map(() => G.el('div', { class: 'review' }));
    const figures = cells.map((cell, n) =>
      G.el(
        'figure',
        { class: 'pane', 'data-i': cell.i },
        panes[n],
        G.el(
          'figcaption',
          {},
          G.el('b', { class: 'letter' }, letter(n)),
          G.el('span', { class: 'where' }, G.labels(model, cell, differing) || cell.address),
          cell.state === 'stored' ? null : G.stateChip(cell),
          reviews[n],
        ),
      ),
    );
    const zoom = G.zoomable(panes);
    const linked = G.button('Linked zoom', null, () => {
      zoom.linked = !zoom.linked;
      if (zoom.linked) zoom.reset();
      linked.setAttribute('aria-pressed', String(zoom.linked));
    }, { 'aria-pressed': 'true' });
    const wall = G.el('div', { class: `panes of-${cells.length}` }, ...figures);
    const overlay = G.button('Overlay difference', null, () => {
      const on = wall.classList.toggle('overlay');
      overlay.setAttribute('aria-pressed', String(on));
      zoom.linked = true;
      linked.setAttribute('aria-pressed', 'true');
      linked.disabled = on;
      zoom.reset();
    }, { 'aria-pressed': 'false' });
    const details = G.el('details', { class: 'requests', open: innerWidth > 700 }, G.el('summary', {}, 'Requests'), differenceOf(model, cells));
    const dialog = G.dialog(
      'compare',
      `Compare ${cells.length} images`,
      [
        G.el(
          'div',
          { class: 'dialog-bar' },
          G.el('h2', { tabindex: '-1', autofocus: true }, `Compare ${cells.length}`),
          linked,
          cells.length === 2 ? overlay : null,
          G.button('Zoom in', 'plus', () => zoom.zoom(1.5), { quiet: true }),
          G.button('Zoom out', 'minus', () => zoom.zoom(1 / 1.5), { quiet: true }),
          G.button('Whole images', 'reset', () => zoom.reset(), { quiet: true }),
          G.el('span', { class: 'push' }),
          G.button('Close', 'close', () => dialog.close(), { quiet: true }),
        ),
        wall,
        details,
      ],
      { onclose: () => forget() },
    );
    const mark = (id) =>
      cells.forEach((cell, n) => {
        if (id === null || id === cell.id) reviews[n].replaceChildren(G.reviewStar(app, cell), G.reviewRating(app, cell));
      });
    const forget = app.onMark(mark);
    mark(null);
    dialog.addEventListener('keydown', (event) => {
      event.stopPropagation(); // a lightbox may stand behind this one
      if (!G.typing(event) && !event.ctrlKey && !event.metaKey && zoom.key(event.key)) event.preventDefault();
    });
  };
})();
