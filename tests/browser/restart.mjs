// A relay that dies and comes back while a session goes on: what the page says meanwhile, and what it knows at the end.
// It says "connected" and "away" on stderr when it has come so far: the test ends the relay, and starts it again.

import { connected, feed, job, linkIs, play, text, until } from "./browser.mjs";

const AWAY_MS = 40_000;

await play(async ({ open }) => {
  const sockets = [];
  const page = await open(`#session=${job.session}`, { prepare: (opened) => opened.on("websocket", (socket) => sockets.push(noted(socket))) });
  await connected(page);
  console.error("connected");
  await linkIs(page, "waiting", AWAY_MS);
  const away = { banner: await text(page, "#banner"), shown: await page.isVisible("#banner"), sessions: await page.locator("#session-list li").count() };
  console.error("away");
  await linkIs(page, "live", AWAY_MS);
  await until(() => page.isHidden("#banner"), "the banner to go");
  await until(async () => (await text(page, ".panel-head .state")).includes("done"), "the end of the session", AWAY_MS);
  const told = await until(async () => {
    const lines = await feed(page);
    return lines.at(-1)?.text.startsWith("session done") && lines;
  }, "the end in the feed");
  return { away, told, sockets };
});

/** What went over a socket: what was subscribed to, and the byte ranges of the session's events that came. */
function noted(socket) {
  const seen = { subscribed: [], ranges: [], gaps: [] };
  socket.on("framesent", ({ payload }) => {
    const message = JSON.parse(payload);
    if (message.action === "subscribe") seen.subscribed.push(message);
  });
  socket.on("framereceived", ({ payload }) => {
    const { type, session_id: id, from, to } = JSON.parse(payload);
    if (id !== job.session) return;
    if (type === "events") seen.ranges.push([from, to]);
    if (type === "gap") seen.gaps.push([from, to]);
  });
  return seen;
}
