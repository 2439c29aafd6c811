'use strict';
// Zoom and pan, by wheel, drag, pinch and keys; several panes move as one while they are linked.
(function () {
  const G = globalThis.Gallery;
  const MOST = 16;

  // Panes are elements whose first child is moved. Offsets are fractions of the pane, so that panes of one size agree.
  G.zoomable = (panes, { linked = true } = {}) => {
    const states = new Map(panes.map((pane) => [pane, { scale: 1, x: 0, y: 0 }]));
    const group = { linked };

    function apply(pane) {
      const { scale, x, y } = states.get(pane);
      const { clientWidth: w, clientHeight: h } = pane;
      pane.firstElementChild.style.setProperty('transform', `translate(${x * w}px, ${y * h}px) scale(${scale})`);
      pane.classList.toggle('zoomed', scale > 1);
      pane.classList.toggle('pixels', Math.abs(scale - pixelScale(pane)) < 0.001);
      pane.dataset.scale = scale.toFixed(2);
    }

    // How much larger than fitted an image is when one of its pixels is one of the screen.
    function pixelScale(pane) {
      const image = pane.querySelector('img');
      const [width, height] = [Number(image?.getAttribute('width')) || image?.naturalWidth, Number(image?.getAttribute('height')) || image?.naturalHeight];
      if (!width || !height) return 1;
      const style = getComputedStyle(pane);
      const box = pane.getBoundingClientRect();
      const room = [box.width - parseFloat(style.paddingLeft) * 2, box.height - parseFloat(style.paddingTop) * 2];
      return 1 / (Math.min(room[0] / width, room[1] / height) * devicePixelRatio);
    }

    function set(pane, { scale, x, y }) {
      const free = Math.max(0, scale - 1) / 2;
      const kept = { scale, x: Math.max(-free, Math.min(free, x)), y: Math.max(-free, Math.min(free, y)) };
      for (const other of group.linked ? panes : [pane]) {
        states.set(other, kept);
        apply(other);
      }
    }

    // Zoom around a point that stays where it is; (px, py) from the pane's middle, in fractions of it.
    function zoom(pane, factor, px = 0, py = 0) {
      const { scale, x, y } = states.get(pane);
      const next = Math.max(1, Math.min(MOST, scale * factor));
      const ratio = next / scale;
      set(pane, { scale: next, x: px - (px - x) * ratio, y: py - (py - y) * ratio });
    }

    function point(pane, event) {
      const box = pane.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
    }

    function watch(pane) {
      const fingers = new Map();
      pane.addEventListener(
        'wheel',
        (event) => {
          event.preventDefault();
          zoom(pane, Math.exp(-event.deltaY * (event.deltaMode ? 0.07 : 0.0022)) /* lines or pixels */, ...point(pane, event));
        },
        { passive: false },
      );
      pane.addEventListener('dblclick', (event) => {
        const { scale } = states.get(pane);
        zoom(pane, scale > 1 ? 1 / MOST : 3, ...point(pane, event));
      });
      pane.addEventListener('pointerdown', (event) => {
        if (event.button > 0) return;
        fingers.set(event.pointerId, point(pane, event));
        pane.setPointerCapture(event.pointerId);
      });
      pane.addEventListener('pointermove', (event) => {
        const before = fingers.get(event.pointerId);
        if (!before) return;
        const now = point(pane, event);
        if (fingers.size === 2) {
          const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
          const far = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 0.01;
          zoom(pane, far(now) / far(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        } else {
          const state = states.get(pane);
          set(pane, { ...state, x: state.x + now[0] - before[0], y: state.y + now[1] - before[1] });
        }
        fingers.set(event.pointerId, now);
      });
      for (const name of ['pointerup', 'pointercancel']) pane.addEventListener(name, (event) => fingers.delete(event.pointerId));
    }

    panes.forEach(watch);
    group.zoom = (factor) => (group.linked ? panes.slice(0, 1) : panes).forEach((pane) => zoom(pane, factor));
    // One to one, and back.
    group.pixels = () => {
      const one = pixelScale(panes[0]);
      const there = panes.every((pane) => Math.abs(states.get(pane).scale - one) < 0.001);
      for (const pane of group.linked ? panes.slice(0, 1) : panes) set(pane, { scale: there ? 1 : group.linked ? one : pixelScale(pane), x: 0, y: 0 });
    };
    group.reset = () => panes.forEach((pane) => set(pane, { scale: 1, x: 0, y: 0 }));
    group.key = (key) => {
      if (key === '+' || key === '=') group.zoom(1.5);
      else if (key === '-') group.zoom(1 / 1.5);
      else if (key === 'z') group.pixels();
      else if (key === '0') group.reset();
      else return false;
      return true;
    };
    return group;
  };
})();
