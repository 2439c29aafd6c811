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
    if (!rows.length) return G.el('p', { class: 'hint' }, G.t('The same request: only chance differs.'));
    const heads = cells.map((_, n) => G.el('th', { scope: 'col' }, String.fromCharCode(65 + n)));
    return G.el(
      'table',
      { class: 'differences' },
      G.el('caption', { class: 'quiet' }, G.t('Differences of the requests')),
      G.el('thead', {}, G.el('tr', {}, G.el('td'), ...heads)),
      G.el('tbody', {}, ...rows),
    );
  }

  function bestColumns(cells) {
    const [width, height] = [innerWidth - 24, innerHeight - 60];
    const area = (across) => {
      const box = [width / across, height / Math.ceil(cells.length / across)];
      return cells.reduce((sum, { ratio }) => sum + Math.min(box[0] / ratio, box[1]), 0);
    };
    const ways = cells.map((_, n) => n + 1);
    return ways.reduce((best, across) => (area(across) > area(best) + 1 ? across : best), 1);
  }

  G.openCompare = (app, cells) => {
    const { model } = app;
    const differing = model.varying.filter((a) => cells.some((cell) => cell.at[a] !== cells[0].at[a]));
    // Of the generations of one request it matters when they were made and for how much.
    const made = (cell) => (cells.some((one) => one.earlier) ? [G.when(cell), cell.cost ? `${cell.cost} USD` : null] : []);
    const where = (cell) => [differing.map((a) => `${model.axes[a].name}: ${cell.at[a] < 0 ? '–' : model.axes[a].short[cell.at[a]]}`).join(', ') || cell.address, ...made(cell)].filter(Boolean).join(' · ');
    const letter = (n) => String.fromCharCode(65 + n);
    const panes = cells.map((cell) => G.el('div', { class: 'stage' }, G.fullImage(cell)));
    const reviews = cells.map((cell) => G.el('div', { class: 'review' }, G.reviewStar(app, cell), G.reviewRating(app, cell)));
    const figures = cells.map((cell, n) =>
      G.el(
        'figure',
        { class: 'pane', 'data-i': cell.i },
        panes[n],
        G.el(
          'figcaption',
          {},
          G.el('b', { class: 'letter' }, letter(n)),
          G.el('span', { class: 'where', title: G.labels(model, cell) || cell.address }, where(cell)),
          cell.state === 'stored' ? null : G.stateChip(cell),
          reviews[n],
        ),
      ),
    );
    const zoom = G.zoomable(panes);
    const linked = G.button(G.t('Linked zoom'), null, () => {
      zoom.linked = !zoom.linked;
      if (zoom.linked) zoom.reset();
      linked.setAttribute('aria-pressed', String(zoom.linked));
    }, { 'aria-pressed': 'true' });
    // As many side by side as makes the pictures largest.
    const across = bestColumns(cells);
    const wall = G.el('div', { class: `panes of-${cells.length}`, style: { '--across': String(across) } }, ...figures);
    const overlay = G.button(G.t('Overlay difference'), null, () => {
      const on = wall.classList.toggle('overlay');
      overlay.setAttribute('aria-pressed', String(on));
      zoom.linked = true;
      linked.setAttribute('aria-pressed', 'true');
      linked.disabled = on;
      zoom.reset();
    }, { 'aria-pressed': 'false' });
    const details = G.el('details', { class: 'requests', open: cells.length === 2 && innerWidth > 700 && innerHeight > 700 }, G.el('summary', {}, G.t('Requests')), differenceOf(model, cells));
    const dialog = G.dialog(
      'compare',
      G.t('Compare {n}', { n: cells.length }),
      [
        G.el(
          'div',
          { class: 'dialog-bar' },
          G.el('h2', { tabindex: '-1', autofocus: true }, G.t('Compare {n}', { n: cells.length })),
          linked,
          cells.length === 2 ? overlay : null,
          G.button(G.t('Zoom in'), 'plus', () => zoom.zoom(1.5), { quiet: true }),
          G.button(G.t('Zoom out'), 'minus', () => zoom.zoom(1 / 1.5), { quiet: true }),
          G.button(G.t('Whole images'), 'reset', () => zoom.reset(), { quiet: true }),
          G.button('1:1', null, () => zoom.pixels(), { class: 'button', title: `${G.t('One pixel to one')} (z)` }),
          G.button(G.t('Full screen'), 'full', () => G.fullScreen(), { quiet: true }),
          G.el('span', { class: 'push' }),
          G.button(G.t('Close'), 'close', () => dialog.close(), { quiet: true }),
        ),
        wall,
        details,
      ],
      {
        onclose: () => {
          forget();
          app.news.delete(renew);
          app.compares([]);
        },
      },
    );
    app.compares(cells);
    const mark = (sha256) =>
      cells.forEach((cell, n) => {
        if (sha256 === null || sha256 === cell.sha256) for (const control of reviews[n].children) control.refresh();
      });
    const renew = (changed) => cells.forEach((cell, n) => changed.has(cell) && panes[n].replaceChildren(G.fullImage(cell)));
    app.news.add(renew);
    const forget = app.onMark(mark);
    dialog.addEventListener('keydown', (event) => {
      if (event.key !== 'f' && event.key !== '?') event.stopPropagation(); // a lightbox may stand behind this one
      if (!G.typing(event) && !event.ctrlKey && !event.metaKey && zoom.key(event.key)) event.preventDefault();
    });
  };
})();
