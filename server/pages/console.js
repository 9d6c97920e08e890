// The console: which page is shown, the keyboard, the banner of a lost connection.

import {get, post, Problem} from "./api.js";
import {h, say} from "./dom.js";
import {eventPage, eventsPage, link} from "./events.js";
import {livePage} from "./live.js";
import {groupPage, groupsPage, loginPage, overviewPage, publishPage, streamsPage} from "./views.js";

const PAGES = {
  overview: overviewPage, streams: streamsPage, events: eventsPage, event: eventPage, live: livePage,
  groups: groupsPage, group: groupPage, publish: publishPage,
};
// What the navigation marks for pages that it doesn't list.
const PARENT = {event: "streams", group: "groups"};
const GO_TO = {o: "#/overview", s: "#/streams", e: "#/events?kind=all", l: "#/live", g: "#/groups", p: "#/publish"};
// Milliseconds: until a page that is slow says that it loads, between questions whether the server is back,
// and for the second key behind g.
const SLOW = 250;
const RETRY = 3000;
const SECOND_KEY = 1500;

const at = (id) => document.getElementById(id);
const main = at("main");

let session = null;
let current = null;             // the View that is shown
let retry = null;               // the timer while the connection is lost
const places = new Map();       // address -> how far down it was scrolled

/** What a page has of the console: where to show itself, and what ends with it. */
class View {
  constructor() {
    this.aborted = new AbortController();
    this.leaving = [];
    this.keys = {};
    this.session = session;
    this.address = location.hash;
  }

  /** Show the page. */
  show(title, ...parts) {
    if (this !== current) return;
    document.title = `${title} – MeiliES`;
    main.removeAttribute("aria-busy");
    main.replaceChildren(...parts.flat().filter(Boolean));
    const heading = main.querySelector("h1");
    if (this.arrived) heading?.focus({preventScroll: true});
    scrollTo(0, places.get(this.address) ?? 0);
  }

  go(address) {
    location.hash = address;
  }

  onLeave(end) {
    this.leaving.push(end);
    if (this !== current) end();
  }

  onKey(key, act) {
    this.keys[key] = act;
  }

  leave() {
    places.set(this.address, scrollY);
    this.aborted.abort();
    this.leaving.splice(0).forEach((end) => end());
  }

  /** Deal with what would concern every page; true if that was it. */
  lost(problem) {
    if (problem.name === "AbortError") return true;
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) {
      logIn();
      return true;
    }
    if (problem.status === 0) connectionLost();
    return problem.status === 0;
  }

  /** Say what went wrong, over what is shown. */
  fail(problem) {
    if (this.lost(problem) || this !== current) return;
    main.querySelector(":scope > .notice.page")?.remove();
    main.prepend(h("p", {class: "notice page", role: "alert"}, problem.message));
  }

  /** ... in place of the page. */
  failed(problem) {
    if (this.lost(problem) && main.childElementCount && !main.hasAttribute("aria-busy")) return;
    if (this !== current || problem.name === "AbortError") return;
    this.show("Not shown", h("header", {class: "head"}, h("h1", {tabindex: "-1"}, titleOf(problem))),
      h("div", {class: "empty card", role: "alert"}, h("p", {}, problem.message),
        h("p", {class: "actions center"}, wayOn(problem),
          h("button", {type: "button", onclick: () => open()}, "Try again"))));
  }
}

function titleOf(problem) {
  return {0: "No connection", 403: "Not allowed", 404: "Not there", 410: "Lost"}[problem.status] ?? "That didn't work";
}

/** Past events that damage took, or from an event that isn't there to its stream. */
function wayOn(problem) {
  const query = parameters();
  if (problem.code === "NOEVENT") {
    return h("a", {class: "button", href: link("events", {kind: "stream", key: query.stream})}, "Show the stream");
  }
  const lost = problem.code === "EVENTSLOST" && problem.raw.match(/^EVENTSLOST ([0-9]+) /);
  if (!lost || query.kind === undefined || lost[1] === "0") return null;
  const before = String(BigInt(lost[1]) - 1n);
  return h("a", {class: "button", href: link("events", {...query, over: "", from: before})}, "Go on with those before");
}

// -- pages -----------------------------------------------------------------------

function parameters() {
  return Object.fromEntries(new URLSearchParams(location.hash.split("?")[1] ?? ""));
}

async function open() {
  if (session === null) return;
  const page = location.hash.replace(/^#\/?/, "").split("?")[0];
  if (page === "login") return logIn();
  if (!(page in PAGES)) return location.replace(session.admin || session.all ? "#/overview" : "#/streams");
  const arrived = current !== null;
  current?.leave();
  const view = current = new View();
  view.arrived = arrived;
  mark(page === "events" && parameters().kind !== "all" ? "streams" : PARENT[page] ?? page);
  const slow = setTimeout(() => loading(view), SLOW);
  try {
    await PAGES[page](view, parameters(), view.aborted.signal);
  } catch (problem) {
    view.failed(problem);
  } finally {
    clearTimeout(slow);
  }
}

function loading(view) {
  if (view !== current) return;
  main.setAttribute("aria-busy", "true");
  main.replaceChildren(h("div", {class: "loading", role: "status"}, h("span", {class: "unseen"}, "Loading"),
    h("span", {class: "bone title"}), ["", "", ""].map(() => h("span", {class: "bone"}))));
}

function mark(page) {
  for (const one of at("nav").querySelectorAll("a")) {
    if (one.dataset.page === page) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
}

// -- who it is -------------------------------------------------------------------

async function enter() {
  session = await get("session");
  connectionBack();
  if (session.user === null) return logIn();
  at("login").hidden = true;
  at("shell").hidden = false;
  at("who-name").textContent = session.user;
  at("log-out").hidden = !session.logged_in;
  at("log-in").hidden = session.logged_in || !session.required;
  at("nav").querySelector("[data-page=overview]").hidden = !(session.admin || session.all);
  at("nav").querySelector("[data-page=publish]").hidden = !session.append;
  at("nav").querySelector("[data-page=events]").hidden = !session.all;
  if (location.hash === "#/login" && session.logged_in) location.replace("#/");
  await open();
}

function logIn() {
  current?.leave();
  current = null;
  at("shell").hidden = true;
  at("login").hidden = false;
  document.title = "Log in – MeiliES";
  loginPage(at("login"), enter);
}

async function logOut() {
  try {
    await post("logout", {});
  } catch (problem) {
    return current.fail(problem);
  }
  places.clear();
  await enter();
  say("Logged out");
}

// -- the connection --------------------------------------------------------------

function connectionLost() {
  at("banner-text").textContent = "The server can't be reached. Trying again…";
  at("banner").hidden = false;
  clearTimeout(retry);
  retry = setTimeout(tryAgain, RETRY);
}

async function tryAgain() {
  clearTimeout(retry);
  try {
    await get("session");
  } catch (problem) {
    if (problem.status === 0) return connectionLost();
  }
  connectionBack();
  await start();
}

function connectionBack() {
  clearTimeout(retry);
  at("banner").hidden = true;
}

async function start() {
  try {
    await enter();
  } catch (problem) {
    if (problem.status === 0) return connectionLost();
    throw problem;
  }
}

/** A live tail has lost its connection: is it the server, or the session? */
async function doubt() {
  try {
    const now = await get("session");
    if (now.user !== session.user) await enter();
  } catch (problem) {
    current?.lost(problem);
  }
}

// -- the keyboard ----------------------------------------------------------------

let goes = 0;       // until when the key behind g is waited for

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || session === null) return;
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && typing) return typing.blur();
  if (typing || at("help").open || at("shell").hidden) return;
  if (act(event.key)) event.preventDefault();
}

function act(key) {
  if (Date.now() < goes && key in GO_TO) {
    goes = 0;
    location.hash = GO_TO[key];
    return true;
  }
  goes = 0;
  switch (key) {
    case "?": return at("help").showModal() ?? true;
    case "/": return focusSearch();
    case "j": return step(1);
    case "k": return step(-1);
    case "[": return follow("prev");
    case "]": return follow("next");
    case "g":
      goes = Date.now() + SECOND_KEY;
      return true;
  }
  current?.keys[key]?.();
  return current !== null && key in current.keys;
}

function focusSearch() {
  const search = main.querySelector("[data-search]");
  if (search === null) {
    location.hash = "#/streams";
    return true;
  }
  search.focus();
  search.select();
  return true;
}

function step(by) {
  const links = [...main.querySelectorAll(".row-link")];
  if (!links.length) return false;
  const row = document.activeElement?.closest("tr");
  const place = links.findIndex((one) => row?.contains(one));
  links[place < 0 ? 0 : Math.max(0, Math.min(links.length - 1, place + by))].focus();
  return true;
}

function follow(rel) {
  const found = main.querySelector(`a[rel=${rel}]`);
  found?.click();
  return found !== null;
}

addEventListener("hashchange", open);
addEventListener("keydown", pressed);
document.addEventListener("meilies:doubt", doubt);
at("log-out").addEventListener("click", logOut);
at("help-button").addEventListener("click", () => at("help").showModal());
at("banner-retry").addEventListener("click", tryAgain);
start();
