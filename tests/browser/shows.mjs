// What a person sees of one session: its row, its nodes in the graph under the mouse, its agents in the table.

import { connected, drawnBy, graphPixels, job, play, tableRows, text, until } from "./browser.mjs";

await play(async ({ browser, open }) => {
  const page = await open("?renderer=gpu");
  await connected(page);
  await drawnBy(page, "gpu");
  const renderer = await page.$eval("#graph", ({ dataset }) => dataset.renderer);
  await until(async () => (await graphPixels(browser, page, job.colours)).spots.length, "nodes in the graph");
  const { insides, spots } = await graphPixels(browser, page, job.colours);
  const named = new Set();
  for (const [x, y] of spots) {
    await page.mouse.move(x, y);
    if (await page.isVisible("#hover")) named.add((await text(page, "#hover b")).trim());
  }
  const listed = await page.$$eval("#session-list li", (items) => items.map((item) => ({
    session: item.dataset.key, mark: item.firstChild.dataset.mark, text: item.textContent,
  })));
  const totals = await text(page, "#totals");
  await page.keyboard.press("t");
  const rows = await until(async () => {
    const found = await tableRows(page);
    return found.filter(({ of }) => of === "agent").length >= job.agents && found;
  }, "the agents in the table");
  return { renderer, insides, named: [...named], listed, totals, rows };
});
