'use strict';
// Stars, ratings, notes, choices and votes, each about an image's bytes: kept by the browser where it lets us, exported as
// ratings.json.
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

  const emptyMark = (mark) => !mark.star && !mark.rating && !mark.note && !mark.verdict;

  const placeOf = (cell) => `${cell.key}/${cell.index}`;

  G.openMarks = (model) => {
    const name = 'seedream-jobs:gallery:2:' + [...new Set(model.runs.map((run) => run.name))].join(',');
    const shelf = openShelf(name);
    const marks = new Map(); // sha256 → what this reviewer says of it
    const places = new Map(); // request and number → sha256 of the image that was judged there
    let votes = new Map();
    let reviewer = '';
    const listeners = new Set();
    let [known, ids] = [null, null];

    // The browser keeps the marks of a job together: also those of images that are not on this page, such as a rehearsal's.
    function isHere(sha256) {
      if (known !== model.cells) [known, ids] = [model.cells, new Set(model.cells.map((cell) => cell.sha256))];
      return ids.has(sha256);
    }

    function read() {
      let kept;
      try {
        kept = JSON.parse(shelf?.getItem(name) ?? 'null');
      } catch {
        kept = null;
      }
      if (!kept || typeof kept !== 'object') return;
      marks.clear();
      for (const [id, mark] of kept.marks ?? []) {
        marks.set(id, mark);
        if (!emptyMark(mark)) places.set(mark.place, id);
      }
      votes = new Map(kept.votes ?? []);
      reviewer = String(kept.reviewer ?? '');
    }

    function write(changed) {
      try {
        shelf?.setItem(name, JSON.stringify({ marks: [...marks], votes: [...votes], reviewer }));
      } catch {
        G.toast(G.t('The browser keeps no more notes: export the ratings now'));
      }
      for (const listener of listeners) listener(changed);
    }

    const votesHere = () => [...votes.values()].filter((vote) => isHere(vote.first) && isHere(vote.second));

    read();
    globalThis.addEventListener('storage', (event) => {
      if (event.key !== name) return;
      read();
      for (const listener of listeners) listener(null);
    });

    return {
      persistent: shelf !== null,
      get any() {
        return marks.size > 0;
      },
      of: (cell) => (marks.size && cell.sha256 ? marks.get(cell.sha256) : undefined),
      // An opinion is about bytes: one about an earlier image of the same request says nothing of this one.
      ofAnother: (cell) => places.size > 0 && (places.get(placeOf(cell)) ?? cell.sha256) !== cell.sha256,
      get reviewer() {
        return reviewer;
      },
      // As the reviews spell it.
      get name() {
        return reviewer.split(/\s+/).filter(Boolean).join(' ');
      },
      set reviewer(text) {
        reviewer = text;
        write(null);
      },
      votes: votesHere,
      onChange: (listener) => listeners.add(listener),
      // An emptied mark is kept as empty, so that an export can take back what an earlier one said.
      change(cell, part) {
        if (!cell.sha256) return G.toast(G.t('There is no image to judge yet'));
        marks.set(cell.sha256, { star: false, rating: 0, note: '', ...marks.get(cell.sha256), ...part, place: placeOf(cell) });
        places.set(placeOf(cell), cell.sha256);
        return write(cell.sha256);
      },
      // One verdict for a pair along an axis; a later one replaces it.
      vote(axis, a, b, winner) {
        const [first, second] = a.sha256 < b.sha256 ? [a, b] : [b, a];
        const side = winner === null ? 'tie' : winner === first ? 'first' : 'second';
        votes.set([axis, first.sha256, second.sha256].join(' '), { axis, first: first.sha256, second: second.sha256, winner: side });
        write(null);
      },
      voted: (axis, a, b) => votes.has([axis, ...[a.sha256, b.sha256].sort()].join(' ')),
      forgetVotes(some) {
        for (const [key, vote] of votes) if (some.has(vote)) votes.delete(key);
        write(null);
      },
      // Also one that was taken back: an export says so.
      anyChoice: () => [...marks].some(([id, mark]) => mark.verdict !== undefined && isHere(id)),
      count: () => [...marks].filter(([id, mark]) => !emptyMark(mark) && isHere(id)).length,
      exported: (job) => exported(model, marks, votesHere(), reviewer, job),
    };
  };

  // The shape of schemas/ratings.schema.json, in the order of the page.
  function exported(model, marks, votes, reviewer, job) {
    const cells = new Map();
    for (const cell of model.cells) if (model.runs[cell.run].name === job && cell.sha256 && !cells.has(cell.sha256)) cells.set(cell.sha256, cell);
    const ratings = [];
    const choices = [];
    for (const cell of marks.size ? cells.values() : []) {
      const mark = marks.get(cell.sha256);
      if (!mark) continue;
      const image = { address: cell.address, key: cell.key, index: cell.index, sha256: cell.sha256 };
      ratings.push({ ...image, star: Boolean(mark.star), rating: mark.rating || null, note: mark.note || '' });
      if (mark.verdict !== undefined) choices.push({ ...image, verdict: mark.verdict || null, why: mark.why || '' });
    }
    // A vote between the images of two jobs is in the file of each: it is about an image of both.
    const verdicts = votes.filter((vote) => cells.has(vote.first) || cells.has(vote.second));
    return { format: 2, job, reviewer, ratings, votes: verdicts, choices };
  }

  // A page of one job gives ratings.json.
  G.ratingsFile = (model, job) => (model.runs.every((run) => run.name === job) ? 'ratings.json' : `ratings-${job.replace(/[^\w.-]+/g, '-')}.json`);

  // One file at a time: of several at once a browser may save the first only.
  G.exportRatings = (model, marks, job) => {
    const file = G.ratingsFile(model, job);
    const url = URL.createObjectURL(new Blob([JSON.stringify(marks.exported(job), null, 2) + '\n'], { type: 'application/json' }));
    const link = G.el('a', { href: url, download: file, class: 'quiet' });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    G.toast(G.t('Saved as {file}: seedream-jobs ratings apply {file}', { file }));
  };
})();
