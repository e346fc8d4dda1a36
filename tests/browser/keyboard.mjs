// The page without a mouse.

import { connected, drawn, job, play, tableRows, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open();
  const listed = () => page.$$eval("#session-list li", (items) => items.map((item) => item.dataset.key));
  const chosen = () => page.$eval("#session-list", (list) => list.querySelector("[aria-current]")?.parentElement.dataset.key ?? null);
  const press = async (key, condition, what) => {
    await page.keyboard.press(key);
    await until(condition, `${key}: ${what}`);
  };
  await connected(page);
  await until(async () => (await listed()).length === job.sessions, "the sessions");
  const ids = await listed();

  await press("j", async () => (await chosen()) === ids[0], "the first session");
  await press("j", async () => (await chosen()) === ids[1], "the next one");
  await press("k", async () => (await chosen()) === ids[0], "the one before");
  await until(() => page.url().includes(`session=${ids[0]}`), "the session in the address");
  await press("t", () => page.isVisible("#table"), "the table");
  await until(async () => (await tableRows(page)).length, "rows");
  await until(() => page.evaluate(() => document.activeElement.closest("#table") !== null), "the focus in the table");
  await press("g", () => page.isVisible("#graph"), "the graph");
  await press("?", () => page.isVisible("dialog#help[open]"), "the help");
  const help = await text(page, "#help");
  await press("Escape", () => page.isHidden("#help"), "the help closed");
  await drawn(page);
  const kept = await chosen();
  await press("/", () => page.evaluate(() => document.activeElement.id === "search"), "the search");
  await page.keyboard.type(job.word);
  await until(async () => (await listed()).length === 1, "one session that fits");
  const found = await listed();
  await press("Escape", () => page.evaluate(() => document.activeElement.id !== "search"), "out of the search");
  await press("Escape", async () => (await chosen()) === null, "no session");
  await until(() => !page.url().includes("session="), "an address without session");
  await until(() => page.isVisible(".overview"), "the overview");
  const reached = await tabStops(page);
  return { ids, kept, help, found, reached };
});

/** What the Tab key leads to from the beginning of the page. */
async function tabStops(page) {
  await page.evaluate(() => document.activeElement.blur());
  const stops = [];
  for (let press = 0; press < 40; press += 1) {
    await page.keyboard.press("Tab");
    stops.push(await page.evaluate(() => {
      const { id, tagName, className, dataset, ariaLabel, textContent } = document.activeElement;
      return id || dataset.do || ariaLabel || `${tagName.toLowerCase()}.${className} ${textContent.slice(0, 20)}`;
    }));
    if (stops.at(-1).startsWith("body") || stops.indexOf(stops.at(-1)) < stops.length - 1) break;
  }
  return stops;
}
