// Elements of the page.  What comes from the server becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

// What can't be seen, or turns what can be seen around: controls but for tab and line feed,
// soft hyphens, zero widths, marks and overrides of direction, tags.
const UNSEEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f" +
  "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]|[\\u{e0000}-\\u{e007f}]", "gu");
const MOST_MARKS = 500;

/** An element: h("a", {class: "x", href: "#/", onclick: f}, child, "text", [more]). */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text from the store: what can't be seen in it is marked by its number. */
export function shown(text) {
  const parts = document.createDocumentFragment();
  let begin = 0;
  let marks = 0;
  for (const match of text.matchAll(UNSEEN)) {
    if (++marks > MOST_MARKS) break;
    parts.append(text.slice(begin, match.index), mark(match[0]));
    begin = match.index + match[0].length;
  }
  parts.append(text.slice(begin).replace(UNSEEN, (found) => `\\u{${code(found)}}`));
  return parts;
}

function mark(character) {
  const name = code(character);
  return h("span", {class: "unseen-character", title: `U+${name.padStart(4, "0")}`}, name.padStart(2, "0"));
}

function code(character) {
  return character.codePointAt(0).toString(16).toUpperCase();
}

/** A name from the store, which doesn't turn around what stands beside it. */
export function name(text, attributes = {}) {
  return h("bdi", {...attributes, class: `name ${attributes.class ?? ""}`}, shown(text));
}

let saying = null;

/** Have a screen reader say something when it is done with what it says. */
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById("said").textContent = text; }, 100);
}
