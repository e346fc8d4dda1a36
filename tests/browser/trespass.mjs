// The page is made to do what it must not, to see that the browser stops it and that the other scripts would tell.

import { connected, job, play, until } from "./browser.mjs";

await play(async ({ open, seen }) => {
  const page = await open();
  await connected(page);
  const found = await page.evaluate(async (foreign) => {
    const inline = document.createElement("script");
    inline.textContent = "globalThis.trespassed = true";
    document.head.append(inline);
    const fetched = await fetch(foreign, { mode: "no-cors" }).then(() => true, () => false);
    return { inlineRan: globalThis.trespassed === true, fetched };
  }, job.foreignUrl);
  const told = (rule) => seen.problems.some((problem) => problem.includes(rule));
  await until(() => told("script-src") && told("connect-src"), "the browser to tell of both");
  return found;
});
