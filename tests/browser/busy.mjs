// How long keys wait for their answer on the screen while very many events arrive.

import { connected, drawnBy, play, until } from "./browser.mjs";

const KEYS = 12;
const EVENTS = 1000; // while which they are pressed, at least

await play(async ({ open }) => {
  let events = 0;
  const page = await open("", { prepare: (opened) => opened.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    const message = JSON.parse(payload);
    if (message.type === "events") events += message.events.length;
  })) });
  await connected(page);
  await drawnBy(page, "canvas"); // the GPU that the browser offers here is only imitated
  await until(() => events > 500, "the storm");
  await page.evaluate(watchKeys);
  for (let key = 0; key < KEYS || events <= EVENTS; key += 1) {
    await page.keyboard.press(key % 2 ? "Escape" : "j"); // opens the session, closes it
    await until(() => page.evaluate((count) => globalThis.answersMs.length > count, key), "the answer to a key");
  }
  const answersMs = await page.evaluate(() => globalThis.answersMs);
  return { events, answersMs };
});

/** Runs in the page: the time from each key to the frame in which the session is, or is no longer, marked in the list. */
function watchKeys() {
  globalThis.answersMs = [];
  const list = document.querySelector("#session-list");
  const chosen = () => list.querySelector("[aria-current]") !== null;
  addEventListener("keydown", (event) => {
    const begun = event.timeStamp; // when the key went down, not when there was time for it
    const before = chosen();
    const look = () => {
      if (chosen() === before) requestAnimationFrame(look);
      else globalThis.answersMs.push(performance.now() - begun);
    };
    requestAnimationFrame(look);
  }, true);
}
