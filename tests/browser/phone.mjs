// The page on a phone, under a thumb: one part at a time, nothing cut off, nothing too small to hit.

import { connected, job, play, text, until } from "./browser.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

await play(async ({ open }) => {
  const faults = [];
  const page = await open("", PHONE);
  const look = async (where) => faults.push(...(await page.evaluate(findFaults)).map((fault) => `${where}: ${fault}`));
  const to = async (part, selector) => {
    await page.tap(`.tabs [data-tab="${part}"]`);
    await until(() => page.isVisible(selector), `the ${part}`);
  };
  await connected(page);
  await until(() => page.isVisible("#graph"), "the graph");
  const alone = { list: await page.isHidden("#session-list"), panel: await page.isHidden("#panel") };
  await look("graph");
  await page.tap("#view-button");
  await until(() => page.isVisible("#table tbody tr"), "the table");
  await look("table");
  await page.tap("#table tbody tr:not(.of-session)");
  await until(() => page.isVisible(".agent-card"), "the agent of that row");
  await until(() => page.url().includes("agent="), "the agent in the address");
  const linked = await open(new URL(page.url()).hash, PHONE);
  await until(() => linked.isVisible(".panel-body tbody tr"), "the session of that address");
  await linked.context().close();
  await page.keyboard.press("Escape"); // the agent
  await page.keyboard.press("Escape"); // the session
  await page.keyboard.press("t");
  await until(() => page.isVisible("#table tbody tr"), "the table again");
  await page.tap("#view-button");
  await to("sessions", "#session-list li");
  await look("sessions");
  await to("details", ".overview");
  await look("overview");
  await to("sessions", "#session-list li");
  await page.tap(`#session-list [data-key="${job.failed}"] button`);
  await until(() => page.isVisible(".panel-body tbody tr"), "the session that was tapped");
  const reason = await until(() => text(page, ".failure .reason"), "the reason"); // a row of the list has none
  await until(() => page.isVisible(".failure .log li"), "its last lines");
  await look("failed");
  for (const name of ["events", "log"]) {
    await page.tap(`[data-panel="${name}"]`);
    await until(() => page.$$eval(".panel-body li", (items) => items.length), `the ${name}`);
    await look(name);
  }
  await page.tap('[data-panel="agents"]');
  await page.tap(".panel-body tbody tr");
  await until(() => page.isVisible(".agent-card"), "the agent");
  await look("agent");
  return { alone, reason, faults };
});

/** Runs in the page: what sticks out at a side, and what a thumb would miss. */
function findFaults() {
  const LEAST = 40; // pixels
  const faults = [];
  const name = (element) => `${element.tagName.toLowerCase()}.${element.className} "${element.textContent.trim().slice(0, 24)}"`;
  if (document.scrollingElement.scrollWidth > innerWidth) faults.push(`the page is ${document.scrollingElement.scrollWidth} wide`);
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".sr, .skip, [aria-hidden=true]");
  for (const element of document.querySelectorAll("body *")) {
    if (!visible(element)) continue;
    const { left, right, width, height, bottom } = element.getBoundingClientRect();
    if (width && bottom > 0 && (left < -1 || right > innerWidth + 1)) faults.push(`${name(element)} from ${left} to ${right}`);
    if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX === "auto") faults.push(`${name(element)} scrolls sideways`);
    if (!element.matches("button, select, input, tbody tr, [role=slider]")) continue;
    if (width < LEAST - 0.5 || height < LEAST - 0.5) faults.push(`${name(element)} is ${Math.round(width)} x ${Math.round(height)}`);
  }
  return faults;
}
