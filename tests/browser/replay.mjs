// The time line: back to an earlier moment by mouse, the same moment from its address, and live again.

import { isDeepStrictEqual } from "node:util";

import { connected, drawn, feed, job, linkIs, play, tableRows, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open(`#session=${job.session}&view=table`);
  await connected(page);
  const now = await settled(page, (rows) => rows.length === job.agents);
  await until(async () => (await feed(page)).at(-1)?.text.startsWith("session done"), "all of the recording");
  const box = await page.locator("#timeline .track").boundingBox();
  const middle = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width - 1, middle);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, middle, { steps: 4 });
  await page.mouse.move(box.x + box.width * job.share, middle, { steps: 4 });
  await page.mouse.up();
  const moment = await drawnMoment(page);
  const then = await agentRows(page);
  const said = await text(page, "#link-text");
  const address = await until(() => momentIn(page.url()) === moment && page.url(), "the moment in the address");

  const other = await open(new URL(address).hash);
  await connected(other);
  const linked = await settled(other, (rows) => isDeepStrictEqual(rows, then));
  const linkedState = { said: await text(other, "#link-text"), title: await other.title(), address: other.url() };

  await page.click("#timeline .live-button");
  await linkIs(page, "live");
  const back = await settled(page, (rows) => rows.length === job.agents);
  await until(() => !page.url().includes("at="), "an address without a moment");
  await page.focus("#stage");
  await page.keyboard.press("ArrowLeft");
  await linkIs(page, "replay");
  await page.keyboard.press("l");
  await linkIs(page, "live");
  return { now, then, said, address, linked, linkedState, back };
});

/** The agents in the table, once `fits(agents)` holds. */
function settled(page, fits) {
  return until(async () => {
    const rows = await agentRows(page);
    return fits(rows) && rows;
  }, "the agents of that moment");
}

async function agentRows(page) {
  return (await tableRows(page)).filter(({ of, session }) => of === "agent" && session === job.session).map(({ cells }) => cells);
}

/** The moment that the page shows once all that was done to it is drawn, in Unix milliseconds. */
async function drawnMoment(page) {
  await drawn(page);
  return page.$eval("#timeline .track", ({ dataset }) => Number(dataset.moment));
}

/** The moment that an address leads to; NaN where it says none. */
function momentIn(address) {
  return Date.parse(new URLSearchParams(new URL(address).hash.slice(1)).get("at") ?? "");
}
