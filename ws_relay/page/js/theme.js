// Light and dark: as the system has it, unless the person chose. The canvases read their colours here.

const KEY = "hive-theme";
const CHOICES = ["system", "dark", "light"];
const LABELS = { system: "Auto", dark: "Dark", light: "Light" };
const NAMES = [
  "waiting",
  "starting",
  "running",
  "done",
  "failed",
  "unknown",
  "ground",
  "text",
  "quiet",
  "link",
  "message",
  "hull",
  "line",
  "line-strong",
  "focus",
  "raised",
];

/** The colours that hold now, by name. */
export const colours = {};

/** Apply the choice of last time; `onChange` is called whenever colours change. */
export function startTheme(button, onChange) {
  const system = matchMedia("(prefers-color-scheme: light)");
  const use = (choice) => {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.textContent = LABELS[choice];
    button.setAttribute("aria-label", `Theme: ${choice}`);
    readColours();
    onChange();
  };
  let choice = CHOICES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
  system.addEventListener("change", () => use(choice));
  use(choice);
  return () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem(KEY, choice);
    use(choice);
  };
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) colours[name] = style.getPropertyValue(`--${name}`).trim();
}

const CROWD = 300;

/** How strong links are drawn: faint in a crowd, where they would hide the agents. */
export function linkAlpha(links) {
  return links.length > CROWD ? 0.4 : 1;
}

/** Red, green, blue and alpha of "#rrggbb", each 0 to 1. */
export function channels(hex, alpha = 1) {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255, alpha];
}
