// No session yet: the command that starts the first one, and its copy button; then the first session comes.

import { connected, job, play, text, until } from "./browser.mjs";

await play(async ({ open }) => {
  const page = await open("", { permissions: ["clipboard-read", "clipboard-write"] });
  await connected(page);
  await until(() => page.isVisible("#empty .command"), "the first command");
  const heading = await text(page, "#empty h2");
  const command = await text(page, "#empty code");
  await page.$eval("#empty .command button", watchWords);
  await page.click("#empty .command button");
  await until(() => page.evaluate(() => globalThis.words.includes("Copied")), "the button to say so");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  return { heading, command, copied };
});

/** Runs in the page: notes each word that the button says, for it says this one not for long. */
function watchWords(button) {
  globalThis.words = [];
  new MutationObserver(() => globalThis.words.push(button.textContent)).observe(button, { childList: true, subtree: true });
}
