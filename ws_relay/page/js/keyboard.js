// Keys of the whole page; fields and open dialogs keep theirs.

/** Call `actions[name]()` for the keys of `keyActions`. */
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    const name = keyAction(event.key, kindOf(event.target), event.ctrlKey || event.metaKey || event.altKey);
    if (!name || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    actions[name]();
  });
}

const ACTIONS = {
  j: "next",
  k: "previous",
  Enter: "open",
  Escape: "back",
  "/": "search",
  " ": "play",
  ArrowLeft: "stepBack",
  ArrowRight: "stepOn",
  l: "live",
  t: "table",
  g: "graph",
  f: "fit",
  "?": "help",
};

/** What a key does where the focus is (field, control or page); null for nothing of ours. Pure. */
export function keyAction(key, where, modified) {
  if (modified) return null;
  if (where === "field" && key !== "Escape") return null;
  if (where === "control" && (key === " " || key === "Enter")) return null;
  return ACTIONS[key] ?? null;
}

function kindOf(target) {
  if (target.closest?.("input, textarea, select")) return "field";
  return target.closest?.("button, a, tr, summary") ? "control" : "page";
}
