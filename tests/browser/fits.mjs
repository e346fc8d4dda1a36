// Beside an open panel there is no way sideways, at the widths that people have; and a link to an agent leads to its row.

import { connected, drawn, job, opened, play, until } from "./browser.mjs";

await play(async ({ open }) => {
  const wider = [];
  const page = await open(`?renderer=canvas#session=${job.failed}&view=table`);
  await connected(page);
  await opened(page, job.failed);
  await until(() => page.isVisible(".failure .log li"), "all of the panel");
  for (const width of [1440, 1180, 1024, 760]) {
    await page.setViewportSize({ width, height: 700 });
    await until(() => page.isVisible("#table tbody tr"), "the table");
    await drawn(page);
    wider.push(...(await page.evaluate(findWider)).map((what) => `${width}: ${what}`));
  }
  await page.context().close();

  const linked = await open(`?renderer=canvas#session=${job.failed}&view=table`, { viewport: { width: 1024, height: 420 } });
  await connected(linked);
  const agent = await until(() => linked.$$eval(".panel-body tbody tr", (rows) => rows.at(-1)?.dataset.key), "the agents");
  const place = { session: job.failed, agent };
  await until(() => linked.$(`#table [data-key="${job.failed}/${agent}"]`), "its row in the table of all");
  const before = await linked.evaluate(inSight, place);
  await linked.evaluate((hash) => { location.hash = hash; }, `session=${job.failed}&view=table&agent=${agent}`);
  await until(() => linked.isVisible(".agent-card"), "the agent");
  const after = await until(() => linked.evaluate(inSight, place).then((seen) => seen.every(Boolean) && seen), "its rows");
  return { wider, before, after };
});

/** Runs in the page: what ends beyond the window, or is wider inside than outside, but for what is cut on purpose. */
function findWider() {
  const beyond = [...document.querySelectorAll(".bar > *, main > *, .timeline")]
    .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => `${element.id || element.className} ends at ${Math.round(element.getBoundingClientRect().right)}`);
  const wider = ["#table", "#panel", "#sessions", ".bar", ".panel-head", ".panel-body", ".curves figure", ".timeline-row"]
    .flatMap((selector) => [...document.querySelectorAll(selector)].map((element) => [selector, element]))
    .filter(([, { scrollWidth, clientWidth }]) => scrollWidth > clientWidth + 1)
    .map(([selector, { scrollWidth, clientWidth }]) => `${selector} ${scrollWidth} > ${clientWidth}`);
  return [...beyond, ...wider];
}

/** Runs in the page: whether the agent's rows, in the table of all and in the panel's, can be seen whole. */
function inSight({ session, agent }) {
  return [["#table", `${session}/${agent}`], [".panel-body", agent]].map(([box, key]) => {
    const outside = document.querySelector(box).getBoundingClientRect();
    const { top, bottom } = document.querySelector(`${box} tr[data-key="${key}"]`).getBoundingClientRect();
    return top >= outside.top && bottom <= outside.bottom + 1 && bottom <= innerHeight;
  });
}
