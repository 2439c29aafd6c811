'use strict';
// Star, rating and note of one image: the same controls wherever an image is looked at.
(function () {
  const G = globalThis.Gallery;

  G.reviewStar = (app, cell) => {
    const starred = Boolean(app.marks.get(cell.id)?.star);
    return G.el(
      'button',
      {
        type: 'button',
        class: 'round star',
        'aria-pressed': String(starred),
        'aria-label': 'Star',
        title: 'Star (s)',
        on: { click: () => app.marks.change(cell.id, { star: !app.marks.get(cell.id)?.star }) },
      },
      G.icon('star', starred),
    );
  };

  G.reviewRating = (app, cell) => {
    const rating = app.marks.get(cell.id)?.rating ?? 0;
    const steps = [1, 2, 3, 4, 5].map((n) =>
      G.el(
        'button',
        {
          type: 'button',
          class: n <= rating ? 'pip on' : 'pip',
          'aria-pressed': String(n === rating),
          'aria-label': `Rate ${n} of 5`,
          title: `Rate ${n} (${n})`,
          on: { click: () => app.marks.change(cell.id, { rating: n === app.marks.get(cell.id)?.rating ? 0 : n }) },
        },
        String(n),
      ),
    );
    return G.el('div', { class: 'rating', role: 'group', 'aria-label': 'Rating' }, ...steps);
  };

  G.reviewNote = (app, cell) => {
    const area = G.el('textarea', { rows: 2, placeholder: 'A note for the team', 'aria-label': 'Note', maxlength: 2000 });
    area.value = app.marks.get(cell.id)?.note ?? '';
    // Only a changed note is an opinion: looking at an image leaves no mark.
    area.addEventListener('change', () => {
      const note = area.value.trim();
      if (note !== (app.marks.get(cell.id)?.note ?? '')) app.marks.change(cell.id, { note });
    });
    return area;
  };

  G.stateChip = (cell) => {
    const { word, icon, tone } = G.stateOf(cell.state);
    return G.el('span', { class: `chip-state ${tone}` }, G.icon(icon), word);
  };

  // The image itself, behind it its thumbnail until it is there; a placeholder where there is none.
  G.fullImage = (cell, onmissing) => {
    const alt = cell.prompt.slice(0, 300) || cell.address;
    if (!cell.image && !cell.thumbnail) {
      const { word, icon, tone } = G.stateOf(cell.state);
      return G.el('div', { class: `placeholder large ${tone}` }, G.icon(icon), G.el('span', { class: 'word' }, word), cell.error ? G.el('span', { class: 'why' }, cell.error) : null);
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
