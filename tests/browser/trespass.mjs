// The page is made to do what it must not, to see that the browser stops it and that the other scripts would tell.

import { connected, job, play } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open();
  await connected(page);
  return page.evaluate(async (foreign) => {
    const inline = document.createElement("script");
    inline.textContent = "globalThis.trespassed = true";
    document.head.append(inline);
    const fetched = await fetch(foreign, { mode: "no-cors" }).then(() => true, () => false);
    return { inlineRan: globalThis.trespassed === true, fetched };
  }, job.foreignUrl);
});
