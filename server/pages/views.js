// Overview, streams, groups, publish and login.

import {get, post} from "./api.js";
import {chart} from "./chart.js";
import {h, name, say} from "./dom.js";
import {ago, bytes, count, duration, milliseconds, plural, rate, tokens, when} from "./format.js";
import {field, link, linkToEvent, linkToStream, step} from "./events.js";

const REFRESH = 10000;
const STREAMS = 50;
const NUMBER = {class: "number"};       // of cells

function heading(title, crumb, ...actions) {
  return h("header", {class: "head"}, h("div", {class: "head-title"},
    h("p", {class: "crumb"}, crumb), h("h1", {tabindex: "-1"}, title)), h("div", {class: "actions"}, actions));
}

function tile(title, value) {
  return h("div", {class: "tile card"}, h("dt", {}, title), h("dd", {}, value));
}

function empty(title, ...children) {
  return h("div", {class: "empty card"}, h("h2", {}, title), h("p", {}, children));
}

function th(text, attributes = {}) {
  return h("th", {role: "columnheader", scope: "col", ...attributes}, text);
}

function td(label, attributes, ...children) {
  return h("td", {role: "cell", "data-label": label, ...attributes}, ...children);
}

function table(label, kind, titles, rows) {
  return h("table", {class: kind, role: "table", "aria-label": label},
    h("thead", {role: "rowgroup"}, h("tr", {role: "row"}, titles)), h("tbody", {role: "rowgroup"}, rows));
}

/** Call `draw` again and again while the page is there and can be seen. */
function repeat(view, milliseconds, draw) {
  const timer = setInterval(() => { if (!document.hidden) draw(); }, milliseconds);
  view.onLeave(() => clearInterval(timer));
}

// -- overview --------------------------------------------------------------------

export async function overviewPage(view, query, signal) {
  const box = h("div", {class: "stack"});
  const draw = (found) => box.replaceChildren(...overview(found));
  draw(await get("overview", {}, signal));
  view.show("Overview", heading("Overview", "What this server does now, and did in the last hour"), box);
  repeat(view, REFRESH, async () => {
    try {
      draw(await get("overview", {}, signal));
    } catch (problem) {
      view.fail(problem);
    }
  });
}

function overview({info, history}) {
  const all = Object.assign({}, ...Object.values(info));
  const newest = (column) => (history[column] ?? []).filter((value) => value !== null).pop() ?? null;
  const tiles = [
    history.events && tile("Events now", newest("events") === null ? "–" :
      h("span", {}, rate(newest("events")), h("small", {}, "/s"))),
    all.events && tile("Events stored", count(all.events)),
    all.streams && tile("Streams", h("a", {href: "#/streams"}, count(all.streams))),
    all.log_bytes && tile("Log", bytes(Number(all.log_bytes))),
    all.connected_clients && tile("Connections", count(all.connected_clients)),
    all.uptime_in_seconds && tile("Up for", duration(Number(all.uptime_in_seconds)))];
  const line = (title, column, format, base) => history[column] ?
    chart(title, history.time, history[column], format, base) : null;
  const whole = (value) => count(Math.round(value));
  const perSecond = (format) => (value) => `${format(value)}/s`;
  return [
    all.failed === "1" ? h("p", {class: "notice", role: "alert"}, "The disk has failed: nothing is stored any more. " +
      "Restart the server to recover; its log says what happened.") : null,
    h("dl", {class: "tiles"}, tiles.filter(Boolean)),
    !history.time ? h("p", {class: "faint"}, "Figures and charts are for those who may read every stream.") :
    h("div", {class: "charts"}, [
      line("Events stored", "events", perSecond(rate)), line("Received", "received", perSecond(bytes), 1024),
      line("Sent", "sent", perSecond(bytes), 1024), line("Commands", "commands", perSecond(rate)),
      line("Sync, on average", "sync_seconds", milliseconds), line("Connections", "connections", whole),
      line("Log", "log_bytes", bytes, 1024), line("Behind, of all groups", "group_lag", whole)].filter(Boolean)),
    h("section", {class: "card about"}, h("h2", {}, "This server"), h("dl", {class: "facts"}, [
      ["Version", all.meilies_version], ["Python", all.python_version], ["System", all.os], ["Sync", all.sync],
      ["Store", all.store], ["Epoch", all.epoch]].filter(([, value]) => value).map(([title, value]) =>
      h("div", {}, h("dt", {}, title), h("dd", {class: "breaks"}, value))))),
  ].filter(Boolean);
}

// -- streams ---------------------------------------------------------------------

export async function streamsPage(view, query, signal) {
  const mode = query.prefix !== undefined ? "prefix" : "containing";
  const wanted = query[mode] ?? "";
  const page = await get("streams", {[mode]: wanted, after: query.after, count: STREAMS}, signal);
  const search = h("input", {type: "search", name: "text", value: wanted, placeholder: "Search streams",
                             "aria-label": "Search streams", autocomplete: "off", spellcheck: "false",
                             "data-search": true});
  const select = h("select", {name: "mode", "aria-label": "How names fit"},
    h("option", {value: "containing", selected: mode === "containing"}, "anywhere in the name"),
    h("option", {value: "prefix", selected: mode === "prefix"}, "at its beginning"));
  const form = h("form", {class: "search", role: "search"}, search, select, h("button", {class: "primary"}, "Search"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    view.go(link("streams", {[select.value]: search.value}));
  });
  const prefix = mode === "prefix" && wanted ? {kind: "prefix", key: wanted} : null;
  view.show(wanted ? `${wanted} – streams` : "Streams",
    heading("Streams", "By name",
      prefix && [step("Their events", link("events", prefix)), step("Live", link("live", prefix))]),
    form,
    page.streams.length ? table("Streams", "streams", [th("Stream"), th("Events", NUMBER), th("Size", NUMBER),
      th("Last event")], page.streams.map(streamRow)) : noStreams(wanted, page.following, view),
    streamPager(page, mode, wanted, query.after));
}

function streamRow(stream) {
  const known = stream.count !== undefined;
  return h("tr", {role: "row"},
    td("Stream", {class: "stream"}, h("a", {class: "row-link", href: linkToStream(stream.name)}, name(stream.name))),
    td("Events", NUMBER, known ? count(stream.count) : h("span", {class: "faint", title: stream.error}, "–")),
    td("Size", NUMBER, known ? bytes(stream.bytes) : ""),
    td("Last", {class: "time"}, known ? h("time", {title: when(stream.last_time)}, ago(stream.last_time)) : ""));
}

function noStreams(wanted, following, view) {
  if (following !== null) return empty("None so far", "None of the names that were looked at fits.");
  if (wanted) return empty("No such stream", "No name is like that. ", h("a", {href: "#/streams"}, "Show all"));
  return empty("No streams yet", "A stream is there from its first event on. ",
    view.session.append ? h("a", {href: "#/publish"}, "Publish one") : null);
}

function streamPager(page, mode, wanted, after) {
  if (page.following === null && after === undefined) return null;
  const search = {[mode]: wanted};
  return h("nav", {class: "pager", "aria-label": "Pages of streams"},
    step("First", after !== undefined && link("streams", search)),
    step(page.streams.length ? "Next →" : "Search on →",
      page.following !== null && link("streams", {...search, after: page.following}), "next"));
}

// -- groups ----------------------------------------------------------------------

export async function groupsPage(view, query, signal) {
  const box = h("div", {class: "stack"});
  const draw = ({groups, count: all}) => box.replaceChildren(
    groups.length ? table("Groups", "groups", [th("Group"), th("Reads"),
      ["Behind", "Held", "Parked", "Members"].map((text) => th(text, NUMBER))], groups.map(groupRow)) :
      empty("No groups", h("code", {}, "group-create"), " makes one; here stands how far behind it is."),
    groups.length < all ? h("p", {class: "hint"}, `The first ${groups.length} of ${all} groups.`) : "");
  draw(await get("groups", {}, signal));
  view.show("Groups", heading("Groups", "Consumers that share the events of streams"), box);
  repeat(view, REFRESH, () => get("groups", {}, signal).then(draw, (problem) => view.fail(problem)));
}

function groupRow(group) {
  return h("tr", {role: "row"},
    td("Group", {class: "stream"},
      h("a", {class: "row-link", href: link("group", {name: group.name})}, name(group.name))),
    td("Reads", {class: "selector"}, selects(group)),
    td("Behind", NUMBER, lag(group.lag)),
    td("Held", NUMBER, count(group.held)),
    td("Parked", NUMBER, group.parked === "0" ? "0" : h("span", {class: "tag warn"}, count(group.parked))),
    td("Members", NUMBER, count(group.members.length)));
}

function selects(group) {
  const selector = {kind: group.kind, key: group.kind === "all" ? "" : group.selector, names: group.names.join("\n")};
  const text = group.kind === "all" ? "all streams" : [name(group.selector), group.kind === "prefix" ? "*" : ""];
  return [h("a", {href: link("events", selector)}, text),
          group.names.map((one) => [" ", h("span", {class: "tag"}, name(one))])];
}

function lag(behind) {
  return behind === "0" ? h("span", {class: "tag good"}, "0") : h("span", {class: "tag"}, count(behind));
}

export async function groupPage(view, query, signal) {
  const {group, parked} = await get("group", {name: query.name}, signal);
  const fact = (title, value) => h("div", {}, h("dt", {}, title), h("dd", {}, value));
  view.show(`${group.name} – group`,
    heading(name(group.name), h("a", {href: "#/groups"}, "Groups")),
    h("dl", {class: "tiles"},
      tile("Behind", count(group.lag)), tile("Held by members", count(group.held)), tile("Parked", count(group.parked)),
      tile("Acknowledged", count(group.acknowledged))),
    h("dl", {class: "facts card"},
      fact("Reads", selects(group)), fact("Checkpoint", count(group.checkpoint)), fact("Next", count(group.next)),
      fact("Tries", count(group.tries)), fact("Wait", `${Number(group.wait) / 1000} s`),
      fact("Given", count(group.given)),
      fact("Refused", count(group.refused)), fact("Late", count(group.late)), fact("Lost", count(group.lost))),
    h("section", {}, h("h2", {}, "Members"), group.members.length ?
      table("Members", "members", [th("Member"), th("Holds", NUMBER)], group.members.map((member) =>
        h("tr", {role: "row"}, td("Member", {}, name(member.name)), td("Holds", NUMBER, count(member.held))))) :
      empty("Nobody reads it now", "A member is who has read from the group and holds something, or waits.")),
    h("section", {}, h("h2", {}, "Parked"), parked.length ?
      table("Parked events", "parked", [th("Event"), th("Stream"), th("Tries", NUMBER), th("Reason"), th("Time")],
        parked.map(parkedRow)) :
      empty("Nothing is parked", "Events that failed too often, or that a member parked, would be here.")));
}

function parkedRow(one) {
  return h("tr", {role: "row"},
    td("Event", {}, h("a", {class: "row-link", href: linkToEvent(one)}, count(one.number))),
    td("Stream", {class: "stream"}, h("a", {href: linkToStream(one.stream)}, name(one.stream))),
    td("Tries", NUMBER, count(one.tries)),
    td("Reason", {class: "reason"}, one.reason ? name(one.reason) : h("span", {class: "faint"}, "none")),
    td("Time", {class: "time"}, h("time", {title: when(one.time)}, ago(one.time))));
}

// -- publish ---------------------------------------------------------------------

export async function publishPage(view, query) {
  if (!view.session.append) {
    view.show("Publish", heading("Publish", "One event"),
      empty("You may not publish", "Your user has no right to append."));
    return;
  }
  const input = (id, more = {}) => h("input", {name: id, autocomplete: "off", spellcheck: "false", ...more});
  const data = h("textarea", {name: "data", rows: "10", spellcheck: "false", autocomplete: "off", dir: "ltr"});
  const json = h("span", {class: "hint", "aria-live": "polite"}, "Any text; JSON is shown as such.");
  const problem = h("p", {class: "notice", role: "alert", hidden: true});
  const done = h("p", {class: "notice good", role: "status", hidden: true});
  const send = h("button", {class: "primary"}, "Publish");
  const form = h("form", {class: "card form"},
    h("div", {class: "two"},
      field("Stream", input("stream", {required: true, value: query.stream ?? "", "data-search": true})),
      field("Event", input("name", {required: true, placeholder: "created"}))),
    h("label", {class: "field"}, h("span", {class: "label"}, "Data"), data, json),
    h("details", {}, h("summary", {}, "Id, metadata and condition"),
      h("div", {class: "two"},
        field("Id", input("id"), "The same id in the same stream isn't stored again."),
        field("The stream's last event", input("expected", {value: "any"}), "any, none, exists, or its number")),
      field("Metadata", input("metadata"))),
    problem, done,
    h("div", {class: "form-foot"}, send, h("span", {class: "hint"}, "Ctrl Enter")));
  data.addEventListener("input", () => { json.textContent = kindOf(data.value); });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    problem.hidden = done.hidden = true;
    try {
      const stored = await post("publish", Object.fromEntries(new FormData(form)));
      done.replaceChildren("Stored as ",
        h("a", {href: linkToEvent(stored)}, name(stored.stream), ` ${count(stored.number)}`), ".");
      done.hidden = false;
    } catch (error) {
      if (view.lost(error)) return;
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      send.disabled = false;
    }
  });
  view.show("Publish", heading("Publish", "One event"), form);
}

function kindOf(text) {
  if (!text.trim()) return "Any text; JSON is shown as such.";
  return /^\s*[[{]/.test(text) ? tokens(text) ? "JSON" : "Text: it begins like JSON, but isn't" : "Text";
}

// -- login -----------------------------------------------------------------------

/** Fills the page of the login; `enter` is called when somebody is logged in. */
export function loginPage(main, enter) {
  const user = h("input", {name: "user", autocomplete: "username", required: true, autocapitalize: "none",
                           spellcheck: "false"});
  const password = h("input", {name: "password", type: "password", autocomplete: "current-password", required: true});
  const problem = h("p", {class: "notice", role: "alert", hidden: true});
  const button = h("button", {class: "primary wide"}, "Log in");
  const form = h("form", {class: "card form"}, h("img", {src: "icon.svg", alt: "", width: "40", height: "40"}),
    h("h1", {}, "Log in to MeiliES"), field("User", user), field("Password", password), problem, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      await post("login", {user: user.value, password: password.value});
      say("Logged in");
      await enter();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      password.select();
      password.focus();
    } finally {
      button.disabled = false;
    }
  });
  main.replaceChildren(form);
  user.focus();
}
