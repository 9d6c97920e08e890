// Questions to the server.  Addresses are relative: the console may stand below any path.

/** What went wrong: `status` of HTTP (0: the server can't be reached), `code` of the server's error. */
export class Problem extends Error {
  constructor(status, code, text) {
    super(worded(text));
    this.status = status;
    this.code = code;
    this.raw = text;
  }
}

export function get(path, query = {}, signal = undefined) {
  return ask(address(path, query), {signal});
}

export function post(path, fields) {
  return ask(`api/${path}`, {
    method: "POST",
    headers: {"Content-Type": "application/json", "X-Meilies-Console": "1"},
    body: JSON.stringify(fields),
  });
}

export function address(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `api/${path}?${new URLSearchParams(given)}`;
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, {credentials: "same-origin", cache: "no-store", ...options});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "UNREACHABLE", "The server can't be reached.");
  }
  const text = await response.text();
  const answer = parsed(text);
  if (!response.ok) throw new Problem(response.status, answer?.code ?? "", answer?.error ?? text);
  if (answer === null) throw new Problem(response.status, "", "The server's answer isn't one of this console's.");
  return answer;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** An error of the server without its code, as a sentence. */
export function worded(text) {
  const plain = text.trim().replace(/^[A-Z]{3,} (?:[0-9]+ [0-9]+ )?/, "");
  return plain ? plain[0].toUpperCase() + plain.slice(1) : "The server gave no reason.";
}
