// What a person sees of sessions: their agents in the table, their nodes in the graph under the mouse, their rows.

import { connected, drawnBy, graphAtRest, job, play, tableRows, text, until } from "./browser.mjs";

await play(async ({ browser, open }) => {
  const page = await open("?renderer=gpu#view=table");
  await connected(page);
  const rows = await until(async () => {
    const found = await tableRows(page);
    return found.filter(({ of }) => of === "agent").length === job.agents && found;
  }, "the agents in the table");
  await page.keyboard.press("g");
  await drawnBy(page, "gpu");
  const renderer = await page.$eval("#graph", ({ dataset }) => dataset.renderer);
  const { insides, spots } = await graphAtRest(browser, page, job.colours.slice(0, 3));
  const named = new Set();
  for (const [x, y] of spots) {
    await page.mouse.move(x, y);
    if (await page.isVisible("#hover")) named.add((await text(page, "#hover b")).trim());
  }
  const listed = await page.$$eval("#session-list li", (items) => items.map((item) => ({
    session: item.dataset.key, mark: item.firstChild.dataset.mark, text: item.textContent,
  })));
  return { renderer, insides, named: [...named], listed, rows };
});
