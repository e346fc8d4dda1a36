// A session looked through with keys alone: opened, its tabs and its agents walked, searched for, closed.

import { connected, drawn, job, opened, play, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open();
  await connected(page);
  const focused = () => page.evaluate(() => {
    const { id, dataset, ariaLabel, textContent } = document.activeElement;
    return dataset.panel || id || ariaLabel || textContent;
  });
  const press = async (key, condition, what) => {
    await page.keyboard.press(key);
    await until(condition, `${key}: ${what}`);
  };
  const tabIs = (name) => () => page.evaluate((wanted) => {
    const tab = document.querySelector(`[role=tab][data-panel="${wanted}"]`);
    const panel = document.getElementById(tab?.getAttribute("aria-controls"));
    return tab === document.activeElement && tab.ariaSelected === "true" && panel.getAttribute("aria-labelledby") === tab.id
      && document.querySelectorAll("[role=tab][tabindex='0']").length === 1;
  }, name);

  await press("/", async () => (await focused()) === "search", "the search");
  await page.keyboard.type(job.word);
  await until(() => page.$$eval("#session-list li", (items) => items.length === 1), "one session that fits");
  await press("Escape", async () => (await focused()) !== "search", "out of the search");
  await press("j", () => page.isVisible(".panel-head"), "the session");
  await opened(page, job.word);
  await press("Enter", () => page.evaluate(() => document.activeElement.closest("#panel") !== null), "the focus in the panel");
  await until(() => page.isVisible(".panel-body tbody tr"), "its agents");
  for (let stop = 0; stop < 12 && (await focused()) !== "agents"; stop += 1) await page.keyboard.press("Tab");
  await until(tabIs("agents"), "the tabs");
  await press("ArrowRight", tabIs("events"), "the events");
  await until(() => page.isVisible(".feed li"), "what happened");
  const told = await page.$$eval(".feed li", (lines) => lines.slice(0, 2).map((line) => line.lastChild.textContent));
  await press("End", tabIs("log"), "the log");
  await until(() => page.$$eval(".panel-body .log li", (lines) => lines.length > 3), "its lines");
  const log = await page.$$eval(".panel-body .log li", (lines) => lines.map((line) => line.textContent));
  await page.keyboard.press("Tab"); // what the tab shows
  await page.keyboard.press("Tab"); // and the button in it
  await press("Space", () => page.isVisible(".panel-body .log[data-raw]"), "the lines as they were written");
  const raw = await page.$$eval(".panel-body .log li", (lines) => lines.map((line) => line.textContent));
  await page.focus("#tab-log");
  await press("ArrowRight", tabIs("agents"), "the agents, all the way round");
  await drawn(page);
  const replayed = await page.$eval("#link", ({ dataset }) => dataset.state === "replay");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.closest("tr")?.rowIndex);
  await press("ArrowDown", () => page.evaluate(() => document.activeElement.rowIndex === 2), "the next row");
  await press("Enter", () => page.isVisible(".agent-card"), "the agent");
  const card = await page.$eval(".agent-card", (element) => element.textContent);
  await until(() => page.url().includes("agent="), "the agent in the address");
  await press("Escape", () => page.isHidden(".agent-card"), "the agent closed");
  await press("Escape", () => page.isHidden(".panel-head"), "the session closed");
  await page.keyboard.press("/");
  await page.keyboard.press("Delete");
  await until(() => page.$$eval("#session-list li", (items, all) => items.length === all, job.sessions), "all sessions");
  return { told, log, raw, replayed, first, card };
});
