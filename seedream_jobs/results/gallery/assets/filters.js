'use strict';
// The filter: a group for the states, one for each axis, and what was said of the images.
(function () {
  const G = globalThis.Gallery;
  const CHIPS = 24; // an axis with more values is filtered by text

  // A group of chips: none pressed means all.
  function chips(id, name, values, set, counts, app) {
    if (!values.length) return null;
    return G.el(
      'fieldset',
      {},
      G.el('legend', {}, name),
      ...values.map(([value, text]) =>
        G.el(
          'button',
          {
            type: 'button',
            class: 'chip',
            'aria-pressed': String(set.has(value)),
            'data-filter': `${id}=${text}`,
            on: {
              click: (event) => {
                if (!set.delete(value)) set.add(value);
                event.currentTarget.setAttribute('aria-pressed', String(set.has(value)));
                app.refilter();
              },
            },
          },
          text,
          counts ? G.el('span', { class: 'count' }, String(counts.get(value) ?? 0)) : null,
        ),
      ),
    );
  }

  G.drawFilters = (app, host) => {
    const { model, filter } = app;
    const states = new Map();
    for (const cell of model.cells) states.set(G.stateOf(cell.state).word, (states.get(G.stateOf(cell.state).word) ?? 0) + 1);
    const groups = [chips('State', G.t('State'), [...states.keys()].map((word) => [word, G.t(word)]), filter.states, states, app)];
    groups.push(chips('Between runs', G.t('Between runs'), [...model.changes.keys()].map((word) => [word, G.t(word)]), filter.difference, model.changes, app));
    for (const a of model.varying) {
      const { name, values } = model.axes[a];
      if (values.length <= CHIPS) groups.push(chips(name, name, values.map((label, v) => [v, label]), filter.values[a], null, app));
      else {
        const input = G.el('input', { type: 'search', value: filter.contains[a], placeholder: G.t('one of {n} values', { n: values.length }), 'aria-label': G.t('{name} contains', { name }) });
        input.addEventListener('input', () => {
          filter.contains[a] = input.value.trim();
          app.refilter();
        });
        groups.push(G.el('fieldset', {}, G.el('legend', {}, name), input));
      }
    }
    const starred = G.el('button', { type: 'button', class: 'chip', 'aria-pressed': String(filter.starred), 'data-filter': 'starred' }, G.t('starred'));
    starred.addEventListener('click', () => {
      filter.starred = !filter.starred;
      starred.setAttribute('aria-pressed', String(filter.starred));
      app.refilter();
    });
    const rated = G.select(G.t('rated'), [['0', G.t('or not')], ...[1, 2, 3, 4, 5].map((n) => [String(n), n === 5 ? '5' : G.t('{n} or more', { n })])], String(filter.rating), (value) => {
      filter.rating = Number(value);
      app.refilter();
    });
    const verdicts = ['chosen', 'rejected', 'undecided'];
    groups.push(chips('Choice', G.t('Choice'), verdicts.map((word) => [word, G.t(word)]), filter.verdicts, null, app));
    groups.push(G.el('fieldset', {}, G.el('legend', {}, G.t('Review')), starred, rated));
    host.replaceChildren(...groups.filter(Boolean), G.button(G.t('Clear all'), 'close', () => app.clearFilters(), { id: 'clear' }));
  };
})();
