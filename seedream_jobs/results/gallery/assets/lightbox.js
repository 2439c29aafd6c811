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
      G.button(G.t('Previous'), 'left', () => move('ArrowLeft'), { quiet: true, 'data-move': 'ArrowLeft' }),
      G.button(G.t('Next'), 'right', () => move('ArrowRight'), { quiet: true, 'data-move': 'ArrowRight' }),
    ];
    const shut = G.button(G.t('Close'), 'close', () => dialog.close(), { quiet: true, autofocus: true });
    const bar = G.el(
      'div',
      { class: 'stage-bar' },
      ...arrows,
      G.button(G.t('Zoom in'), 'plus', () => zoom.zoom(1.5), { quiet: true }),
      G.button(G.t('Zoom out'), 'minus', () => zoom.zoom(1 / 1.5), { quiet: true }),
      G.button(G.t('Whole image'), 'reset', () => zoom.reset(), { quiet: true }),
      G.button('1:1', null, () => zoom.pixels(), { class: 'button', title: `${G.t('One pixel to one')} (z)` }),
      G.button(G.t('Full screen'), 'full', () => G.fullScreen(), { quiet: true }),
    );
    const zoom = G.zoomable([stage]);
    const frame = G.el('div', { class: 'frame', tabindex: '-1' }, stage, bar);
    const dialog = G.dialog('lightbox', G.t('Image'), [frame, side, shut], {
      onclose: () => {
        forget();
        app.news.delete(renew);
        globalThis.removeEventListener('pagehide', keep);
        if (app.opened === cell) app.closed(cell);
      },
    });
    dialog.classList.toggle('alone', Boolean(app.alone));
    // What is being written goes on in the new field: in no field, its letters would be keys that rate and reject.
    function goOn(held, field) {
      field.value = held.value;
      field.focus({ preventScroll: true });
      field.setSelectionRange(held.selectionStart, held.selectionEnd);
    }

    const renew = (changed) => {
      if (!changed.has(cell)) return;
      const held = side.querySelector('textarea:focus, .why-input:focus');
      show(cell);
      if (held) goOn(held, side.querySelector(held.matches('textarea') ? 'textarea' : '.why-input'));
      else if (!dialog.contains(document.activeElement)) frame.focus();
    };
    app.news.add(renew);
    const forget = app.onMark((sha256) => (sha256 === null || sha256 === cell.sha256) && marks());

    // What is being written, also where the page is left in the midst of it.
    const keep = () => side.querySelectorAll('textarea, .why-input').forEach((field) => field.dispatchEvent(new Event('change')));
    globalThis.addEventListener('pagehide', keep);

    function move(key) {
      const found = app.current.move(cell, key);
      if (found) show(found);
    }

    function stepper(a) {
      const { name, values } = model.axes[a];
      const at = cell.at[a];
      const go = (direction) => {
        const found = G.step(model, cell, a, direction, app.isFiltered);
        return G.button(G.t(direction < 0 ? 'Previous {name}' : 'Next {name}', { name }), direction < 0 ? 'left' : 'right', () => show(found, a, direction), {
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
      fact(G.t('pixels'), cell.width && cell.height ? `${cell.width} × ${cell.height}` : null);
      fact(G.t(model.runs[cell.run].play_money ? 'play money' : 'charged'), cell.cost ? `${cell.cost} USD` : null);
      fact(G.t('submitted'), G.when(cell));
      fact(G.t('model'), cell.params.model);
      fact(G.t('task'), cell.task, 'code');
      fact('sha256', cell.sha256, 'code');
      fact(G.t('address'), cell.address, 'code');
      return rows;
    }

    function marks() {
      for (const control of side.querySelectorAll('.star, .rating, .choice, textarea')) control.refresh();
    }

    function describe() {
      const axes = model.varying.filter((a) => cell.at[a] >= 0);
      side.replaceChildren(
        G.el('div', { class: 'side-head' }, G.stateChip(cell), G.el('div', { class: 'review' }, G.reviewStar(app, cell), G.reviewRating(app, cell))),
        G.reviewChoice(app, cell),
        G.reviewOthers(app, cell) ?? '',
        cell.error ? G.el('p', { class: 'error' }, cell.error) : '',
        ...(cell.warnings ?? []).map((text) => G.el('p', { class: 'warning' }, text)),
        G.el('p', { class: 'prompt', tabindex: '0', role: 'region', 'aria-label': G.t('Prompt') }, cell.prompt),
        G.el(
          'div',
          { class: 'actions' },
          G.button(G.t('Copy prompt'), 'copy', () => G.copy(cell.prompt, G.t('Prompt copied'))),
          G.button(G.t('Copy as YAML'), 'copy', () => G.copy(G.asYaml(model, cell), G.t('Job file of this image copied'))),
          G.button(G.t('Copy link'), 'copy', () => G.copy(location.href.split('#')[0] + '#' + G.hashOf(app), G.t('Link copied'))),
          cell.image ? G.el('a', { class: 'button', href: cell.image, target: '_blank', rel: 'noopener' }, G.icon('download'), G.t('Open file')) : '',
          G.partnerOf(model, cell) ? G.button(G.t('Compare runs'), 'compare', () => G.openCompare(app, pairOf())) : '',
          G.generationsOf(model, cell).length > 1 ? G.button(G.t('Compare generations'), 'compare', () => G.openCompare(app, G.generationsOf(model, cell).slice(0, 4))) : '',
        ),
        promptChange() ?? '',
        axes.length ? G.el('div', { class: 'axes' }, ...axes.map(stepper)) : '',
        G.el('h2', {}, G.t('Note')),
        G.reviewNote(app, cell),
        G.el('h2', {}, G.t('Details')),
        G.el('dl', { class: 'facts' }, ...facts()),
      );
    }

    // What the prompt was in the run before, and what it is.
    function promptChange() {
      const other = G.partnerOf(model, cell);
      if (!other || other.prompt === cell.prompt) return null;
      const [before, now] = pairOf();
      const parts = G.wordDifference(before.prompt, now.prompt);
      return G.el(
        'div',
        { class: 'prompt-change' },
        G.el('h3', {}, G.t('Prompt: before → now')),
        G.el('p', {}, ...parts.map(([kind, text]) => (kind === 'same' ? text : G.el(kind === 'gone' ? 'del' : 'ins', {}, text)))),
      );
    }

    const pairOf = () => [cell, G.partnerOf(model, cell)].sort((a, b) => a.run - b.run);

    function show(next, a, direction) {
      keep();
      cell = next;
      app.reveal(cell);
      app.shows(cell);
      const shown = cell;
      const missing = () => cell === shown && frame.append(G.el('p', { class: 'missing' }, G.t('The whole image is not beside this page')));
      frame.querySelector('.missing')?.remove();
      stage.replaceChildren(G.fullImage(cell, missing));
      zoom.reset();
      describe();
      dialog.setAttribute('aria-label', G.labels(model, cell) || cell.address);
      dialog.dataset.i = cell.i;
      for (const arrow of arrows) {
        const end = !app.current.move(cell, arrow.dataset.move);
        // A button that is switched off hears no keys: the next one would be lost.
        if (end && arrow === document.activeElement) frame.focus();
        arrow.disabled = end;
      }
      if (a !== undefined) side.querySelector(`[data-step="${a},${direction}"]:not(:disabled)`)?.focus();
      G.announce(`${G.labels(model, cell) || cell.address}, ${G.stateOf(cell.state).said}`);
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
      } else if (['+', '=', '-', 'z'].includes(event.key)) zoom.key(event.key);
      else if (event.key === 'h') app.alone = dialog.classList.toggle('alone');
      else if (G.markKey(app, cell, event.key)) event.preventDefault();
    });
    show(cell);
  };
})();
