// A browser without WebGL: the graph is there, and what is missing is said once.

import { connected, drawnBy, graphPixels, job, play, text, until } from "./browser.mjs";

await play(async ({ browser, open }) => {
  const page = await open();
  const webgl = await page.evaluate(() => document.createElement("canvas").getContext("webgl2") !== null);
  await connected(page);
  await drawnBy(page, "canvas");
  await until(() => page.isVisible("#banner"), "the notice");
  const notice = await text(page, "#banner span");
  await page.click("#banner button");
  const closed = await page.isHidden("#banner");
  await until(async () => (await graphPixels(browser, page, job.colours)).spots.length, "nodes in the graph");
  const { insides } = await graphPixels(browser, page, job.colours);
  await page.reload();
  await connected(page);
  await drawnBy(page, "canvas");
  const again = await page.isVisible("#banner");
  return { webgl, notice, closed, insides, again };
}, { webgl: false });
