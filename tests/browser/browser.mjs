// A headless Chromium on the relay's page, and a record of everything that the page must not do.

import { createRequire } from "node:module";

/** What the test wants of a script: {modules, chromium, url, …} as JSON in its one argument. */
export const job = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${job.modules}/`)("playwright-core");

const FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"];
const NO_WEBGL = ["--no-sandbox", "--disable-gpu", "--disable-webgl", "--disable-webgl2", "--disable-3d-apis"];
const STEP_MS = 25;
const DEADLINE_MS = 20_000;
const RENDERER_MS = 40_000; // a GPU that is only imitated takes its time to begin

/**
 * Run `work({browser, open, seen})`, print what it returns as JSON, and leave no browser behind. `open(fragment, options)`
 * opens the page in a context of its own; `options.prepare(page)` comes before the first request. `seen` is the record.
 */
export async function play(work, { webgl = true } = {}) {
  const browser = await chromium.launch({ executablePath: job.chromium, args: webgl ? FLAGS : NO_WEBGL });
  const seen = { foreign: [], problems: [] };
  const open = async (fragment = "", { prepare, ...options } = {}) => {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark", ...options });
    const page = await context.newPage();
    await record(page, seen);
    await prepare?.(page);
    await page.goto(job.url + fragment, { waitUntil: "load" });
    return page;
  };
  try {
    console.log(JSON.stringify({ ...(await work({ browser, open, seen })), ...seen }));
  } finally {
    await browser.close();
  }
}

async function record(page, { foreign, problems }) {
  const home = new URL(job.url).host;
  const note = (address) => {
    const { host, protocol } = new URL(address);
    if (host !== home && protocol !== "data:" && protocol !== "blob:") foreign.push(address);
  };
  page.on("request", (request) => note(request.url()));
  page.on("websocket", (socket) => note(socket.url()));
  page.on("pageerror", (error) => problems.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    const broken = text.startsWith("[csp] ") || text.includes("Content Security Policy");
    // A relay that is away, that asks for a token, or that knows no such session makes the browser itself complain.
    const answered = /net::ERR_|WebSocket connection to|status of 401/.test(text) || /\/api\/sessions\/[^/]+$/.test(message.location().url);
    if (broken || (message.type() === "error" && !answered)) problems.push(text);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`[csp] ${event.effectiveDirective} ${event.blockedURI}`));
  });
}

/** The first true answer of `condition()`, which may be async. Throws what was waited for when it does not come. */
export async function until(condition, what, deadlineMs = DEADLINE_MS) {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}

/** Text of the one element that fits. */
export const text = (page, selector) => page.$eval(selector, (element) => element.textContent);

/** Resolves once the page is connected; "live" or, in a recording, "replay". */
export function connected(page) {
  return until(() => page.$eval("#link", ({ dataset }) => dataset.state === "live" || dataset.state === "replay"), "a live link");
}

/** Resolves once the page says of its link: connecting, live, waiting, token or replay. */
export function linkIs(page, wanted, deadlineMs) {
  return until(() => page.$eval("#link", ({ dataset }, state) => dataset.state === state, wanted), `the link to be ${wanted}`, deadlineMs);
}

/** Resolves once the graph is drawn by `name`: gpu or canvas. */
export function drawnBy(page, name) {
  return until(() => page.$eval("#graph", ({ dataset }, wanted) => dataset.renderer === wanted, name), `the renderer ${name}`, RENDERER_MS);
}

/** Resolves once all that was done to the page up to now is drawn. */
export function drawn(page) {
  return page.evaluate(() => new Promise((resolve) => {
    requestAnimationFrame(() => requestAnimationFrame(() => resolve()));
  }));
}

/** Resolves once the panel is that of this session. */
export function opened(page, session) {
  return until(() => page.isVisible(`.panel-head [aria-label^="Session ${session}"]`), `the panel of ${session}`);
}

/** All rows of the table view, of which only those in sight are drawn: {of: "session" or "agent", session, cells}. */
export function tableRows(page) {
  return until(() => walkedRows(page), "a table in which no rows come or go while it is read");
}

/** The same; null where rows came or went on the way. */
async function walkedRows(page) {
  const found = new Map();
  let top = await page.$eval("#table", (table) => { table.scrollTop = 0; return 0; });
  for (let last = -1; top !== last; ) {
    await until(() => page.$eval("#table", isFilled), "the rows in sight");
    const { count, drawn } = await page.$eval("#table", readRows);
    for (const [index, key, row] of drawn) {
      if ((found.get(index)?.key ?? key) !== key) return null;
      found.set(index, { key, row });
    }
    last = top;
    top = await page.$eval("#table", (table) => { table.scrollTop += table.clientHeight / 2; return table.scrollTop; });
    if (top === last && count !== found.size) return null;
  }
  await page.$eval("#table", (table) => { table.scrollTop = 0; });
  return [...found.keys()].sort((one, other) => one - other).map((index) => found.get(index).row);
}

/** Runs in the page: how many rows the table view has below its head, and those that are drawn. */
function readRows(table) {
  const drawn = [...table.querySelectorAll("tbody tr:not(.gap)")].map((row) => [Number(row.ariaRowIndex), row.dataset.key, {
    of: row.classList.contains("of-session") ? "session" : "agent",
    session: row.dataset.key.split("/")[0],
    cells: [...row.cells].map((cell) => cell.textContent),
  }]);
  return { count: table.firstElementChild.ariaRowCount - 1, drawn };
}

/** Runs in the page: whether all rows in sight of the table view are drawn. */
function isFilled(table) {
  const sight = table.getBoundingClientRect();
  const places = [...table.querySelectorAll(".gap")].map((gap) => gap.getBoundingClientRect());
  return places.every(({ top, bottom }) => bottom <= sight.top || top >= sight.bottom);
}

/** The event feed, oldest first: {index, time, text}; `index` counts the events of the session's file. */
export async function feed(page) {
  await page.click('[data-panel="events"]');
  return page.$$eval(".feed li", (lines) => lines.map((line) => ({
    index: Number(line.dataset.key), ms: Date.parse(line.querySelector("time").dateTime), text: line.lastChild.textContent,
  })).reverse());
}

/**
 * What is drawn in the graph in each of these colours ("#rrggbb"): {insides, spots}. `spots` are places on the page with the
 * same colour `reach` pixels around, so within a node and in no line or letter; `insides` counts them by colour.
 */
export async function graphPixels(browser, page, colours, reach = 3) {
  const { x, y, width, height } = await page.locator("#graph").boundingBox();
  const shot = await page.screenshot({ clip: { x, y, width, height } });
  const blank = await browser.newPage();
  try {
    const found = await blank.evaluate(countPixels, { image: shot.toString("base64"), colours, reach });
    return { ...found, spots: found.spots.map(([left, top]) => [x + left, y + top]) };
  } finally {
    await blank.close();
  }
}

/** The same once the graph has all the `colours` and rests: two pictures in a row show no difference. */
export async function graphAtRest(browser, page, colours, reach) {
  let before = null;
  return until(async () => {
    const found = await graphPixels(browser, page, colours, reach);
    const same = found.insides.every(Boolean) && JSON.stringify(found) === JSON.stringify(before);
    before = found;
    return same && found;
  }, "all colours in a graph at rest", RENDERER_MS);
}

/** Runs in a page. */
async function countPixels({ image, colours, reach }) {
  const bytes = Uint8Array.from(atob(image), (each) => each.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const wanted = colours.map((colour) => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16)));
  const colourAt = (x, y) => wanted.findIndex((colour) => colour.every((value, channel) => Math.abs(data[4 * (y * width + x) + channel] - value) < 16));
  const step = 4;
  const insides = colours.map(() => 0);
  const spots = [];
  for (let y = reach; y < height - reach; y += step) {
    for (let x = reach; x < width - reach; x += step) {
      const colour = colourAt(x, y);
      const around = [[-reach, 0], [reach, 0], [0, -reach], [0, reach]];
      if (colour < 0 || !around.every(([dx, dy]) => colourAt(x + dx, y + dy) === colour)) continue;
      insides[colour] += 1;
      spots.push([x, y]);
    }
  }
  return { insides, spots };
}
