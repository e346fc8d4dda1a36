// A graph in which nothing happens draws nothing, and a person who wants no motion gets none.
// It says "still" on stderr when it has counted: the test then has a worker use a tool.

import { connected, drawnBy, job, play, until } from "./browser.mjs";

const QUIET_MS = 1500;

await play(async ({ open }) => {
  const page = await open("?renderer=gpu", { reducedMotion: "reduce", prepare: (opened) => opened.addInitScript(countDrawing) });
  await connected(page);
  await drawnBy(page, "gpu");
  await until(() => page.evaluate(() => globalThis.drawings > 0), "the first drawing");
  const drawings = () => page.evaluate(() => globalThis.drawings);
  const before = await until(async () => {
    const had = await drawings();
    await page.waitForTimeout(QUIET_MS);
    return had === (await drawings()) && had;
  }, "the graph to rest, though the page's clocks go on");
  console.error("still");
  await until(() => page.evaluate((had) => globalThis.drawings > had, before), "the tool's name");
  const rings = await page.evaluate(() => document.querySelectorAll("#graph i").length);
  return { rings };
});

/** Runs in the page: counts how often the overlay of the graph is drawn anew. */
function countDrawing() {
  globalThis.drawings = 0;
  const { clearRect } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function counted(...box) {
    if (this.canvas.closest("#graph")) globalThis.drawings += 1;
    return clearRect.apply(this, box);
  };
}
