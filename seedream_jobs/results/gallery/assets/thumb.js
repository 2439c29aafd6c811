'use strict';
// One image slot, wherever it stands: the thumbnail or a placeholder, with its marks and the choice for comparing.
(function () {
  const G = globalThis.Gallery;

  // One's own marks, or where there are none what the reviews say.
  function marksOf(app, cell) {
    const mark = app.marks.of(cell);
    const rating = G.ratingOf(app, cell);
    const verdict = G.verdictOf(app, cell);
    const star = mark?.star || cell.opinion?.stars;
    const note = mark?.note || cell.opinion?.notes?.length;
    if (!star && !rating && !note && !verdict) return null;
    return G.el(
      'span',
      { class: 'marks' },
      verdict ? G.icon(verdict === 'chosen' ? 'choose' : 'stop') : null,
      star ? G.icon('star', true) : null,
      rating ? G.el('b', {}, String(rating)) : null,
      note ? G.icon('note') : null,
    );
  }

  function placeholder(cell) {
    const { said, icon, tone } = G.stateOf(cell.state);
    return G.el(
      'span',
      { class: `placeholder ${tone}` },
      G.icon(icon),
      G.el('span', { class: 'word' }, said),
      ' ', // between two words of the name
      cell.error ? G.el('span', { class: 'why' }, cell.error) : null,
    );
  }

  // The element holds no data but the cell's number: events are handled once, by the view around it.
  G.thumb = (app, cell) => {
    const { model, marks, chosen } = app;
    const state = G.stateOf(cell.state);
    const mark = marks.of(cell);
    const verdict = G.verdictOf(app, cell);
    const where = G.labels(model, cell) || cell.address;
    const differs = cell.earlier ? 'earlier' : ['equal', 'no image'].includes(cell.change) ? null : cell.change;
    const { thumbnail, image } = cell;
    const source = thumbnail ?? image;
    const said = [`${where} – ${state.said}${source || !cell.error ? '' : ` ${cell.error}`}`, differs ? G.t(differs) : '', mark?.star ? G.t('starred') : '', mark?.rating ? G.t('rated {rating}', mark) : '', verdict ? G.t(verdict) : ''].filter(Boolean).join(', ');
    const inside = source ? G.el('img', { src: source, alt: cell.prompt.slice(0, 200) || cell.address, loading: 'lazy', decoding: 'async', draggable: 'false' }) : placeholder(cell);
    const common = { class: 'open', 'data-i': cell.i, tabindex: '-1', 'aria-label': said };
    const open = image ? G.el('a', { ...common, href: image }, inside) : G.el('button', { ...common, type: 'button' }, inside);
    const wrong = source && cell.state !== 'stored' ? G.el('span', { class: `state ${state.tone}`, title: state.said }, G.icon(state.icon)) : null;
    const pressed = chosen.has(cell);
    return G.el(
      'div',
      { class: `thumb${pressed ? ' chosen' : ''}${verdict === 'rejected' ? ' rejected' : ''}${source ? '' : ' bare'}`, 'data-cell': cell.i },
      open,
      marksOf(app, cell),
      wrong,
      model.runAxis >= 0 ? G.el('span', { class: 'run', title: model.runs[cell.run].title }, String.fromCharCode(65 + (cell.run % 26))) : null,
      differs ? G.el('span', { class: 'differs' }, G.t(differs)) : null,
      G.el('button', { type: 'button', class: 'choose', 'data-choose': cell.i, tabindex: '-1', 'aria-pressed': String(pressed), 'aria-label': G.t('Compare: {where}', { where }), title: `${G.t('Compare')} (c)` }),
    );
  };

  // A thumbnail that is gone says so, instead of a broken picture. `error` does not bubble: it is caught on its way down.
  G.watchImages = (node) =>
    node.addEventListener(
      'error',
      (event) => {
        if (event.target.tagName !== 'IMG') return;
        event.target.replaceWith(G.el('span', { class: 'placeholder wait' }, G.icon('circle'), G.el('span', { class: 'word' }, G.t('image not found'))));
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
    const mark = app.marks.of(cell) ?? {};
    const verdict = { y: 'chosen', x: 'rejected' }[key];
    if (key === 's') app.marks.change(cell, { star: !mark.star });
    else if (key >= '0' && key <= '5' && key.length === 1) app.marks.change(cell, { rating: Number(key) });
    else if (verdict) app.marks.change(cell, { verdict: mark.verdict === verdict ? '' : verdict });
    else if (key === 'c') app.choose(cell);
    else return false;
    return true;
  };
})();
