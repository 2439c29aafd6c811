'use strict';
// Blind votes: two images that differ along one axis only, sides by chance, names hidden; then who wins how often.
(function () {
  const G = globalThis.Gallery;
  const ANY = '(any two images)';

  // Groups of cells that could meet: along an axis all its other values are equal.
  function groupsOf(app, a) {
    const groups = new Map();
    for (const cell of app.cells) {
      if (!cell.sha256 || (!cell.thumbnail && !cell.image)) continue; // a vote is about bytes
      const rest = a < 0 ? '' : cell.at.filter((_, n) => n !== a).join(',');
      if (groups.has(rest)) groups.get(rest).push(cell);
      else groups.set(rest, [cell]);
    }
    return [...groups.values()].filter((group) => group.length > 1);
  }

  const pairCount = (groups) => groups.reduce((sum, group) => sum + (group.length * (group.length - 1)) / 2, 0);
  const pick = (list) => list[Math.floor(Math.random() * list.length)];

  // A pair nobody voted on: by chance, and when chance finds none, by looking through all of them.
  function nextPair(app, groups, axis) {
    for (let tries = 0; tries < 60 && groups.length; tries++) {
      const group = pick(groups);
      const [a, b] = [pick(group), pick(group)];
      if (a.sha256 !== b.sha256 && !app.marks.voted(axis, a, b)) return [a, b];
    }
    let looked = 0;
    for (const group of groups) {
      for (let i = 0; i < group.length; i++) {
        for (let j = i + 1; j < group.length; j++) {
          if (++looked > 200000) return null;
          if (group[i].sha256 !== group[j].sha256 && !app.marks.voted(axis, group[i], group[j])) return Math.random() < 0.5 ? [group[i], group[j]] : [group[j], group[i]];
        }
      }
    }
    return null;
  }

  // Wins, losses and ties per value of the axis; a tie is half a win.
  G.winRates = (model, votes, axis) => {
    const a = model.axes.findIndex((candidate) => candidate.name === axis);
    const cells = new Map(model.cells.filter((cell) => cell.sha256).map((cell) => [cell.sha256, cell]));
    const table = new Map();
    const entry = (cell) => {
      const name = a < 0 ? G.labels(model, cell) || cell.address : G.label(model, a, cell.at[a]);
      if (!table.has(name)) table.set(name, { name, wins: 0, losses: 0, ties: 0 });
      return table.get(name);
    };
    for (const vote of votes) {
      const [first, second] = [cells.get(vote.first), cells.get(vote.second)];
      if (vote.axis !== axis || !first || !second) continue;
      const [x, y] = [entry(first), entry(second)];
      if (vote.winner === 'tie') [x.ties, y.ties] = [x.ties + 1, y.ties + 1];
      else {
        const [better, worse] = vote.winner === 'first' ? [x, y] : [y, x];
        better.wins += 1;
        worse.losses += 1;
      }
    }
    const rows = [...table.values()];
    for (const row of rows) row.rate = (row.wins + row.ties / 2) / (row.wins + row.losses + row.ties);
    return rows.sort((x, y) => y.rate - x.rate || y.wins - x.wins || (x.name < y.name ? -1 : 1));
  };

  function resultTable(rows) {
    const body = rows.slice(0, 30).map((row) =>
      G.el(
        'tr',
        {},
        G.el('th', { scope: 'row' }, row.name),
        G.el('td', { class: 'rate' }, G.el('meter', { min: 0, max: 1, value: row.rate, 'aria-hidden': 'true' }), `${Math.round(row.rate * 100)} %`),
        ...[row.wins, row.losses, row.ties].map((n) => G.el('td', {}, String(n))),
      ),
    );
    const heads = ['', 'Win rate', 'Won', 'Lost', 'Tied'].map((text) => (text ? G.el('th', { scope: 'col' }, G.t(text)) : G.el('td')));
    return G.el(
      'table',
      { class: 'results' },
      G.el('caption', { class: 'quiet' }, G.t('Win rates')),
      G.el('thead', {}, G.el('tr', {}, ...heads)),
      G.el('tbody', {}, ...body),
    );
  }

  G.openVote = (app) => {
    const { model, marks } = app;
    const axes = model.varying.filter((a) => groupsOf(app, a).length);
    const named = axes.filter((n) => model.axes[n].kind === 'axis');
    let a = axes.find((n) => model.axes[n].kind === 'run') ?? named[named.length - 1] ?? axes[0] ?? -1;
    let pair = null;
    let groups = [];
    let asked = new Set(); // the images of the groups, by their bytes
    let open = false;
    const axisName = () => (a < 0 ? ANY : model.axes[a].name);
    // The votes on the pairs that can be asked for here: a filter leaves out the others.
    const cast = () => marks.votes().filter((vote) => vote.axis === axisName() && asked.has(vote.first) && asked.has(vote.second));
    const options = [...axes.map((n) => [String(n), model.axes[n].name]), ['-1', G.t('any two images')]];
    const choice = G.select(G.t('Along'), options, String(a), (value) => {
      a = Number(value);
      open = false;
      begin();
    });
    const panes = G.el('div', { class: 'panes of-2 ballot', tabindex: '-1', autofocus: true });
    const count = G.el('p', { class: 'hint', id: 'vote-count' });
    const results = G.el('div', { class: 'vote-results' });
    const toggle = G.button(G.t('Show results'), null, () => {
      open = !open;
      tally();
    }, { 'aria-expanded': 'false' });
    const again = G.button(G.t('Start over'), null, () => {
      marks.forgetVotes(new Set(cast()));
      begin();
    });
    const tie = G.button(G.t('Tie'), null, () => verdict(null));
    const skip = G.button(G.t('Skip'), null, () => next());
    const dialog = G.dialog('vote', G.t('Blind vote'), [
      G.el(
        'div',
        { class: 'dialog-bar' },
        G.el('h2', {}, G.t('Which is better?')),
        choice,
        G.el('span', { class: 'push' }),
        G.button(G.t('Close'), 'close', () => dialog.close(), { quiet: true }),
      ),
      panes,
      G.el('div', { class: 'ballot-bar' }, tie, skip, count, G.el('span', { class: 'push' }), toggle, again),
      results,
    ]);

    function tally() {
      const votes = cast();
      const total = pairCount(groups);
      count.textContent = G.t('{n} of {all} pairs', { n: votes.length, all: total });
      toggle.setAttribute('aria-expanded', String(open));
      toggle.querySelector('.word').textContent = G.t(open ? 'Hide results' : 'Show results');
      again.disabled = !votes.length;
      if (!open) return results.replaceChildren();
      return results.replaceChildren(votes.length ? resultTable(G.winRates(model, votes, axisName())) : G.el('p', { class: 'hint' }, G.t('No votes yet.')));
    }

    function verdict(winner) {
      if (!pair) return;
      marks.vote(axisName(), pair[0], pair[1], winner);
      next();
    }

    function candidate(cell, n) {
      const image = G.fullImage({ image: cell.image, thumbnail: cell.thumbnail, width: cell.width, height: cell.height, state: cell.state, prompt: '', address: G.t(n ? 'Right image' : 'Left image') });
      const side = n ? 'right' : 'left';
      return G.el(
        'button',
        { type: 'button', class: 'candidate', 'data-side': side, 'aria-label': G.t(n ? 'The right image is better' : 'The left image is better'), on: { click: () => verdict(pair[n]) } },
        image,
        G.el('kbd', {}, n ? '→' : '←'),
      );
    }

    function next() {
      pair = nextPair(app, groups, axisName());
      tie.disabled = skip.disabled = !pair;
      // The buttons of the last pair are going: the focus stays in the dialog, where the arrow keys are heard.
      if (panes.contains(document.activeElement) || document.activeElement === document.body) panes.focus();
      if (pair) panes.replaceChildren(...pair.map(candidate));
      else {
        panes.replaceChildren(G.el('p', { class: 'done' }, G.t(groups.length ? 'Every pair has your vote.' : 'There are no two images that differ along this axis only.')));
        open = groups.length > 0;
      }
      tally();
    }

    function begin() {
      groups = groupsOf(app, a);
      asked = new Set(groups.flat().map((cell) => cell.sha256));
      next();
    }

    dialog.addEventListener('keydown', (event) => {
      if (G.typing(event) || event.altKey || event.metaKey || event.ctrlKey) return;
      const keys = { ArrowLeft: () => verdict(pair?.[0]), ArrowRight: () => verdict(pair?.[1]), ArrowDown: () => verdict(null), ArrowUp: () => next() };
      if (!pair || !Object.keys(keys).includes(event.key)) return;
      event.preventDefault();
      keys[event.key]();
    });
    begin();
  };
})();
