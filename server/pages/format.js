// Numbers, times and JSON, for people.

const numbers = new Intl.NumberFormat("en");
const rates = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const AGES = [["day", 86400], ["hour", 3600], ["minute", 60]];
const MOST_INDENT = 40;
const TOKEN = /\s+|"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[{}[\],:]/y;

/** A whole number, also one in text that is too long for a Number. */
export function count(number) {
  return typeof number === "string" ? BigInt(number).toLocaleString("en") : numbers.format(number);
}

export function rate(number) {
  return number >= 100 ? numbers.format(Math.round(number)) : rates.format(number);
}

export function bytes(size) {
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit && size < 10 ? size.toFixed(1) : Math.round(size)} ${UNITS[unit]}`;
}

export function milliseconds(seconds) {
  return seconds >= 1 ? `${rates.format(seconds)} s` : `${(seconds * 1000).toPrecision(seconds < 0.001 ? 2 : 3)} ms`;
}

/** Microseconds since 1970 as a local date and time, to the millisecond. */
export function when(time) {
  const date = new Date(time / 1000);
  return Number.isNaN(date.getTime()) ? "no time" : `${day(date)} ${clock(date)}.${pad(date.getMilliseconds(), 3)}`;
}

export function iso(time) {
  const date = new Date(time / 1000);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

/** How long ago that was. */
export function ago(time) {
  const seconds = Math.max(0, Date.now() / 1000 - time / 1e6);
  for (const [unit, size] of AGES) {
    if (seconds >= size) return plural(Math.floor(seconds / size), unit) + " ago";
  }
  return seconds < 5 ? "just now" : `${Math.floor(seconds)} s ago`;
}

export function duration(seconds) {
  for (const [unit, size] of AGES) {
    if (seconds >= size) return plural(Math.floor(seconds / size), unit);
  }
  return `${Math.floor(seconds)} s`;
}

export function plural(number, word) {
  return `${count(number)} ${word}${String(number) === "1" ? "" : "s"}`;
}

export function clock(date) {
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

function day(date) {
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

function pad(number, width = 2) {
  return String(number).padStart(width, "0");
}

/**
 * JSON with a line for each member, as [kind, text] of its tokens; null if it is none.
 * Nothing is read into a Number or an object, so digits, the order of members and those that
 * come twice stay as they are.
 */
export function tokens(text) {
  if (!isJson(text)) return null;
  const raw = [];
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
    if (match[0].trim()) raw.push(match[0]);
  }
  return indented(raw);
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function indented(raw) {
  const found = [];
  let depth = 0;
  const line = () => found.push(["space", "\n" + "  ".repeat(Math.min(depth, MOST_INDENT))]);
  raw.forEach((token, i) => {
    if (token === "{" || token === "[") {
      found.push(["sign", token]);
      depth++;
      if (!closes(raw[i + 1])) line();
    } else if (closes(token)) {
      depth--;
      if (raw[i - 1] !== "{" && raw[i - 1] !== "[") line();
      found.push(["sign", token]);
    } else if (token === ",") {
      found.push(["sign", token]);
      line();
    } else if (token === ":") {
      found.push(["sign", ": "]);
    } else {
      found.push([kindOf(token, raw[i + 1]), token]);
    }
  });
  return found;
}

function closes(token) {
  return token === "}" || token === "]";
}

function kindOf(token, next) {
  if (token[0] === '"') return next === ":" ? "key" : "string";
  return /^[-0-9]/.test(token) ? "number" : "word";
}

/** Hexadecimal digits as lines of an offset, sixteen bytes, and what of them is ASCII. */
export function hexLines(digits) {
  const lines = [];
  for (let at = 0; at < digits.length; at += 32) {
    const pairs = digits.slice(at, at + 32).match(/../g);
    const ascii = pairs.map((pair) => {
      const number = parseInt(pair, 16);
      return number > 31 && number < 127 ? String.fromCharCode(number) : "·";
    });
    lines.push(`${(at / 2).toString(16).padStart(6, "0")}  ${pairs.join(" ").padEnd(47)}  ${ascii.join("")}`);
  }
  return lines.join("\n");
}
