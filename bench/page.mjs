// Opens the live page in a headless Chromium and times it, as page.py says in a JSON object on stdin; the figures, as
// JSON on stdout: {name: [values]}.
//
// What is timed is what a person waits for: to the end of the first frame in which the answer is on the screen.

import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(`${job.modules}/`)("playwright-core");

// A GPU that is imitated on the CPU; without these, what Chromium itself does where there is none.
const IMITATED = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"];
const DEADLINE_MS = 20_000;
const SETTLE_MS = 2500;
const BETWEEN_MS = 130; // no multiple of a period of the page's own

const figures = {};
const note = (name, value) => (figures[name] ??= []).push(value);

async function opened(browser) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark" });
  const page = await context.newPage();
  await page.addInitScript(watchAgents, job.agents);
  const client = await context.newCDPSession(page);
  await client.send("Performance.enable");
  await page.goto(`${job.url}${job.gpu ? "?renderer=gpu" : ""}`, { waitUntil: "commit" });
  await page.waitForFunction(() => globalThis.shownMs !== undefined, null, { timeout: DEADLINE_MS, polling: 50 });
  return { page, client };
}

async function open(browser) {
  for (let time = 0; time < job.times; time += 1) {
    const { page } = await opened(browser);
    const found = await page.evaluate(() => ({
      painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
      shown: globalThis.shownMs,
    }));
    note("painted_ms", found.painted);
    note("shown_ms", found.shown);
    await page.context().close();
  }
}

/** Runs in the page: notes when the picture of the graph has something in as many places as there are agents. */
function watchAgents(agents) {
  const SIDE = 300;
  const sample = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
  const look = () => {
    const canvases = [...document.querySelectorAll("#graph canvas")];
    if (!document.querySelector("#session-list li") || !canvases.length) return requestAnimationFrame(look);
    sample.clearRect(0, 0, SIDE, SIDE);
    for (const canvas of canvases) if (canvas.width) sample.drawImage(canvas, 0, 0, SIDE, SIDE);
    const { data } = sample.getImageData(0, 0, SIDE, SIDE);
    let bright = 0;
    for (let at = 0; at < data.length; at += 4) bright += Number(Math.max(data[at], data[at + 1], data[at + 2]) > 110);
    if (bright < 3 * agents) return requestAnimationFrame(look);
    globalThis.shownMs = performance.now();
  };
  requestAnimationFrame(look);
}

async function busy(browser) {
  const { page, client } = await opened(browser);
  let events = 0;
  client.on("Network.webSocketFrameReceived", ({ response }) => {
    if (response.payloadData.includes('"type":"events"')) events += response.payloadData.split('"ts":').length - 1;
  });
  await client.send("Network.enable");
  await page.waitForFunction(() => document.querySelector("#graph").dataset.renderer !== "starting", null, {
    timeout: DEADLINE_MS,
    polling: 50,
  });
  await page.waitForTimeout(SETTLE_MS);
  note("renderer", await page.$eval("#graph", ({ dataset }) => dataset.renderer));
  const spots = await agentSpots(page);
  await page.evaluate(watchAnswers);
  if (job.profile) await client.send("Profiler.enable").then(() => client.send("Profiler.start"));
  const before = await taskSeconds(client);
  const [seen, begun] = [events, performance.now()];
  await keys(page);
  await clicks(page, spots);
  await pans(page);
  const seconds = (performance.now() - begun) / 1000;
  note("main_ms", (1000 * ((await taskSeconds(client)) - before)) / seconds);
  note("events_per_s", (events - seen) / seconds);
  if (job.profile) writeFileSync(job.profile, JSON.stringify((await client.send("Profiler.stop")).profile));
}

async function taskSeconds(client) {
  const { metrics } = await client.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value;
}

async function answer(page, name, act) {
  const count = await page.evaluate((wanted) => globalThis.expectAnswer(wanted), name);
  await act();
  await page.waitForFunction((had) => globalThis.answersMs.length > had, count, { timeout: DEADLINE_MS, polling: 30 });
  note(`${name}_ms`, await page.evaluate(() => globalThis.answersMs.at(-1)));
  await page.waitForTimeout(BETWEEN_MS);
}

/** The next session, and back. */
async function keys(page) {
  for (let time = 0; time < job.times; time += 1) {
    await answer(page, "key", () => page.keyboard.press(time % 2 ? "Escape" : "j"));
  }
}

/** An agent in the graph, and another one. */
async function clicks(page, spots) {
  for (const spot of spots) await answer(page, "click", () => page.mouse.click(...spot));
}

/** Places of so many agents, each its own. */
async function agentSpots(page) {
  const { x, y, width, height } = await page.locator("#graph").boundingBox();
  const spots = new Map();
  for (let time = 1; spots.size < job.times && time < 200; time += 1) {
    const [angle, reach] = [2.4 * time, 0.03 * Math.sqrt(time)];
    const [right, down] = [reach * width * Math.cos(angle), reach * width * Math.sin(angle)];
    const spot = [Math.round(x + width / 2 + right), Math.round(y + height / 2 + down)]; // a click has whole pixels
    await page.mouse.move(...spot);
    const task = await page.evaluate(() => document.querySelector("#hover:not([hidden]) .quiet")?.textContent);
    if (task) spots.set(task, spot);
  }
  if (spots.size < job.times) throw new Error(`only ${spots.size} agents are under the mouse`);
  return [...spots.values()];
}

/** The picture, a little further. */
async function pans(page) {
  const { x, y, width, height } = await page.locator("#graph").boundingBox();
  const [left, top] = [x + width / 2, y + height / 2];
  await page.mouse.move(left, top);
  await page.mouse.down();
  for (let time = 1; time <= job.times; time += 1) {
    await answer(page, "pan", () => page.mouse.move(left + 9 * time, top + 5 * time));
  }
  await page.mouse.up();
}

/**
 * Runs in the page. The time of an input is when it happened, not when there was time for it; the time of its answer is
 * the end of the frame that shows it: another row is the open one, another agent has the panel, or, for a movement
 * of the picture, which is in no element, the first frame after it.
 */
function watchAnswers() {
  globalThis.answersMs = [];
  const state = {
    key: () => document.querySelector("#session-list [aria-current]") !== null,
    click: () => document.querySelector("#panel .agent-card dl")?.textContent.match(/Part \d+/)?.[0],
    pan: () => performance.now(),
  };
  const channel = new MessageChannel();
  const afterFrame = (then) => requestAnimationFrame(() => {
    channel.port1.onmessage = then;
    channel.port2.postMessage(null);
  });
  globalThis.expectAnswer = (name) => {
    const event = { key: "keydown", click: "pointerup", pan: "pointermove" }[name];
    const before = state[name]();
    addEventListener(event, ({ timeStamp }) => {
      const look = () => {
        if (state[name]() === before) afterFrame(look);
        else globalThis.answersMs.push(performance.now() - timeStamp);
      };
      afterFrame(look);
    }, { capture: true, once: true });
    return globalThis.answersMs.length;
  };
}

const browser = await chromium.launch({
  executablePath: job.chromium,
  args: ["--no-sandbox", ...(job.gpu ? IMITATED : [])],
});
try {
  await { open, busy }[job.measure](browser);
  console.log(JSON.stringify(figures));
} finally {
  await browser.close();
}
