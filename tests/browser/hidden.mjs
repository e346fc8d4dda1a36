// A page in a hidden tab draws nothing, hears everything, and is up to date once it is seen again. Headless Chromium hides
// no tab, so this does to the page what hiding does: it says so, and gives it no frames.
// It says "hidden" on stderr when the test may create a session.

import { connected, job, play, until } from "./browser.mjs";

const QUIET_MS = 1500; // longer than the page's own clock takes for a stroke

await play(async ({ open }) => {
  let heard = false;
  const page = await open(`?renderer=canvas#session=${job.live}`, { prepare: async (opened) => {
    await opened.addInitScript(letHide);
    opened.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => { heard ||= payload.includes(job.word); }));
  } });
  await connected(page);
  await until(() => page.isVisible(".panel-body tbody tr"), "the agents");
  const probe = await page.context().newCDPSession(page);
  await probe.send("Performance.enable");
  const layouts = async () => (await probe.send("Performance.getMetrics")).metrics.find(({ name }) => name === "LayoutCount").value;
  const during = async () => {
    const before = await layouts();
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    return (await layouts()) - before;
  };
  const seen = await until(during, "a page that is drawn while it is seen");
  await page.evaluate(() => globalThis.hide(true));
  await until(async () => (await during()) === 0, "a page at rest"); // frames that were under way have ended
  console.error("hidden");
  await until(() => heard, "the news of the session");
  await during();
  const list = () => page.$eval("#session-list", (element) => element.textContent);
  const drawnUnseen = (await list()).includes(job.word);
  await page.evaluate(() => globalThis.hide(false));
  await until(async () => (await list()).includes(job.word), "the session in the list");
  return { seen, drawnUnseen };
});

/** Runs in the page, before its own scripts: `hide(true)` and `hide(false)` are what happens to a tab. */
function letHide() {
  const frame = globalThis.requestAnimationFrame.bind(globalThis);
  const kept = new Map();
  let hidden = false;
  Object.defineProperty(Document.prototype, "hidden", { get: () => hidden });
  Object.defineProperty(Document.prototype, "visibilityState", { get: () => (hidden ? "hidden" : "visible") });
  globalThis.requestAnimationFrame = (callback) => {
    if (!hidden) return frame(callback);
    kept.set(-1 - kept.size, callback);
    return -kept.size;
  };
  globalThis.hide = (hiding) => {
    hidden = hiding;
    document.dispatchEvent(new Event("visibilitychange"));
    if (hidden) return;
    for (const callback of kept.values()) frame(callback);
    kept.clear();
  };
}
