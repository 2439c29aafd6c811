'use strict';
// What helps with the page itself: its keys, its theme, the full screen.
(function () {
  const G = globalThis.Gallery;
  const KEYS = [
    ['← → ↑ ↓ Home End', 'move along rows and columns'],
    ['[ ]', 'move between images in one place'],
    ['Enter, Escape', 'open the image, close it'],
    ['s, 1–5, 0', 'star, rate, take the rating back'],
    ['y, x', 'choose, reject'],
    ['c', 'take for comparing'],
    ['+ −', 'zoom (also: wheel, pinch, double click)'],
    ['z', 'one pixel of the image to one of the screen'],
    ['f', 'full screen'],
    ['h', 'fold the controls away, or what is known of an open image'],
    ['/, n', 'search, go to the next match on any tab'],
    ['t', 'light, dark, or as the system has it'],
    ['?', 'these keys'],
  ];

  G.openHelp = () => {
    if (document.querySelector('dialog.keys')) return;
    const dialog = G.dialog('small keys', G.t('Keys'), [
      G.el('h2', {}, G.t('Keys')),
      G.el('dl', {}, ...KEYS.map(([keys, text]) => G.el('div', {}, G.el('dt', {}, G.el('kbd', {}, keys)), G.el('dd', {}, G.t(text))))),
      G.el('div', { class: 'actions' }, G.button(G.t('Close'), null, () => dialog.close())),
    ]);
  };

  const THEME = 'seedream-jobs:theme';
  const THEMES = { '': 'As the system has it', light: 'Light', dark: 'Dark' };

  function shelf() {
    try {
      return globalThis.localStorage;
    } catch {
      return null;
    }
  }

  const wear = (theme) => document.documentElement.style.setProperty('color-scheme', theme || 'light dark');

  G.nextTheme = () => {
    const names = Object.keys(THEMES);
    const now = document.documentElement.dataset.theme ?? '';
    const next = names[(names.indexOf(now) + 1) % names.length];
    document.documentElement.dataset.theme = next;
    wear(next);
    try {
      shelf()?.setItem(THEME, next);
    } catch {
      // kept until the page is closed
    }
    G.toast(G.t(THEMES[next]));
  };

  const kept = shelf()?.getItem?.(THEME) ?? '';
  if (Object.keys(THEMES).includes(kept)) {
    document.documentElement.dataset.theme = kept;
    wear(kept);
  }

  G.fullScreen = () => {
    const asked = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.();
    asked?.catch?.(() => G.toast(G.t('This browser shows no full screen here')));
  };
})();
