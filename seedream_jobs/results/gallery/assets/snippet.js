'use strict';
// What can be taken along: one cell as a job file, and the difference of two texts in words.
(function () {
  const G = globalThis.Gallery;

  // JSON strings are YAML's double-quoted scalars; the rest of the unprintable is escaped so that an editor shows it.
  const quoted = (text) =>
    JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

  // The prompt, the references and the output's name are templates: what looks like one has to stay text.
  const literal = (text) => text.replace(/\{[{%#]/g, (mark) => `{{ '${mark}' }}`);

  function yaml(value, template) {
    if (typeof value === 'string') return quoted(template ? literal(value) : value);
    return JSON.stringify(value, (name, inner) => (template && typeof inner === 'string' ? literal(inner) : inner));
  }

  G.asYaml = (model, cell) => {
    const lines = ['version: 1', `# ${cell.address.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ')}`, 'request:'];
    const fields = Object.entries(cell.params);
    if (cell.prompt) fields.unshift(['prompt', cell.prompt]);
    for (const [name, value] of fields) {
      const template = name === 'prompt' || name === 'image_urls';
      const key = /^[A-Za-z_][\w]*$/.test(name) ? name : quoted(name);
      if (Array.isArray(value) && value.length) {
        lines.push(`  ${key}:`);
        for (const item of value) {
          lines.push(`    - ${yaml(item, template)}`);
          if (String(item).startsWith('sha256:')) lines[lines.length - 1] += '  # a file of the campaign: put its path here';
        }
      } else lines.push(`  ${key}: ${yaml(value, template)}`);
    }
    return lines.join('\n') + '\n';
  };

  const LONGEST = 700;
  // Words, the signs between them, and single characters where a script has no spaces.
  const WORDS = /\s+|\p{Script=Han}|[\p{L}\p{N}'_-]+?(?=\p{Script=Han})|[\p{L}\p{N}'_-]+|[^\s\p{L}\p{N}'_-]+/gu;

  // [['same'|'gone'|'came', text], …] by the longest common subsequence of words.
  G.wordDifference = (before, after) => {
    const a = before.match(WORDS) ?? [];
    const b = after.match(WORDS) ?? [];
    if (before === after) return [['same', before]];
    if (a.length > LONGEST || b.length > LONGEST) return [['gone', before], ['came', after]];
    const width = b.length + 1;
    const table = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    const parts = [];
    const push = (kind, text) => {
      const last = parts[parts.length - 1];
      if (last && last[0] === kind) last[1] += text;
      else parts.push([kind, text]);
    };
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) {
        push('same', a[i++]);
        j++;
      } else if (j >= b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) push('gone', a[i++]);
      else push('came', b[j++]);
    }
    return parts;
  };

  // Names of fields whose values differ among the cells, the prompt first.
  G.differingFields = (cells) => {
    const names = new Set(['prompt']);
    for (const cell of cells) for (const name of Object.keys(cell.params)) names.add(name);
    const value = (cell, name) => JSON.stringify(name === 'prompt' ? cell.prompt : cell.params[name]);
    return [...names].filter((name) => cells.some((cell) => value(cell, name) !== value(cells[0], name)));
  };
})();
