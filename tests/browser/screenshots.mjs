// Pictures of the page in both themes, for docs/; run by hand:
//   node screenshots.mjs '{"modules": ".../node_modules", "chromium": "/usr/bin/chromium", "url": "http://127.0.0.1:3002/",
//                          "session": "ID", "agent": "ID", "to": "docs", "width": 1440, "fragment": "", "name": "page"}'

import { connected, job, play } from "./browser.mjs";

const SETTLED_MS = 2500;

await play(async ({ open }) => {
  const { width = 1440, height = 900, name = "page", to, session } = job;
  const fragment = job.fragment ?? `?renderer=gpu#session=${session}${job.agent ? `&agent=${job.agent}` : ""}`;
  const files = [];
  for (const colorScheme of ["dark", "light"]) {
    const page = await open(fragment, { colorScheme, viewport: { width, height } });
    await connected(page);
    await page.waitForTimeout(SETTLED_MS);
    if (job.tab) await page.click(job.tab);
    await page.waitForTimeout(500);
    const path = `${to}/${name}-${colorScheme}.png`;
    await page.screenshot({ path });
    files.push(path);
    await page.context().close();
  }
  return { files };
});
