// What the graph shows beyond nodes: messages beside parentage, the choice, a tool that begins.
// It says "chosen" on stderr when an agent is open: the test then has a worker use a tool.

import { connected, drawnBy, graphAtRest, graphPixels, job, play, text, until } from "./browser.mjs";

await play(async ({ browser, open }) => {
  const page = await open(`?renderer=${job.renderer}#session=${job.session}`);
  await connected(page);
  await drawnBy(page, job.renderer);
  const inks = [job.message, job.text];
  const count = async () => (await graphPixels(browser, page, inks, 0)).insides;
  await until(async () => (await count())[0] > 4, "the way of the messages");
  const [messages, before] = (await graphAtRest(browser, page, inks, 0)).insides;
  const { spots } = await graphPixels(browser, page, [job.running]);
  const [name, around] = await until(() => chosen(page, spots), "an agent under the mouse");
  await page.mouse.move(2, 2);
  await until(async () => (await count())[1] > before + 6, "the ring around it");
  await page.evaluate(watchRings);
  console.error("chosen");
  const shown = await until(() => page.evaluate(() => globalThis.rings.length && globalThis.rings), "the pulse");
  await until(() => page.evaluate(() => document.querySelectorAll("#graph i").length === 0), "the end of the pulse");
  return { messages, name, around, shown };
});

/** Click where an agent is: its name in the panel. */
async function chosen(page, spots) {
  for (const [x, y] of spots) {
    await page.mouse.move(x, y);
    if (!(await page.isVisible("#hover"))) continue;
    await page.mouse.click(x, y);
    await until(() => page.isVisible(".agent-card"), "the agent's card");
    return [await text(page, ".agent-card h3"), [x, y]];
  }
  return null;
}

/** Runs in the page: notes each pulse that begins. */
function watchRings() {
  globalThis.rings = [];
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes)
      for (const node of addedNodes)
        if (node.tagName === "I") globalThis.rings.push({ motions: node.getAnimations().length });
  }).observe(document.querySelector("#graph"), { childList: true, subtree: true });
}
