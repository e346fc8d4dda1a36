// A browser without WebGL: the graph is there, and what is missing is said once.

import { connected, drawnBy, graphAtRest, job, play, text, until } from "./browser.mjs";

await play(async ({ browser, open }) => {
  const page = await open();
  const webgl = await page.evaluate(() => document.createElement("canvas").getContext("webgl2") !== null);
  await connected(page);
  await drawnBy(page, "canvas");
  await until(() => page.isVisible("#banner"), "the notice");
  const notice = await text(page, "#banner span");
  await page.click("#banner button");
  const closed = await page.isHidden("#banner");
  const { insides } = await graphAtRest(browser, page, job.colours.slice(0, 3));
  await page.reload();
  await connected(page);
  await drawnBy(page, "canvas");
  const again = await page.isVisible("#banner");
  return { webgl, notice, closed, insides, again };
}, { webgl: false });
