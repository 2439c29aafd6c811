'use strict';
// One image large, with all that is known of it; the arrow keys move along the axes of the view behind it.
(function () {
  const G = globalThis.Gallery;
  const KEYS = ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', '[', ']'];

  G.openLightbox = (app, first) => {
    const { model } = app;
    let cell = first;
    const stage = G.el('div', { class: 'stage' });
    const side = G.el('div', { class: 'side' });
    const arrows = [
      G.button('Previous', 'left', () => move('ArrowLeft'), { quiet: true, 'data-move': 'ArrowLeft' }),
      G.button('Next', 'right', () => move('ArrowRight'), { quiet: true, 'data-move': 'ArrowRight' }),
    ];
    const shut = G.button('Close', 'close', () => dialog.close(), { quiet: true, autofocus: true });
    const bar = G.el(
      'div',
      { class: 'stage-bar' },
      ...arrows,
      G.button('Zoom in', 'plus', () => zoom.zoom(1.5), { quiet: true }),
      G.button('Zoom out', 'minus', () => zoom.zoom(1 / 1.5), { quiet: true }),
      G.button('Whole image', 'reset', () => zoom.reset(), { quiet: true }),
    );
    const zoom = G.zoomable([stage]);
    const frame = G.el('div', { class: 'frame' }, stage, bar);
    const dialog = G.dialog('lightbox', 'Image', [frame, side, shut], {
      onclose: () => {
        forget();
        app.closed(cell);
      },
    });
    const forget = app.onMark((id) => (id === null || id === cell.id) && marks());

    function move(key) {
      const found = app.current.move(cell, key);
      if (found) show(found);
      arrows.forEach((arrow) => (arrow.disabled = !app.current.move(cell, arrow.dataset.move)));
    }

    function stepper(a) {
      const { name, values } = model.axes[a];
      const at = cell.at[a];
      const allowed = app.filtered;
      const go = (direction) => {
        const found = G.step(model, cell, a, direction, allowed);
        return G.button(`${direction < 0 ? 'Previous' : 'Next'} ${name}`, direction < 0 ? 'left' : 'right', () => show(found, a, direction), {
          quiet: true,
          disabled: !found,
          'data-step': `${a},${direction}`,
        });
      };
      return G.el(
        'div',
        { class: 'stepper', role: 'group', 'aria-label': name },
        G.el('span', { class: 'name' }, name),
        G.el('b', {}, G.label(model, a, at)),
        G.el('span', { class: 'count' }, `${at + 1}/${values.length}`),
        go(-1),
        go(1),
      );
    }

    function facts() {
      const rows = [];
      const fact = (name, value, className) => {
        if (value !== null && value !== undefined && value !== '') rows.push(G.el('div', {}, G.el('dt', {}, name), G.el('dd', { class: className }, String(value))));
      };
      for (const [name, value] of Object.entries(cell.params)) {
        if (name !== 'model') fact(name.replace(/_/g, ' '), typeof value === 'object' ? JSON.stringify(value) : value);
      }
      fact('pixels', cell.width && cell.height ? `${cell.width} × ${cell.height}` : null);
      fact('cost', cell.cost ? `${cell.cost} USD` : null);
      fact('submitted', cell.submitted ? `${cell.submitted} UTC` : null);
      fact('model', cell.params.model);
      fact('task', cell.task, 'code');
      fact('sha256', cell.sha256, 'code');
      fact('address', cell.address, 'code');
      return rows;
    }

    function marks() {
      const held = side.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
      const review = side.querySelector('.review');
      review.replaceChildren(G.reviewStar(app, cell), G.reviewRating(app, cell));
      if (held) [...review.querySelectorAll('button')].find((button) => button.getAttribute('aria-label') === held)?.focus();
    }

    function describe() {
      const axes = model.varying.filter((a) => cell.at[a] >= 0);
      side.replaceChildren(
        G.el('div', { class: 'side-head' }, G.stateChip(cell), G.el('div', { class: 'review' })),
        cell.error ? G.el('p', { class: 'error' }, cell.error) : '',
        ...(cell.warnings ?? []).map((text) => G.el('p', { class: 'warning' }, text)),
        G.el('p', { class: 'prompt', tabindex: '0', 'aria-label': 'Prompt' }, cell.prompt),
        G.el(
          'div',
          { class: 'actions' },
          G.button('Copy prompt', 'copy', () => G.copy(cell.prompt, 'Prompt copied')),
          G.button('Copy as YAML', 'copy', () => G.copy(G.asYaml(model, cell), 'Job file of this image copied')),
          cell.image ? G.el('a', { class: 'button', href: cell.image, target: '_blank', rel: 'noopener' }, G.icon('download'), 'Open file') : '',
          G.partnerOf(model, cell) ? G.button('Compare runs', 'compare', () => G.openCompare(app, pairOf())) : '',
        ),
        axes.length ? G.el('div', { class: 'axes' }, ...axes.map(stepper)) : '',
        G.el('h3', {}, 'Note'),
        G.reviewNote(app, cell),
        G.el('h3', {}, 'Details'),
        G.el('dl', { class: 'facts' }, ...facts()),
      );
      marks();
    }

    const pairOf = () => [cell, G.partnerOf(model, cell)].sort((a, b) => a.run - b.run);

    function show(next, a, direction) {
      side.querySelector('textarea')?.dispatchEvent(new Event('change'));
      cell = next;
      app.reveal(cell);
      const shown = cell;
      const missing = () => cell === shown && frame.append(G.el('p', { class: 'missing' }, 'The whole image is not beside this page'));
      frame.querySelector('.missing')?.remove();
      stage.replaceChildren(G.fullImage(cell, missing));
      zoom.reset();
      describe();
      dialog.setAttribute('aria-label', G.labels(model, cell) || cell.address);
      dialog.dataset.i = cell.i;
      arrows.forEach((arrow) => (arrow.disabled = !app.current.move(cell, arrow.dataset.move)));
      if (a !== undefined) side.querySelector(`[data-step="${a},${direction}"]:not(:disabled)`)?.focus();
      G.announce(`${G.labels(model, cell) || cell.address}, ${G.stateOf(cell.state).word}`);
      for (const key of ['ArrowRight', 'ArrowLeft']) {
        const near = app.current.move(cell, key);
        if (near?.image) new Image().src = near.image;
      }
    }

    dialog.addEventListener('keydown', (event) => {
      if (G.typing(event) || event.altKey || event.metaKey || event.ctrlKey) return;
      // The side panel scrolls by its own keys only where nothing else is meant: the arrows always move the image.
      if (KEYS.includes(event.key)) {
        event.preventDefault();
        move(event.key);
      } else if (event.key === '+' || event.key === '=' || event.key === '-') zoom.key(event.key);
      else if (G.markKey(app, cell, event.key)) event.preventDefault();
    });
    show(cell);
  };
})();
