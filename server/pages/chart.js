// A line over the last hour, drawn as SVG; over less, while the server is younger than that.

import {h, svg} from "./dom.js";
import {clock, duration} from "./format.js";

const LONGEST = 3600;           // seconds
const SHORTEST = 300;
const WIDTH = 1000;
const HEIGHT = 100;

/**
 * A figure: title, the value that is newest, and a line.
 *
 * times    seconds since 1970, rising
 * values   numbers, null where there is none
 * format   makes a text of a value
 * base     of what the axis is rounded to: 1024 for bytes
 */
export function chart(title, times, values, format, base = 10) {
  const known = values.filter((value) => value !== null);
  const newest = known.length ? format(known[known.length - 1]) : "–";
  const figure = h("figure", {class: "chart card"},
    h("figcaption", {}, h("span", {class: "chart-title"}, title), h("span", {class: "chart-now"}, newest)));
  if (known.length < 2) {
    figure.append(h("p", {class: "chart-empty"}, times.length < 2 ?
      "The line begins with the first samples, in some seconds." : "There was nothing to measure."));
    return figure;
  }
  figure.append(plot(title, times, values, format, base));
  return figure;
}

function plot(title, times, values, format, base) {
  const end = times[times.length - 1];
  const top = nice(Math.max(...values.filter((value) => value !== null)), base);
  const span = Math.max(SHORTEST, Math.min(LONGEST, end - times[0]));
  const x = (i) => WIDTH - (end - times[i]) / span * WIDTH;
  const y = (i) => HEIGHT - values[i] / top * HEIGHT;
  const peak = format(Math.max(...values.map((value) => value ?? 0)));
  const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
                              "aria-label": `${title}, the last ${duration(span)}: at most ${peak}`},
    [0, 0.5, 1].map((part) => svg("line", {class: "grid", x1: 0, x2: WIDTH, y1: part * HEIGHT, y2: part * HEIGHT})),
    runs(values).map(([first, last]) => area(first, last, x, y)),
    runs(values).map(([first, last]) => svg("path", {class: "line", d: path(first, last, x, y)})));
  const box = h("div", {class: "plot"}, picture,
    h("span", {class: "axis top", "aria-hidden": "true"}, format(top)),
    h("span", {class: "axis bottom", "aria-hidden": "true"}, "0"));
  const foot = h("div", {class: "chart-foot", "aria-hidden": "true"},
    h("span", {}, `${duration(span)} ago`), h("span", {}, "now"));
  readable(box, times, values, format, x);
  return h("div", {}, box, foot);
}

/** [first, last] of each run of values without a gap. */
function runs(values) {
  const found = [];
  values.forEach((value, i) => {
    if (value === null) return;
    if (i && values[i - 1] !== null) found[found.length - 1][1] = i;
    else found.push([i, i]);
  });
  return found;
}

function path(first, last, x, y) {
  const points = [];
  for (let i = first; i <= last; i++) points.push(`${x(i).toFixed(1)},${y(i).toFixed(2)}`);
  return `M${points.join("L")}`;
}

function area(first, last, x, y) {
  return svg("path", {class: "area", d: `${path(first, last, x, y)}L${x(last)},${HEIGHT}L${x(first)},${HEIGHT}Z`});
}

/** The next round number: 1, 2, 5, 10 … times a power of `base`. */
function nice(value, base) {
  if (!(value > 0)) return 1;
  const unit = base ** Math.floor(Math.log(value) / Math.log(base));
  return unit * [1, 2, 5, 10, 20, 50, 100, 200, 500, base].filter((step) => step <= base)
    .find((step) => step * unit >= value);
}

/** Show what the line is where somebody points. */
function readable(box, times, values, format, x) {
  const line = h("div", {class: "pointer", hidden: true});
  const note = h("div", {class: "note", hidden: true, "aria-hidden": "true"});
  box.append(line, note);
  const hide = () => { line.hidden = note.hidden = true; };
  box.addEventListener("pointerleave", hide);
  box.addEventListener("pointermove", (event) => {
    const frame = box.getBoundingClientRect();
    const at = nearest(times, x, (event.clientX - frame.left) / frame.width * WIDTH);
    if (values[at] === null) return hide();
    const left = x(at) / WIDTH * 100;
    note.textContent = `${clock(new Date(times[at] * 1000))}  ${format(values[at])}`;
    line.style.left = `${left}%`;
    note.style[left < 50 ? "left" : "right"] = `calc(${left < 50 ? left : 100 - left}% + 8px)`;
    note.style[left < 50 ? "right" : "left"] = "auto";
    line.hidden = note.hidden = false;
  });
}

function nearest(times, x, wanted) {
  let best = 0;
  for (let i = 1; i < times.length; i++) {
    if (Math.abs(x(i) - wanted) < Math.abs(x(best) - wanted)) best = i;
  }
  return best;
}
