'use strict';
// Star, rating and note of one image: the same controls wherever an image is looked at.
(function () {
  const G = globalThis.Gallery;

  G.reviewStar = (app, cell) => {
    const star = G.el(
      'button',
      {
        type: 'button',
        class: 'round star',
        'aria-label': G.t('Star'),
        title: `${G.t('Star')} (s)`,
        on: { click: () => app.marks.change(cell, { star: !app.marks.of(cell)?.star }) },
      },
      G.icon('star'),
    );
    return G.refreshed(star, () => {
      const starred = Boolean(app.marks.of(cell)?.star);
      star.setAttribute('aria-pressed', String(starred));
      star.firstChild.classList.toggle('filled', starred);
    });
  };

  G.reviewRating = (app, cell) => {
    const rated = () => app.marks.of(cell)?.rating ?? 0;
    const pips = [1, 2, 3, 4, 5].map((n) =>
      G.el(
        'button',
        {
          type: 'button',
          class: 'pip',
          'aria-label': G.t('Rate {n} of 5', { n }),
          title: `${G.t('Rate {n} of 5', { n })} (${n})`,
          on: { click: () => app.marks.change(cell, { rating: n === rated() ? 0 : n }) },
        },
        String(n),
      ),
    );
    return G.refreshed(G.el('div', { class: 'rating', role: 'group', 'aria-label': G.t('Rating') }, ...pips), () =>
      pips.forEach((pip, i) => {
        pip.classList.toggle('on', i < rated());
        pip.setAttribute('aria-pressed', String(i + 1 === rated()));
      }),
    );
  };

  // A text that is kept once its field is left. Only what was written here is kept: looking at an image leaves no mark, and
  // what another tab of the page wrote meanwhile stays.
  function written(field, app, cell, part) {
    let shown = '';
    field.addEventListener('change', () => {
      const text = field.value.trim();
      if (text === shown) return;
      shown = text;
      app.marks.change(cell, { [part]: text });
    });
    return G.refreshed(field, () => {
      const kept = app.marks.of(cell)?.[part] ?? '';
      if (kept === shown || field.value.trim() !== shown) return; // what is being written stays as it is
      field.value = shown = kept;
    });
  }

  G.reviewNote = (app, cell) => {
    const hint = cell.sha256 ? 'A note for the team' : 'There is no image to judge yet';
    const area = G.el('textarea', { rows: 2, placeholder: G.t(hint), 'aria-label': G.t('Note'), maxlength: 2000, disabled: !cell.sha256 });
    return written(area, app, cell, 'note');
  };

  // Chosen or rejected, and the reason. The reason is kept with the word: without one it says nothing.
  G.reviewChoice = (app, cell) => {
    const said = (part) => app.marks.of(cell)?.[part] ?? '';
    const button = (value, word, icon, key) =>
      G.button(G.t(word), icon, () => app.marks.change(cell, { verdict: said('verdict') === value ? '' : value }), {
        'data-verdict': value,
        title: `${G.t(word)} (${key})`,
        disabled: !cell.sha256,
      });
    const buttons = [button('chosen', 'Choose', 'choose', 'y'), button('rejected', 'Reject', 'stop', 'x')];
    const why = G.el('input', { type: 'text', class: 'why-input', maxlength: 2000, placeholder: G.t('Why?'), 'aria-label': G.t('Reason') });
    written(why, app, cell, 'why');
    return G.refreshed(G.el('div', { class: 'choice', role: 'group', 'aria-label': G.t('Choice') }, ...buttons, why), () => {
      for (const one of buttons) one.setAttribute('aria-pressed', String(one.dataset.verdict === said('verdict')));
      why.hidden = !said('verdict');
      why.refresh();
    });
  };

  const VERDICTS = { chosen: 'chosen', rejected: 'rejected' };

  // What the reviews and the selection under version control say, by name.
  G.reviewOthers = (app, cell) => {
    const { opinion, choice } = cell;
    const parts = [];
    if (app.marks.ofAnother(cell)) parts.push(G.el('p', { class: 'warning' }, G.t('You judged another image of this request: that says nothing of this one.')));
    const { select } = app.model;
    if (select?.one_per?.length) parts.push(G.el('p', { class: 'hint' }, G.t('To be chosen: one for each {axes}', { axes: select.one_per.join(', ') }) + (select.approvals > 1 ? `, ${G.t('by {n} people', { n: select.approvals })}` : '')));
    if (choice) {
      const by = (choice.by ?? []).join(', ');
      parts.push(G.el('p', { class: `verdict ${choice.verdict}` }, G.icon(choice.verdict === 'chosen' ? 'choose' : 'stop'), [G.t(VERDICTS[choice.verdict] ?? choice.verdict), by, choice.why].filter(Boolean).join(' · ')));
    }
    if (opinion) {
      const said = [];
      if (opinion.rating) said.push(G.t('rated {rating} by {n}', { rating: opinion.rating, n: opinion.ratings ?? 1 }));
      if (opinion.stars) said.push(G.count(opinion.stars, '{n} star', '{n} stars'));
      if (opinion.votes) said.push(G.t('won {wins} of {votes} votes', opinion));
      if (said.length) parts.push(G.el('p', {}, said.join(' · ')));
      if (opinion.former) parts.push(G.el('p', { class: 'warning' }, G.t('Another image of this request was judged: that says nothing of this one.')));
      for (const { reviewer, note } of opinion.notes ?? []) parts.push(G.el('p', { class: 'said' }, G.el('b', {}, reviewer || G.t('somebody')), ' ', note));
    }
    return parts.length ? G.el('section', { class: 'others', 'aria-label': G.t('Reviews') }, ...parts) : null;
  };

  G.stateChip = (cell) => {
    const { said, icon, tone } = G.stateOf(cell.state);
    return G.el('span', { class: `chip-state ${tone}` }, G.icon(icon), said);
  };

  // The image itself, behind it its thumbnail until it is there; a placeholder where there is none.
  G.fullImage = (cell, onmissing) => {
    const alt = cell.prompt.slice(0, 300) || cell.address;
    if (!cell.image && !cell.thumbnail) {
      const { said, icon, tone } = G.stateOf(cell.state);
      return G.el('div', { class: `placeholder large ${tone}` }, G.icon(icon), G.el('span', { class: 'word' }, said), cell.error ? G.el('span', { class: 'why' }, cell.error) : null);
    }
    const image = G.el('img', { src: cell.thumbnail ?? cell.image, alt, decoding: 'async', draggable: 'false', width: cell.width, height: cell.height });
    if (cell.image && cell.thumbnail) {
      const whole = new Image();
      whole.src = cell.image;
      whole.decode().then(
        () => (image.src = cell.image),
        () => onmissing?.(),
      );
    }
    return image;
  };
})();
