'use strict';
// Builds the page's elements. Data only ever becomes text nodes and plain attributes, never markup.
(function () {
  const G = (globalThis.Gallery = {});
  const SVG = 'http://www.w3.org/2000/svg';

  // The page's own words in the reader's language; `{name}` in them stands for a value. English is the text itself, other
  // languages are the files messages-*.js.
  G.messages = {};
  let words = {};
  G.speak = (asked) => {
    const language = [asked ?? navigator.language ?? 'en'].map((tag) => tag.toLowerCase().split('-')[0])[0];
    words = G.messages[language] ?? {};
    document.documentElement.lang = G.messages[language] ? language : 'en';
  };
  G.t = (text, values = {}) => (Object.hasOwn(words, text) ? words[text] : text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  // A number with its thing: G.count(2, '{n} image', '{n} images').
  G.count = (n, one, many) => G.t(n === 1 ? one : many, { n: n.toLocaleString('en') });

  // Stroked on a 24 by 24 square.
  const ICONS = {
    check: 'M5 12.5l4.5 4.5L19 7.5',
    circle: 'M12 4a8 8 0 1 0 .01 0',
    clock: 'M12 4a8 8 0 1 0 .01 0M12 8v4.5l3 2',
    choose: 'M12 4a8 8 0 1 0 .01 0M8.5 12.2l2.6 2.6 4.6-5',
    close: 'M6 6l12 12M18 6L6 18',
    compare: 'M4 5h7v14H4zM13 5h7v14h-7z',
    copy: 'M9 9h10v10H9zM15 9V5H5v10h4',
    cross: 'M12 4a8 8 0 1 0 .01 0M9 9l6 6M15 9l-6 6',
    down: 'M6 9.5l6 6 6-6',
    download: 'M12 4v11M7 11l5 5 5-5M5 20h14',
    fold: 'M5 12l7-6 7 6M5 18l7-6 7 6',
    full: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
    filter: 'M4 6h16M7 12h10M10 18h4',
    grid: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
    left: 'M14.5 6l-6 6 6 6',
    minus: 'M5 12h14',
    note: 'M5 5h14v10H10l-5 4z',
    plus: 'M5 12h14M12 5v14',
    question: 'M12 4a8 8 0 1 0 .01 0M9.8 10a2.3 2.3 0 1 1 3.2 2.1c-.7.3-1 .7-1 1.4M12 16.2v.1',
    reset: 'M4 9V4h5M20 15v5h-5M4 4l6 6M20 20l-6-6',
    right: 'M9.5 6l6 6-6 6',
    star: 'M12 4l2.5 5.2 5.7.8-4.1 4 1 5.7L12 17l-5.1 2.7 1-5.7-4.1-4 5.7-.8z',
    stop: 'M12 4a8 8 0 1 0 .01 0M6.5 6.5l11 11',
    swap: 'M7 5L4 8l3 3M4 8h13M17 13l3 3-3 3M20 16H7',
    table: 'M4 5h16v14H4zM4 10h16M10 5v14',
    theme: 'M12 4a8 8 0 1 0 .01 0M12 4v16M12 8l5-1M12 12h8M12 16l5 1',
    timer: 'M7 4h10M7 20h10M8 4v3l8 10v3M16 4v3L8 17v3',
    up: 'M6 14.5l6-6 6 6',
    wall: 'M4 4h16v6H4zM4 14h7v6H4zM15 14h5v6h-5z',
  };

  // What a state is called, its sign, and how it is toned. The sign and the word carry it, the tone only helps.
  const STATES = new Map(Object.entries({
    planned: ['planned', 'circle', 'wait'],
    new: ['planned', 'circle', 'wait'],
    intent: ['submitting', 'clock', 'busy'],
    submitted: ['submitted', 'clock', 'busy'],
    accepted: ['running', 'clock', 'busy'],
    running: ['running', 'clock', 'busy'],
    completed: ['ready to fetch', 'download', 'busy'],
    stored: ['stored', 'check', 'good'],
    in_doubt: ['in doubt', 'question', 'doubt'],
    rejected: ['rejected', 'stop', 'bad'],
    failed: ['failed', 'cross', 'bad'],
    expired: ['expired', 'timer', 'bad'],
    abandoned: ['abandoned', 'minus', 'wait'],
    not_delivered: ['not delivered', 'minus', 'bad'],
  }));

  G.stateOf = (state) => {
    const [word, icon, tone] = STATES.get(state) ?? [state.replace(/_/g, ' '), 'circle', 'wait'];
    return { word, icon, tone, said: G.t(word) };
  };

  // el('button', {class: 'x', on: {click}, 'aria-label': '…'}, child, 'text', …)
  G.el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (name === 'style') for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
      else if (name === 'value' || name === 'checked' || name === 'selected') node[name] = value;
      else node.setAttribute(name, value === true ? '' : String(value));
    }
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };

  // A control that says what is kept, brought up to date in place. One that was replaced would lose the click under way:
  // pressing the mouse leaves a field, what was written there is kept, and only then does the mouse's button go up.
  G.refreshed = (node, refresh) => {
    refresh();
    node.refresh = refresh;
    return node;
  };

  G.icon = (name, filled = false) => {
    const svg = document.createElementNS(SVG, 'svg');
    const path = document.createElementNS(SVG, 'path');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    svg.setAttribute('class', filled ? 'icon filled' : 'icon');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
  };

  // A button with an icon and a word; `quiet` keeps the word for screen readers and the tooltip.
  G.button = (word, icon, handler, { quiet = false, ...attributes } = {}) =>
    G.el(
      'button',
      { type: 'button', class: quiet ? 'button round' : 'button', title: quiet ? word : null, on: { click: handler }, ...attributes },
      icon ? G.icon(icon) : null,
      G.el('span', { class: quiet ? 'quiet' : 'word' }, word),
    );

  G.select = (label, options, chosen, handler, attributes = {}) => {
    const select = G.el('select', { on: { change: () => handler(select.value) }, ...attributes });
    for (const [value, text] of options) select.append(G.el('option', { value, selected: value === chosen }, text));
    return G.el('label', { class: 'field' }, G.el('span', {}, label), select);
  };

  let calm = null;
  G.announce = (text) => {
    const live = document.getElementById('live');
    live.textContent = '';
    clearTimeout(calm);
    calm = setTimeout(() => (live.textContent = text), 60);
  };

  G.toast = (text) => {
    document.querySelector('.toast')?.remove();
    // A dialog is in the top layer: the note belongs into it, or it would be behind it.
    const host = [...document.querySelectorAll('dialog[open]')].pop() ?? document.body;
    const note = G.el('p', { class: 'toast' }, text);
    host.append(note);
    setTimeout(() => note.remove(), 2600);
    G.announce(text);
  };

  // The clipboard API is missing in some browsers for a page on disk: then the old way, through a selection.
  G.copy = async (text, said) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const host = [...document.querySelectorAll('dialog[open]')].pop() ?? document.body;
      const area = G.el('textarea', { class: 'quiet', 'aria-hidden': 'true', value: text });
      host.append(area);
      area.select();
      const done = document.execCommand('copy');
      area.remove();
      if (!done) return G.toast(G.t('This browser does not allow copying'));
    }
    return G.toast(said);
  };

  // A modal dialog: the browser traps the focus and closes it on Escape; it goes back to where it came from.
  G.dialog = (className, label, children, { onclose } = {}) => {
    const before = document.activeElement;
    const dialog = G.el('dialog', { class: className, 'aria-label': label }, ...children);
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (before && before.isConnected) before.focus({ preventScroll: true });
      onclose?.();
    });
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  };

  G.typing = (event) => {
    const tag = event.target.tagName;
    return tag === 'TEXTAREA' || tag === 'SELECT' || (tag === 'INPUT' && !['radio', 'checkbox', 'range', 'button'].includes(event.target.type));
  };
})();
