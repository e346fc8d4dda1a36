// A link to a session that there is not yet, and sessions that appear while the page is open.
// It says "open" on stderr when the test may let the session appear.

import { connected, job, play, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open(`#session=${job.session}`);
  await connected(page);
  await until(() => page.isVisible("#missing"), "the sentence about the session");
  const missing = await text(page, "#missing span");
  const announced = await page.getAttribute("#missing", "role");
  const other = await open("#session=deadbeef", { viewport: { width: 390, height: 844 } });
  await connected(other);
  await until(() => other.isVisible("#missing"), "the sentence on a phone");
  await other.click("#missing button");
  await until(async () => (await other.isHidden("#missing")) && !other.url().includes("session="), "all sessions");
  console.error("open");
  await until(() => page.isVisible(".panel-head"), "the session itself");
  await until(() => page.isHidden("#missing"), "no sentence");
  await until(() => page.isVisible(".panel-body tbody tr"), "its agents");
  const title = await text(page, ".panel-head h2");
  await until(() => other.$$eval("#session-list li", (items, id) => items.some(({ dataset }) => dataset.key === id), job.session), "the session in the list");
  return { missing, announced, title };
});
