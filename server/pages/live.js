// The live tail: a bounded list, the newest first, fed by server-sent events.

import {address, worded} from "./api.js";
import {h, say} from "./dom.js";
import {count, plural} from "./format.js";
import {field, head, keyOf, link, namesIn, row, selectorOf, table} from "./events.js";

// Rows that are kept; older ones fall off the end.
const MOST = 300;
// Milliseconds between attempts to connect again.
const PAUSES = [500, 1000, 2000, 5000, 10000];
// ... and between two things that a screen reader is told.
const TOLD = 10000;

export async function livePage(view, query) {
  if (query.kind === undefined) return choose(view);
  const selector = selectorOf(query);
  const list = table("Events as they come, the newest first", selector);
  const tail = new Tail(selector, list.body);
  const names = h("input", {value: selector.names.replaceAll("\n", ", "), placeholder: "any", autocomplete: "off",
                            spellcheck: "false", "data-search": true});
  const form = h("form", {class: "filters", role: "search", "aria-label": "Which events"},
    field("Events called", names), h("button", {}, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    view.go(link("live", {...selector, names: namesIn(names)}));
  });
  view.show(selector.kind === "all" ? "Live" : `${selector.key} live`,
    head(selector, "live", view), form,
    h("div", {class: "live-bar"}, tail.state, tail.pauseButton, tail.clearButton, tail.counter),
    tail.notice, list.element, tail.empty);
  view.onLeave(() => tail.close());
  view.onKey("p", () => tail.pause());
  tail.connect();
}

/** What to tail, when nobody has said. */
function choose(view) {
  const key = h("input", {name: "key", autocomplete: "off", spellcheck: "false", "data-search": true});
  const kinds = [["all", "All streams"], ["stream", "One stream"], ["prefix", "Streams that begin with"]]
    .filter(([kind]) => kind !== "all" || view.session.all);
  const radios = kinds.map(([kind, text], i) => h("label", {class: "choice"},
    h("input", {type: "radio", name: "kind", value: kind, checked: i === 0, onchange: () => changed()}),
    h("span", {}, text)));
  const keyField = field("Name", key);
  const chosen = () => new FormData(form).get("kind");
  const form = h("form", {class: "card form"},
    h("fieldset", {class: "choices"}, h("legend", {class: "label"}, "What to follow"), radios), keyField,
    h("div", {class: "form-foot"}, h("button", {class: "primary"}, "Start")));
  const changed = () => {
    keyField.hidden = chosen() === "all";
    key.required = chosen() !== "all";
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    view.go(link("live", {kind: chosen(), key: chosen() === "all" ? "" : key.value}));
  });
  changed();
  view.show("Live", h("header", {class: "head"}, h("div", {class: "head-title"},
    h("p", {class: "crumb"}, "Events as they are published"), h("h1", {tabindex: "-1"}, "Live"))), form);
}

class Tail {
  constructor(selector, body) {
    this.selector = selector;
    this.body = body;
    this.seen = null;           // the key of the newest event
    this.waiting = [];          // rows that came while it was paused, the newest first
    this.paused = false;
    this.came = 0;
    this.failures = 0;
    this.told = Date.now();
    this.toldCame = 0;
    this.source = null;
    this.timer = null;
    this.state = h("span", {class: "state connecting", role: "status"}, "Connecting");
    this.pauseButton = h("button", {type: "button", title: "p", onclick: () => this.pause()}, "Pause");
    this.clearButton = h("button", {type: "button", class: "quiet", onclick: () => this.clear()}, "Clear");
    this.counter = h("span", {class: "faint counter"}, "");
    this.notice = h("p", {class: "notice", role: "alert", hidden: true});
    this.empty = h("div", {class: "empty card"}, h("h2", {}, "Waiting for events"),
      h("p", {}, "What is published from now on appears here."));
  }

  connect() {
    const {kind, key, names} = this.selector;
    this.source = new EventSource(address("tail", {kind, key, names, seen: this.seen}));
    this.source.addEventListener("open", () => this.opened());
    this.source.addEventListener("events", (event) => this.take(JSON.parse(event.data)));
    this.source.addEventListener("refused", (event) => this.refuse(worded(JSON.parse(event.data).error)));
    this.source.addEventListener("ended", (event) => this.again(worded(JSON.parse(event.data).error)));
    this.source.addEventListener("error", () => this.again("The connection is lost."));
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  opened() {
    this.failures = 0;
    this.notice.hidden = true;
    this.show();
  }

  again(why) {
    this.close();
    const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
    this.timer = setTimeout(() => this.connect(), pause);
    this.show("connecting", "Connecting");
    if (this.failures > 1) this.tell(`${why} Trying again.`);
    document.dispatchEvent(new CustomEvent("meilies:doubt"));
  }

  refuse(why) {
    this.close();
    this.show("stopped", "Stopped");
    this.tell(why);
  }

  tell(text) {
    this.notice.textContent = text;
    this.notice.hidden = false;
  }

  take({events, skipped}) {
    const rows = events.map((event) => row(event, this.selector)).reverse();
    if (events.length) this.seen = keyOf(events[events.length - 1], this.selector);
    if (skipped) rows.push(this.gap(skipped));
    this.came += events.length;
    if (this.paused) {
      this.waiting = [...rows, ...this.waiting].slice(0, MOST);
    } else {
      this.add(rows);
    }
    this.count();
    this.narrate();
  }

  add(rows) {
    this.empty.hidden = true;
    const held = this.body.contains(document.activeElement) ? document.activeElement : null;
    const above = held ? held.getBoundingClientRect().top : 0;
    this.body.prepend(...rows);
    while (this.body.childElementCount > MOST && !this.body.lastElementChild.contains(held)) {
      this.body.lastElementChild.remove();
    }
    if (held) scrollBy(0, held.getBoundingClientRect().top - above);
  }

  /** A row that says what isn't shown, and leads to it. */
  gap({first, stop, exact}) {
    const passed = BigInt(stop) - BigInt(first);
    const text = exact ? `${plural(passed, "event")} passed over` : "Some events were passed over";
    const columns = this.selector.kind === "stream" ? 4 : 5;
    return h("tr", {role: "row", class: "gap"}, h("td", {role: "cell", colspan: columns}, text, " ",
      h("a", {href: link("events", {...this.selector, from: String(BigInt(stop) - 1n)})}, "show them")));
  }

  pause() {
    this.paused = !this.paused;
    this.pauseButton.textContent = this.paused ? "Go on" : "Pause";
    this.pauseButton.classList.toggle("primary", this.paused);
    if (!this.paused) {
      this.add(this.waiting);
      this.waiting = [];
    }
    this.count();
    this.show();
    say(this.paused ? "Paused" : "Live");
  }

  clear() {
    this.body.replaceChildren();
    this.waiting = [];
    this.empty.hidden = false;
  }

  show(kind = this.paused ? "paused" : "live", text = this.paused ? "Paused" : "Live") {
    if (!this.source && kind !== "connecting" && kind !== "stopped") return;
    this.state.className = `state ${kind}`;
    this.state.textContent = text;
  }

  count() {
    const waiting = this.waiting.length === MOST ? `${MOST} or more` : count(this.waiting.length);
    this.counter.textContent = this.waiting.length ? `${waiting} waiting` :
      this.came ? `${plural(this.came, "event")} shown` : "";
  }

  /** Not each event: a screen reader would never be done. */
  narrate() {
    if (Date.now() - this.told < TOLD || this.came === this.toldCame) return;
    say(plural(this.came - this.toldCame, "new event"));
    this.told = Date.now();
    this.toldCame = this.came;
  }
}
