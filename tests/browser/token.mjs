// A relay that wants a token: one field; a wrong one is asked for again, the right one connects and stays out of the address.

import { connected, job, linkIs, play, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open();
  await until(() => page.isVisible("dialog#token[open]"), "the question for a token");
  await linkIs(page, "token"); // drawn a frame later
  const asked = { heading: await text(page, "#token h2"), fields: await page.locator("#token input").count(), link: await text(page, "#link-text") };
  await page.fill("#token input", "wrong");
  await page.click("#token button");
  await until(async () => (await page.isVisible("dialog#token[open]")) && (await page.inputValue("#token input")) === "", "the question again");
  await page.fill("#token input", job.token);
  await page.keyboard.press("Enter");
  await connected(page);
  await until(() => page.locator("#session-list li").count(), "the sessions");
  const address = page.url();
  const linked = await open(`#token=${encodeURIComponent(job.token)}&session=${job.session}`);
  await connected(linked);
  const linkedAddress = linked.url();
  const title = await until(async () => (await linked.isVisible(".panel-head h2")) && text(linked, ".panel-head h2"), "the session");
  return { asked, address, linkedAddress, title };
});
