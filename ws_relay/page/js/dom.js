// Elements made and kept up to date with the fewest changes; nothing here parses HTML, so foreign text stays text.

/** An element: h("button", {class: "id", onclick: …, "data-do": …}, "text", child…). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** Set the text where it differs. */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Set an attribute where it differs; null takes it away. */
export function setAttribute(element, name, value) {
  if (value == null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Let `parent` hold one child for each item, in order; children stay the same elements while their key lives, and none
 * is moved (which would take the focus from it) while the items keep their order.
 */
export function keepChildren(parent, items, { keyOf, make, update }) {
  const keys = items.map((item) => String(keyOf(item)));
  const wanted = new Set(keys);
  const known = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.key)) known.set(child.dataset.key, child);
    else child.remove();
  }
  let next = parent.firstElementChild;
  for (const [index, item] of items.entries()) {
    const key = keys[index];
    let child = known.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    update?.(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A button that copies `text` to the clipboard and says so. */
export function copyButton(text, label = "Copy", more = {}) {
  const onclick = (event) => copyFrom(event.currentTarget, text, label);
  return h("button", { type: "button", onclick, ...more }, label);
}

async function copyFrom(button, text, label) {
  await writeClipboard(text);
  setText(button, "Copied");
  setTimeout(() => setText(button, label), 1500);
}

/** Over plain HTTP from another host there is no navigator.clipboard. */
async function writeClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = h("textarea", { class: "sr" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** A shell command with a button that copies it; `copied` where that is more than what is shown. */
export function commandLine(command, copied = command) {
  return h("div", { class: "command" }, h("code", { tabindex: 0 }, command), copyButton(copied));
}
