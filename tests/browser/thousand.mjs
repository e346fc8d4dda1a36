// How long it takes from opening the page until 1,000 agents are in sight, as a graph and as a table.

import { connected, graphPixels, job, play, until } from "./browser.mjs";

const SMALL = 1; // pixels; so many nodes are little ones

await play(async ({ browser, open }) => {
  const page = await open("", { prepare: (opened) => opened.addInitScript(watchGraph) });
  const graphMs = await until(() => page.evaluate(() => globalThis.seenMs), "the graph", 40_000);
  const renderer = await until(() => page.$eval("#graph", ({ dataset }) => dataset.renderer !== "starting" && dataset.renderer), "the renderer", 40_000);
  const readyMs = await page.evaluate(() => performance.now());
  const { insides } = await until(async () => {
    const found = await graphPixels(browser, page, job.colours, SMALL);
    return found.spots.length > job.agents / 10 && found;
  }, "the nodes");
  await connected(page);
  await page.context().close();

  const other = await open("#view=table", { prepare: (opened) => opened.addInitScript(watchTable, job.agents) });
  const tableMs = await until(() => other.evaluate(() => globalThis.seenMs), "the table", 40_000);
  return { renderer, graphMs, readyMs, tableMs, insides };
});

/** Runs in the page: notes when the overlay, which draws marks on the nodes and circles around them, is no longer blank. */
function watchGraph() {
  const sample = document.createElement("canvas");
  sample.width = sample.height = 96;
  const context = sample.getContext("2d", { willReadFrequently: true });
  const look = () => {
    const canvas = document.querySelector("#graph canvas.over");
    if (canvas?.width) {
      context.clearRect(0, 0, 96, 96);
      context.drawImage(canvas, 0, 0, 96, 96);
      if (context.getImageData(0, 0, 96, 96).data.some((value) => value > 0)) {
        globalThis.seenMs = performance.now();
        return;
      }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** Runs in the page: notes when the table has so many agents. */
function watchTable(agents) {
  const look = () => {
    if (document.querySelectorAll("#table tbody tr:not(.of-session)").length >= agents) globalThis.seenMs = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
