'use strict';
// The cells, read out of the columns that columns.py writes; a text is put together when somebody asks for it.
(function () {
  const G = globalThis.Gallery;

  function numbers(column, count) {
    if (column.list) return column.list;
    return Array.from({ length: count }, (_, i) => Math.floor(i / column.every) % column.of);
  }

  function digest(column, i) {
    const packed = column.hex.substr(i * 43, 43);
    let text = column.after;
    for (const c of atob(packed + '=')) text += c.charCodeAt(0).toString(16).padStart(2, '0');
    return text;
  }

  // (number of a cell) → its value; null where it has none.
  function reader(column, places) {
    if (!column) return () => null;
    const nulls = column.null ? new Set(column.null) : null;
    const read = form(column, places);
    return nulls ? (i) => (nulls.has(i) ? null : read(i)) : read;
  }

  function form(column, places) {
    if ('all' in column) return () => column.all;
    if ('axis' in column) return (i) => column.of[places[column.axis][i] + 1];
    if ('cells' in column) {
      const found = new Map(column.cells.map((i, n) => [i, column.of[n]]));
      return (i) => found.get(i) ?? null;
    }
    if ('clauses' in column) return (i) => column.at[i].map((n) => column.clauses[n]).join('');
    if ('at' in column) return (i) => column.of[column.at[i]];
    if ('hex' in column) return (i) => digest(column, i);
    if ('parts' in column) {
      const parts = column.parts.map((part) => reader(part, places));
      return (i) => parts.map((part) => part(i)).join('');
    }
    const list = column.list ?? column.lines.split('\n');
    return (i) => list[i];
  }

  const TEXTS = ['address', 'prompt', 'task', 'image', 'thumbnail'];
  const VALUES = ['cost', 'submitted', 'warnings', 'error', 'opinion', 'choice', 'key', 'sha256', 'earlier', 'change', 'pair'];

  // A cell lives as long as the page: new data of a run give it other readers.
  class Cell {
    get params() {
      const found = {};
      for (const [name, value] of this.from.fields) {
        const one = value(this.i);
        if (one !== null) Object.defineProperty(found, name, { value: one, enumerable: true });
      }
      return found;
    }
  }
  for (const name of [...TEXTS, ...VALUES]) {
    // A page that stands alone has its thumbnails elsewhere: it sets them.
    Object.defineProperty(Cell.prototype, name, {
      get() {
        const value = this.from[name](this.i);
        if (name === 'sha256') Object.defineProperty(this, name, { value, configurable: true }); // asked for again and again
        return value;
      },
      set(value) {
        Object.defineProperty(this, name, { value, configurable: true });
      },
    });
  }

  // Lets a cell that is shown say what the same cell of newer data says.
  G.renewCell = (cell, newer) => {
    delete cell.sha256;
    delete cell.text;
    return Object.assign(cell, newer);
  };

  G.readCells = (raw) => {
    const header = JSON.parse(raw.header);
    const columns = new Map(Object.entries(raw.columns).map(([name, text]) => [name, JSON.parse(text)]));
    const { count, axes } = header;
    const places = columns.get('place').map((column) => numbers(column, count));
    const read = (name) => reader(columns.get(name), places);
    const sha = read('sha256');

    function text(name) {
      const plain = read(name);
      if (!columns.get(name)?.marks) return plain;
      const mark = (i) => (found) => {
        const code = found.charCodeAt(0);
        if (code === 0xe1ff) return sha(i);
        const { values, slugs } = axes[code & 0xff];
        return (code >= 0xe100 ? slugs : values)[places[code & 0xff][i]];
      };
      return (i) => plain(i)?.replace(/[\ue000-\ue1ff]/g, mark(i)) ?? null;
    }

    const fields = columns.get('payload').map(([name, column]) => [name, reader(column, places)]);
    const from = { fields };
    for (const name of TEXTS) from[name] = text(name);
    for (const name of VALUES) from[name] = read(name);

    const eager = ['run', 'repeat', 'index', 'state', 'width', 'height'].map((name) => [name, read(name)]);
    const cells = Array.from({ length: count }, (_, i) => {
      const cell = new Cell();
      cell.i = i;
      cell.from = from;
      cell.at = places.map((place) => place[i]);
      for (const [name, value] of eager) cell[name] = value(i);
      return cell;
    });
    return { header, cells };
  };
})();
