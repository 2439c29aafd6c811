'use strict';
// The scoreboard: for each value of an axis how many images, how they were rated, how often they won, what they cost.
(function () {
  const G = globalThis.Gallery;
  const MILLION = 1e6; // money is summed in millionths: a price has at most so many places

  // One's own votes, and those of the reviews. What the reviews have of oneself is an earlier word on the same pair.
  function allVotes({ model, marks }) {
    const pair = (vote) => [vote.axis, vote.first, vote.second].join(' ');
    const own = marks.votes();
    const voted = new Set(own.map(pair));
    const named = (model.votes ?? []).map(([axis, reviewer, first, second, winner]) => ({ axis, reviewer, first, second, winner }));
    return [...named.filter((vote) => vote.reviewer !== marks.name || !voted.has(pair(vote))), ...own];
  }

  // One's own rating and votes, and those of the reviews; an image counts once for each reviewer.
  G.scores = (app, a) => {
    const { model, marks } = app;
    const rows = model.axes[a].values.map((name, v) => ({ v, name, images: 0, requests: new Set(), failed: new Set(), rating: 0, ratings: 0, wins: 0, votes: 0, cost: 0, chosen: 0 }));
    const bySha = new Map();
    const counted = app.cells.length || !G.filterCount(app.filter) ? app.passing : [];
    for (const cell of counted) {
      const row = rows[cell.at[a]];
      if (!row) continue;
      if (cell.change === 'equal' && cell.pair > cell.i && a !== model.runAxis) continue; // one image in two runs
      const request = `${cell.run} ${cell.key}`;
      row.requests.add(request);
      if (['failed', 'rejected', 'expired', 'not_delivered'].includes(cell.state)) row.failed.add(request);
      if (cell.sha256 || cell.image) row.images++;
      row.cost += Math.round(Number(cell.cost ?? 0) * MILLION);
      if (G.verdictOf(app, cell) === 'chosen') row.chosen++;
      const { opinion } = cell;
      const own = marks.of(cell);
      const given = (opinion?.given ?? []).filter(([reviewer]) => !own || reviewer !== marks.name);
      for (const rating of [...given.map(([, rating]) => rating), own?.rating || 0]) {
        if (!rating) continue;
        row.ratings++;
        row.rating += rating;
      }
      if (cell.sha256) bySha.set(cell.sha256, row);
    }
    for (const vote of allVotes(app)) {
      if (vote.axis !== model.axes[a].name) continue;
      const [first, second] = [bySha.get(vote.first), bySha.get(vote.second)];
      if (!first || !second || first === second) continue;
      first.votes++;
      second.votes++;
      first.wins += { first: 1, second: 0, tie: 0.5 }[vote.winner];
      second.wins += { first: 0, second: 1, tie: 0.5 }[vote.winner];
    }
    return rows.filter((row) => row.requests.size);
  };

  G.openScores = (app) => {
    const { model } = app;
    const axes = model.varying;
    let a = app.view.cols[0] ?? axes[0] ?? -1;
    const body = G.el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': G.t('Scores') });
    const money = model.runs.some((run) => run.play_money) ? 'Cost, play money (USD)' : 'Charged (USD)';
    const heads = ['Images', 'Chosen', 'Mean rating', 'Win rate', 'Failed requests', money];

    function draw() {
      if (a < 0) return body.replaceChildren(G.el('p', { class: 'hint' }, G.t('No axis has two values.')));
      const rows = G.scores(app, a);
      const best = Math.max(...rows.map((row) => (row.ratings ? row.rating / row.ratings : 0)));
      const cells = (row) => [
        row.images.toLocaleString('en'),
        row.chosen ? row.chosen.toLocaleString('en') : '–',
        row.ratings ? `${(row.rating / row.ratings).toFixed(2)} (${row.ratings})` : '–',
        row.votes ? `${Math.round((row.wins / row.votes) * 100)} % (${row.votes})` : '–',
        `${row.failed.size.toLocaleString('en')} / ${row.requests.size.toLocaleString('en')}`,
        (row.cost / MILLION).toFixed(4),
      ];
      return body.replaceChildren(
        G.el(
          'table',
          { class: 'results board' },
          G.el('caption', { class: 'quiet' }, model.axes[a].name),
          G.el('thead', {}, G.el('tr', {}, G.el('th', { scope: 'col' }, model.axes[a].name), ...heads.map((head) => G.el('th', { scope: 'col' }, G.t(head))))),
          G.el(
            'tbody',
            {},
            ...rows.map((row) =>
              G.el('tr', { class: row.ratings && row.rating / row.ratings === best ? 'best' : null }, G.el('th', { scope: 'row' }, row.name), ...cells(row).map((text) => G.el('td', {}, text))),
            ),
          ),
        ),
      );
    }

    const choice = G.select(G.t('Axis'), axes.map((n) => [String(n), model.axes[n].name]), String(a), (value) => {
      a = Number(value);
      draw();
    }, { id: 'score-axis' });
    const hint = G.filterCount(app.filter) ? G.t('Of what the filter lets through, on all tabs.') : G.t('Of all images; your own ratings and votes, and those of the reviews.');
    const dialog = G.dialog('board-dialog', G.t('Scores'), [
      G.el('div', { class: 'dialog-bar' }, G.el('h2', {}, G.t('Scores')), choice, G.el('span', { class: 'push' }), G.button(G.t('Close'), 'close', () => dialog.close(), { quiet: true })),
      G.el('p', { class: 'hint' }, hint),
      body,
    ]);
    draw();
  };
})();
