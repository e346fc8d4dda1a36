// How long it takes from opening the page until 1,000 agents are in sight, as a graph and as a table.

import { connected, graphPixels, job, play, until } from "./browser.mjs";

const SMALL = 1; // pixels; so many nodes are little ones

await play(async ({ browser, open }) => {
  const page = await open("?renderer=gpu", { prepare: (opened) => opened.addInitScript(watchGraph) });
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
  const table = await walkTable(other);
  return { renderer, graphMs, readyMs, tableMs, insides, ...table };
});

/** The table of so many, which draws only what is in sight: by the keyboard, by the wheel, and by an address. */
async function walkTable(page) {
  const inSight = () => page.evaluate(rowsInSight);
  const shows = (key) => until(async () => (await inSight()).at(-1)?.key.endsWith(`/${key}`), `${key} at the end`);
  await page.focus('#table [tabindex="0"]');
  await page.keyboard.press("End");
  await shows(`w${job.agents - 1}`);
  const focused = await page.evaluate(() => document.activeElement.dataset.key.split("/")[1]);
  await page.$eval("#table", (table) => { table.scrollTop = table.scrollHeight / 2; });
  const middle = await until(async () => {
    const rows = await inSight();
    return rows.length > 15 && rows.every(({ index }, at) => index === rows[0].index + at) && rows;
  }, "rows in the middle");
  const kept = await page.evaluate(() => document.activeElement.dataset.key?.split("/")[1]);
  const drawn = await page.$$eval("#table tbody tr", (rows) => rows.length);
  const told = await page.$eval("#table table", (table) => Number(table.ariaRowCount));
  const session = middle[0].key.split("/")[0];
  await page.evaluate((hash) => { location.hash = hash; }, `session=${session}&view=table&agent=w700`);
  for (const box of ["#table", "#panel .panel-body"]) {
    await until(() => page.evaluate(isInSight, [box, "w700"]), `w700 in ${box}`);
  }
  return { focused, kept, drawn, told };
}

/** Runs in the page: the rows of the table between its head and its lower edge, from the top: {key, index}. */
function rowsInSight() {
  const { top, bottom } = document.querySelector("#table").getBoundingClientRect();
  return [...document.querySelectorAll("#table tbody tr:not(.gap)")]
    .map((row) => ({ key: row.dataset.key, index: Number(row.ariaRowIndex), place: row.getBoundingClientRect() }))
    .filter(({ place }) => place.top >= top + place.height - 1 && place.bottom <= bottom + 1)
    .map(({ key, index }) => ({ key, index }));
}

/** Runs in the page: whether the row of an agent can be seen whole in its box. */
function isInSight([box, agent]) {
  const row = [...document.querySelectorAll(`${box} tbody tr`)].find(({ dataset }) => dataset.key?.split("/").at(-1) === agent);
  const [{ top, bottom }, place] = [document.querySelector(box).getBoundingClientRect(), row?.getBoundingClientRect()];
  return place !== undefined && place.top >= top + place.height - 1 && place.bottom <= bottom + 1;
}

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

/** Runs in the page: notes when the table has so many agents, and shows the first of them. */
function watchTable(agents) {
  const look = () => {
    const count = Number(document.querySelector("#table table")?.ariaRowCount);
    if (count > agents && document.querySelector("#table tbody tr:not(.of-session)")?.checkVisibility()) globalThis.seenMs = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
