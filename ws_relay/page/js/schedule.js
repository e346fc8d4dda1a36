// When the page is drawn: soon after something changed, at once when a person waits for it, never while it is hidden.

/**
 * A function `refresh(urgent)` that lets `render` run with one of the next frames; unasked no more often than
 * `calmMs`.
 */
export function makeRefresh(render, calmMs) {
  let frame = null;
  let timer = null;
  let drawnAt = 0;
  const draw = () => {
    timer = null;
    frame = requestAnimationFrame(() => {
      frame = null;
      drawnAt = performance.now();
      render();
    });
  };
  return (urgent = false) => {
    if (frame || (timer && !urgent)) return;
    clearTimeout(timer);
    if (urgent) draw();
    else timer = setTimeout(draw, Math.max(0, calmMs - (performance.now() - drawnAt)));
  };
}
