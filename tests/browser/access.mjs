// Who sees poorly, uses no mouse, or is made ill by motion: contrast of every text, a visible focus, nothing that moves.

import { connected, job, opened, play, until } from "./browser.mjs";

const SESSIONS = { running: job.live, failed: job.failed, waiting: job.waiting, table: job.failed, past: job.played };
const VIEWS = [
  ["overview", ""],
  ["running", `#session=${job.live}&agent=queen`],
  ["failed", `#session=${job.failed}`],
  ["waiting", `#session=${job.waiting}`],
  ["table", `#session=${job.failed}&view=table`],
  ["past", `#session=${job.played}&at=${job.moment}`],
  ["unknown", "#session=deadbeef"],
];
const STOPS = 90;
const PLAIN = "?renderer=canvas"; // it opens sooner
// Waits for the element, as the panel of another view may still be shown, but not for frames.
const click = (page, selector) => until(() => page.$$eval(selector, ([element]) => {
  element?.click();
  return element !== undefined;
}), selector);
const tab = (name) => [name, async (page) => {
  await click(page, `[data-panel="${name}"]`);
  await until(() => page.$eval(".panel-body", (body) => body.textContent.length > 40), `the ${name}`);
}];
const LOOKS = {
  running: [tab("events"), tab("log"), ["away", (page) => page.evaluate(() => { document.body.dataset.link = "waiting"; })]],
  overview: [["help", (page) => page.keyboard.press("?")]],
  failed: [tab("events")],
};

await play(async ({ open }) => {
  const faint = [];
  let texts = 0;
  for (const colorScheme of ["dark", "light"]) {
    const page = await open(PLAIN, { colorScheme });
    for (const [view, fragment] of VIEWS) {
      await page.evaluate((hash) => { location.hash = hash; }, fragment);
      await shown(page, view);
      for (const [look, prepare] of [["", () => {}], ...(LOOKS[view] ?? [])]) {
        await prepare(page);
        const seen = await page.evaluate(measureTexts);
        texts += seen.length;
        faint.push(...seen.filter(({ ratio }) => ratio < 4.5).map((each) => ({ ...each, where: `${colorScheme} ${view} ${look}` })));
      }
      await page.evaluate(() => { document.body.dataset.link = "live"; });
      await page.keyboard.press("Escape"); // closes the help
    }
    await page.context().close();
  }
  const page = await open(`${PLAIN}#session=${job.failed}`);
  await shown(page, "failed");
  const stops = await focusStops(page);
  await page.keyboard.press("t");
  await until(() => page.evaluate(() => document.activeElement.closest("#table tr") !== null), "the focus in the table");
  stops.push(await page.evaluate(measureFocus));
  await page.context().close();
  return { texts, faint, stops, moving: await moving(open, "no-preference"), still: await moving(open, "reduce") };
});

async function shown(page, view) {
  await connected(page);
  if (view in SESSIONS) await opened(page, SESSIONS[view]); // the one before may still be there
  if (view === "unknown") await until(() => page.isVisible("#missing"), "the sentence");
  else if (view === "waiting") await until(() => page.isVisible(".panel-body .note"), "the waiting session");
  else if (view === "overview") await until(() => page.isVisible(".overview ul li"), "the overview");
  else {
    await until(() => page.isVisible(".panel-body :is(li, tbody tr)"), "the session");
    await click(page, '[data-panel="agents"]');
    await until(() => page.isVisible(".panel-body tbody tr"), "its agents");
  }
  await page.evaluate(() => document.fonts.ready);
}

/** Runs in a page: each text that can be seen, with the contrast to what is behind it as WCAG 2 reckons it. */
function measureTexts() {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    if (!colour.startsWith("rgb")) throw new Error(`a colour that this cannot read: ${colour}`);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    const beyond = element.tagName === "DIALOG" ? document.body : element.parentElement;
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, ground(beyond));
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const measure = (element, words, style = getComputedStyle(element)) => {
    const behind = ground(element);
    const [r, g, b, a] = parse(style.color);
    const [one, other] = [light(over([r, g, b, a * opacity(element)], behind)), light(behind)];
    return { words: words.trim().slice(0, 40), ratio: (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) };
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    const words = [...element.childNodes].filter(({ nodeType }) => nodeType === Node.TEXT_NODE).map(({ data }) => data).join("");
    const seen = element.checkVisibility({ visibilityProperty: true }) && !element.closest(".sr, .skip, noscript, option");
    if (seen && words.trim()) found.push(measure(element, words));
    if (seen && element.placeholder) found.push(measure(element, element.placeholder, getComputedStyle(element, "::placeholder")));
  }
  return found;
}

/** What the Tab key leads to, and how well that can be seen. */
async function focusStops(page) {
  const stops = [];
  await page.focus(".skip");
  for (let press = 0; press < STOPS; press += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(measureFocus);
    if (!stop || stops.some(({ what }) => what === stop.what)) break;
    stops.push(stop);
  }
  return stops;
}

/** Runs in a page: the focused element, its outline, and whether it is in sight. */
function measureFocus() {
  const element = document.activeElement;
  if (element === document.body) return null;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
  const { left, top, width, height } = element.getBoundingClientRect();
  const [x, y] = [left + Math.min(width / 2, 20), top + Math.min(height / 2, 20)];
  const there = document.elementFromPoint(x, y);
  const name = element.id || element.dataset.do || element.dataset.panel || element.ariaLabel || `${element.tagName} ${element.textContent.slice(0, 30)}`;
  return {
    what: `${element.tagName.toLowerCase()} ${name}`,
    outlined: element.matches(":focus-visible") && outlineStyle === "solid" && parseFloat(outlineWidth) >= 2 && !outlineColor.startsWith("rgba"),
    inSight: there !== null && (element.contains(there) || there.contains(element)),
  };
}

/** How many animations run on a page with a running session, for who wants it so. */
async function moving(open, reducedMotion) {
  const page = await open(`${PLAIN}#session=${job.live}`, { reducedMotion });
  await shown(page, "running");
  const running = await page.evaluate(() => document.getAnimations().filter(({ playState }) => playState === "running").length);
  await page.context().close();
  return running;
}
