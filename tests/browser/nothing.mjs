// No session yet: the command that starts the first one, and its copy button; then the first session comes.

import { connected, job, play, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open("", { permissions: ["clipboard-read", "clipboard-write"] });
  await connected(page);
  await until(() => page.isVisible("#empty .command"), "the first command");
  const heading = await text(page, "#empty h2");
  const command = await text(page, "#empty code");
  await page.click("#empty .command button");
  await until(async () => (await text(page, "#empty .command button")) === "Copied", "the button to say so");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  return { heading, command, copied };
});
