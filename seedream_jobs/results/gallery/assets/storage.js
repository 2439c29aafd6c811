'use strict';
// Stars, ratings, notes and votes: kept by the browser where it lets us, exported as ratings.json.
(function () {
  const G = globalThis.Gallery;

  // A page may run where storage is denied (private windows, sandboxes): then marks live as long as the page.
  function openShelf(name) {
    try {
      const shelf = globalThis.localStorage;
      shelf.setItem(name + ':probe', '1');
      shelf.removeItem(name + ':probe');
      return shelf;
    } catch {
      return null;
    }
  }

  const emptyMark = (mark) => !mark.star && !mark.rating && !mark.note;

  G.openMarks = (model) => {
    const name = 'seedream-jobs:gallery:1:' + [...new Set(model.runs.map((run) => run.name))].join(',');
    const shelf = openShelf(name);
    const marks = new Map();
    let votes = new Map();
    let reviewer = '';
    const listeners = new Set();

    function read() {
      let kept;
      try {
        kept = JSON.parse(shelf?.getItem(name) ?? 'null');
      } catch {
        kept = null;
      }
      if (!kept || typeof kept !== 'object') return;
      marks.clear();
      for (const [id, mark] of kept.marks ?? []) marks.set(id, mark);
      votes = new Map(kept.votes ?? []);
      reviewer = String(kept.reviewer ?? '');
    }

    function write(changed) {
      try {
        shelf?.setItem(name, JSON.stringify({ marks: [...marks], votes: [...votes], reviewer }));
      } catch {
        G.toast('The browser keeps no more notes: export the ratings now');
      }
      for (const listener of listeners) listener(changed);
    }

    read();
    globalThis.addEventListener('storage', (event) => {
      if (event.key !== name) return;
      read();
      for (const listener of listeners) listener(null);
    });

    return {
      persistent: shelf !== null,
      get: (id) => marks.get(id),
      get reviewer() {
        return reviewer;
      },
      set reviewer(text) {
        reviewer = text;
        write(null);
      },
      votes: () => [...votes.values()],
      onChange: (listener) => listeners.add(listener),
      // An emptied mark is kept as empty, so that an export can take back what an earlier one said.
      change(id, part) {
        marks.set(id, { star: false, rating: 0, note: '', ...marks.get(id), ...part });
        write(id);
      },
      // One verdict for a pair along an axis; a later one replaces it.
      vote(axis, a, b, winner) {
        const [first, second] = a.id < b.id ? [a, b] : [b, a];
        const side = winner === null ? 'tie' : winner === first ? 'first' : 'second';
        votes.set([axis, first.id, second.id].join(' '), { axis, first: first.id, second: second.id, winner: side });
        write(null);
      },
      voted: (axis, a, b) => votes.has([axis, ...(a.id < b.id ? [a.id, b.id] : [b.id, a.id])].join(' ')),
      forgetVotes(axis) {
        for (const [key, vote] of votes) if (vote.axis === axis) votes.delete(key);
        write(null);
      },
      count: () => [...marks.values()].filter((mark) => !emptyMark(mark)).length,
      exported: (job) => exported(model, marks, votes, reviewer, job),
    };
  };

  const reference = (cell) => ({ key: cell.key, index: cell.index });

  // The shape of schemas/ratings.schema.json, in the order of the page.
  function exported(model, marks, votes, reviewer, job) {
    const cells = new Map();
    for (const cell of model.cells) if (model.runs[cell.run].name === job && !cells.has(cell.id)) cells.set(cell.id, cell);
    const ratings = [];
    for (const cell of cells.values()) {
      const mark = marks.get(cell.id);
      if (!mark) continue;
      ratings.push({
        ...reference(cell),
        address: cell.address,
        ...(cell.sha256 ? { sha256: cell.sha256 } : {}),
        star: Boolean(mark.star),
        rating: mark.rating || null,
        note: mark.note || '',
      });
    }
    const verdicts = [];
    for (const vote of votes.values()) {
      const [first, second] = [cells.get(vote.first), cells.get(vote.second)];
      if (first && second) verdicts.push({ axis: vote.axis, first: reference(first), second: reference(second), winner: vote.winner });
    }
    return { format: 1, job, reviewer, ratings, votes: verdicts };
  }

  // One file for each job on the page; a page of one job gives ratings.json.
  G.exportRatings = (model, marks) => {
    const jobs = [...new Set(model.runs.map((run) => run.name))];
    for (const job of jobs) {
      const text = JSON.stringify(marks.exported(job), null, 2) + '\n';
      const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
      const file = jobs.length === 1 ? 'ratings.json' : `ratings-${job.replace(/[^\w.-]+/g, '-')}.json`;
      const link = G.el('a', { href: url, download: file, class: 'quiet' });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    }
    G.toast('Saved as ratings.json: seedream-jobs ratings apply ratings.json');
  };
})();
