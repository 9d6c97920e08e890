// Events: their rows, lists of them, and the page of one.

import {get, address} from "./api.js";
import {h, name, say, shown} from "./dom.js";
import {ago, bytes, count, hexLines, iso, tokens, when} from "./format.js";

const PAGE = 50;
// Tokens of JSON that get a colour; what is longer is text.
const MOST_COLOURED = 20000;

/** Where the history, or the live tail, of a selector is. */
export function link(page, selector) {
  const fields = Object.entries(selector).filter(([, value]) => value);
  return `#/${page}?${new URLSearchParams(fields)}`;
}

export function linkToStream(stream) {
  return link("events", {kind: "stream", key: stream});
}

export function linkToEvent(event) {
  return link("event", {stream: event.stream, number: event.number});
}

/** A link that looks like a button; one that leads nowhere without an address. */
export function step(text, href, rel = null) {
  return href ? h("a", {class: "button", href, rel}, text) :
    h("span", {class: "button disabled", "aria-disabled": "true"}, text);
}

/** The names in a field, as a query has them: one a line. */
export function namesIn(input) {
  return input.value.split(",").map((one) => one.trim()).filter(Boolean).join("\n");
}

/** The key by which an event of a selector is read: its number, or its position. */
export function keyOf(event, selector) {
  return selector.kind === "stream" ? event.number : event.position;
}

/** What a selector selects, as elements. */
export function titleOf(selector) {
  if (selector.kind === "all") return ["All streams"];
  return selector.kind === "stream" ? [name(selector.key)] : [name(selector.key), h("span", {class: "star"}, "*")];
}

export function headings(selector) {
  return [selector.kind === "stream" ? "Number" : "Position", "Event",
          selector.kind === "stream" ? null : "Stream", "Data", "Time"].filter(Boolean);
}

/** A table for `row`s; each of its rows is a link to an event. */
export function table(label, selector) {
  const body = h("tbody", {role: "rowgroup"});
  const cells = headings(selector).map((title) => h("th", {role: "columnheader", scope: "col"}, title));
  const element = h("table", {class: `events ${selector.kind}`, role: "table", "aria-label": label},
    h("thead", {role: "rowgroup"}, h("tr", {role: "row"}, cells)), body);
  return {element, body};
}

export function row(event, selector) {
  const where = selector.kind === "stream" ? null :
    cell("stream", h("a", {href: linkToStream(event.stream)}, name(event.stream)));
  return h("tr", {role: "row"},
    cell("key", h("a", {class: "row-link", href: linkToEvent(event), "aria-label": `Event ${event.number}`},
      count(keyOf(event, selector)))),
    cell("event", h("span", {class: "tag"}, name(event.name))),
    where,
    cell("data", preview(event.data)),
    cell("time", h("time", {datetime: iso(event.time), title: ago(event.time)}, when(event.time))));
}

function cell(kind, ...children) {
  return h("td", {role: "cell", class: kind}, ...children);
}

function preview(data) {
  if (data.size === 0) return h("span", {class: "faint"}, "empty");
  const text = data.text === undefined ? data.hex.match(/../g).join(" ") : data.text;
  return [h("code", {class: data.text === undefined ? "hex" : "", dir: "ltr"}, shown(text), data.cut ? "…" : ""),
          data.size > 1024 ? h("span", {class: "size"}, bytes(data.size)) : null];
}

// -- a list ----------------------------------------------------------------------

/** The page of a selector's events, the newest first. */
export async function eventsPage(view, query, signal) {
  const selector = selectorOf(query);
  const title = selector.kind === "all" ? "Events" : selector.key;
  const [page, info] = await Promise.all([
    get("events", {...selector, from: query.from, over: query.over, count: PAGE}, signal),
    selector.kind === "stream" ? known(selector.key, signal) : null]);
  const list = table(`Events of ${title}, the newest first`, selector);
  list.body.append(...page.events.map((event) => row(event, selector)));
  view.show(title,
    head(selector, "events", view),
    info ? facts(info) : null,
    filters(selector, query, view),
    page.events.length ? list.element : nothing(selector, query),
    pager(page, selector, query));
}

/** kind, key, names of a query; all streams, if it has none. */
export function selectorOf(query) {
  return {kind: query.kind || "all", key: query.kind === "all" ? "" : query.key ?? "", names: query.names ?? ""};
}

async function known(stream, signal) {
  const {streams} = await get("streams", {prefix: stream, count: 1}, signal);
  return streams.length && streams[0].name === stream && streams[0].count ? streams[0] : null;
}

/** The title of a selector's pages, and what else can be done with it. */
export function head(selector, page, view) {
  const tab = (to, text) => h("a", {href: link(to, selector), "aria-current": to === page ? "page" : null}, text);
  const publish = view.session.append && selector.kind === "stream" ?
    step("Publish", link("publish", {stream: selector.key})) : null;
  return h("header", {class: "head"},
    h("div", {class: "head-title"},
      h("p", {class: "crumb"}, selector.kind === "stream" ? h("a", {href: "#/streams"}, "Streams") :
        selector.kind === "prefix" ? "Streams that begin with" : "Everything, in the order it was stored"),
      h("h1", {tabindex: "-1"}, titleOf(selector))),
    h("div", {class: "actions"},
      h("nav", {class: "tabs", "aria-label": "History or live"}, tab("events", "History"), tab("live", "Live")),
      publish));
}

function facts(info) {
  const fact = (title, value, more) => h("div", {}, h("dt", {}, title), h("dd", {title: more}, value));
  return h("dl", {class: "facts"},
    fact("Events", count(info.count)), fact("Numbers", `${count(info.first)} to ${count(info.last)}`),
    fact("Size", bytes(info.bytes)), fact("First", ago(info.first_time), when(info.first_time)),
    fact("Last", ago(info.last_time), when(info.last_time)));
}

function filters(selector, query, view) {
  const key = selector.kind === "stream" ? "Number" : "Position";
  const names = h("input", {name: "names", value: selector.names.replaceAll("\n", ", "), placeholder: "any",
                            autocomplete: "off", spellcheck: "false", "data-search": true});
  const from = h("input", {name: "from", inputmode: "numeric", pattern: "[0-9]*", placeholder: "newest",
                           value: /^\d+$/.test(query.from ?? "") ? query.from : "", autocomplete: "off"});
  const time = h("input", {name: "time", type: "datetime-local", step: "1"});
  const form = h("form", {class: "filters", role: "search", "aria-label": "Which events"},
    field("Events called", names), field(`From ${key.toLowerCase()}`, from), field("Up to", time),
    h("button", {}, "Show"),
    query.names || query.from || query.over ?
      h("a", {class: "button quiet", href: link("events", {...selector, names: ""})}, "Newest of all") : null);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const at = time.value ? `@${new Date(time.value).getTime() * 1000}` : from.value.trim();
    view.go(link("events", {...selector, names: namesIn(names), from: at}));
  });
  return form;
}

export function field(title, input, hint = null) {
  return h("label", {class: "field"}, h("span", {class: "label"}, title), input,
    hint ? h("span", {class: "hint"}, hint) : null);
}

function nothing(selector, query) {
  const narrowed = query.from || query.over || query.names;
  return h("div", {class: "empty card"},
    h("h2", {}, narrowed ? "No events here" : "No events yet"),
    h("p", {}, narrowed ? "None of this page's part of the log fits. There may be others further back." :
      "What is published to it appears here, and at once in the live tail."));
}

function pager(page, selector, query) {
  const {events} = page;
  const top = events.length ? keyOf(events[0], selector) : null;
  const atTop = query.from === undefined && query.over === undefined;
  const older = query.over === undefined ? page.following : below(events, selector);
  return h("nav", {class: "pager", "aria-label": "Pages of events"},
    step("← Newer", !atTop && top !== null && link("events", {...selector, over: top}), "prev"),
    step("Newest", !atTop && link("events", selector)),
    step("Older →", older !== null && link("events", {...selector, from: older}), "next"));
}

/** The key below the last event of a page. */
function below(events, selector) {
  if (!events.length) return null;
  const last = BigInt(keyOf(events[events.length - 1], selector));
  return last > 0n ? String(last - 1n) : null;
}

// -- one event -------------------------------------------------------------------

export async function eventPage(view, query, signal) {
  const {event, first, last} = await get("event", {stream: query.stream, number: query.number}, signal);
  const number = BigInt(event.number);
  const beside = (to) => linkToEvent({stream: event.stream, number: String(to)});
  const around = link("events", {kind: "stream", key: event.stream, from: event.number});
  view.show(`${event.stream} ${event.number}`,
    h("header", {class: "head"},
      h("div", {class: "head-title"},
        h("p", {class: "crumb"}, h("a", {href: "#/streams"}, "Streams"), " / ",
          h("a", {href: around}, name(event.stream))),
        h("h1", {tabindex: "-1"}, `Event ${count(event.number)} `, h("span", {class: "tag large"}, name(event.name)))),
      h("nav", {class: "actions", "aria-label": "Beside this event"},
        step("← Newer", number < BigInt(last) && beside(number + 1n), "prev"),
        step("Older →", number > BigInt(first) && beside(number - 1n), "next"))),
    h("dl", {class: "facts"},
      fact("Number", count(event.number)),
      fact("Position", h("a", {href: link("events", {kind: "all", from: event.position})}, count(event.position))),
      fact("Time", h("time", {datetime: iso(event.time), title: iso(event.time)}, when(event.time)), ago(event.time)),
      fact("Size", bytes(event.data.size)),
      event.id ? fact("Id", h("code", {class: "breaks"}, shown(event.id))) : null),
    panel("Data", event.data, address("data", {stream: event.stream, number: event.number})),
    event.metadata.size ? panel("Metadata", event.metadata) : null);
}

function fact(title, value, more = null) {
  return h("div", {}, h("dt", {}, title), h("dd", {}, value, more ? h("span", {class: "more"}, more) : null));
}

function panel(title, data, download = null) {
  const parsed = data.text !== undefined && !data.cut ? tokens(data.text) : null;
  const kind = data.size === 0 ? "empty" : parsed ? "JSON" : data.text !== undefined ? "text" : "bytes";
  const box = h("div", {class: "panel-body"});
  const pretty = () => box.replaceChildren(whole(data, parsed));
  const raw = () => box.replaceChildren(h("pre", {dir: "ltr", tabindex: "0"}, shown(data.text)));
  pretty();
  return h("section", {class: "panel card", "aria-label": title},
    h("header", {}, h("h2", {}, title), h("span", {class: "tag"}, kind),
      h("span", {class: "spring"}),
      parsed ? toggle("As stored", raw, pretty) : null,
      data.text !== undefined && data.size && navigator.clipboard ? copy(data.text) : null,
      download ? h("a", {class: "button quiet", href: download, download: true}, "Download") : null),
    data.cut ? h("p", {class: "hint"}, `These are the first ${data.text === undefined ? bytes(data.hex.length / 2) :
      "1 MiB"} of ${bytes(data.size)}. Download it to see all.`) : null,
    box);
}

function whole(data, parsed) {
  if (data.size === 0) return h("p", {class: "faint"}, "No bytes.");
  if (data.text === undefined) return h("pre", {class: "bytes", dir: "ltr", tabindex: "0"}, hexLines(data.hex));
  if (!parsed) return h("pre", {dir: "ltr", tabindex: "0"}, shown(data.text));
  const parts = parsed.length > MOST_COLOURED ? shown(parsed.map(([, text]) => text).join("")) : parsed.map(coloured);
  return h("pre", {dir: "ltr", tabindex: "0"}, parts);
}

function coloured([kind, text]) {
  return kind === "space" || kind === "sign" ? text : h("span", {class: `json-${kind}`}, shown(text));
}

function toggle(text, on, off) {
  const button = h("button", {type: "button", class: "quiet", "aria-pressed": "false"}, text);
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    (pressed ? on : off)();
  });
  return button;
}

function copy(text) {
  const button = h("button", {type: "button", class: "quiet"}, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      say("Copied");
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}
