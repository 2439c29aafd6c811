'use strict';
// One image slot, wherever it stands: the thumbnail or a placeholder, with its marks and the choice for comparing.
(function () {
  const G = globalThis.Gallery;

  const starred = (mark) =>
    mark && (mark.star || mark.rating || mark.note)
      ? G.el(
          'span',
          { class: 'marks' },
          mark.star ? G.icon('star', true) : null,
          mark.rating ? G.el('b', {}, String(mark.rating)) : null,
          mark.note ? G.icon('note') : null,
        )
      : null;

  const DIFFERENCES = { image: 'new image', request: 'new request', state: 'new state', only: 'only here' };

  function placeholder(cell) {
    const { word, icon, tone } = G.stateOf(cell.state);
    return G.el(
      'span',
      { class: `placeholder ${tone}` },
      G.icon(icon),
      G.el('span', { class: 'word' }, word),
      cell.error ? G.el('span', { class: 'why' }, cell.error) : null,
    );
  }

  // The element holds no data but the cell's number: events are handled once, by the view around it.
  G.thumb = (app, cell) => {
    const { model, marks, chosen } = app;
    const state = G.stateOf(cell.state);
    const mark = marks.get(cell.id);
    const where = G.labels(model, cell) || cell.address;
    const said = `${where} – ${state.word}${mark?.star ? ', starred' : ''}${mark?.rating ? `, rated ${mark.rating}` : ''}`;
    const source = cell.thumbnail ?? cell.image;
    const inside = source
      ? G.el('img', { src: source, alt: cell.prompt.slice(0, 200) || cell.address, loading: 'lazy', decoding: 'async', draggable: 'false' })
      : placeholder(cell);
    const common = { class: 'open', 'data-i': cell.i, tabindex: '-1', 'aria-label': said };
    const open = cell.image
      ? G.el('a', { ...common, href: cell.image }, inside)
      : G.el('button', { ...common, type: 'button' }, inside);
    const wrong = source && cell.state !== 'stored' ? G.el('span', { class: `state ${state.tone}`, title: state.word }, G.icon(state.icon)) : null;
    const differs = model.difference && DIFFERENCES[model.difference.found[cell.i]];
    const pressed = chosen.has(cell);
    return G.el(
      'div',
      { class: pressed ? 'thumb chosen' : 'thumb', 'data-cell': cell.i },
      open,
      starred(mark),
      wrong,
      app.model.runAxis >= 0 ? G.el('span', { class: 'run', title: model.runs[cell.run].title }, String.fromCharCode(65 + (cell.run % 26))) : null,
      differs ? G.el('span', { class: 'differs' }, differs) : null,
      G.el(
        'button',
        { type: 'button', class: 'choose', 'data-choose': cell.i, tabindex: '-1', 'aria-pressed': String(pressed), 'aria-label': `Compare: ${where}`, title: 'Compare (c)' },
        G.icon(pressed ? 'check' : 'plus'),
      ),
    );
  };

  // A thumbnail that is gone says so, instead of a broken picture. `error` does not bubble: it is caught on its way down.
  G.watchImages = (node) =>
    node.addEventListener(
      'error',
      (event) => {
        if (event.target.tagName !== 'IMG') return;
        event.target.replaceWith(G.el('span', { class: 'placeholder wait' }, G.icon('circle'), G.el('span', { class: 'word' }, 'image not found')));
      },
      true,
    );

  // Clicks and keys on thumbs that mean the same in every view. Returns true when the key was one of them.
  G.thumbClick = (app, event) => {
    const choose = event.target.closest('[data-choose]');
    if (choose) return app.choose(app.model.cells[Number(choose.dataset.choose)]);
    const open = event.target.closest('[data-i]');
    if (!open || event.ctrlKey || event.metaKey || event.shiftKey) return undefined;
    event.preventDefault();
    return app.open(app.model.cells[Number(open.dataset.i)]);
  };

  G.markKey = (app, cell, key) => {
    const mark = app.marks.get(cell.id) ?? {};
    if (key === 's') app.marks.change(cell.id, { star: !mark.star });
    else if (key >= '0' && key <= '5' && key.length === 1) app.marks.change(cell.id, { rating: Number(key) });
    else if (key === 'c') app.choose(cell);
    else return false;
    return true;
  };
})();
