// Requests to the server.

const JSON_TYPE = { "content-type": "application/json" };

// An error response of the server. Status 0: it has not answered.
export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let key = "";
let keyLost = () => {};

try { key = sessionStorage.getItem("qwen3cpu.key") ?? ""; } catch { /* without storage the page asks for the key again */ }

export function setKey(value) {
  key = value;
  try { sessionStorage.setItem("qwen3cpu.key", value); } catch { /* as above */ }
}

// Calls a function whenever the server refuses the key.
export function onMissingKey(listener) {
  keyLost = listener;
}

async function request(path, options = {}) {
  let response;
  const headers = { ...(options.body ? JSON_TYPE : {}), ...(key ? { authorization: "Bearer " + key } : {}) };
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer.", 0);
  }
  if (response.ok) return response;
  let message = "HTTP " + response.status;
  try { message = (await response.json()).error.message; } catch { /* not JSON: a proxy has answered */ }
  if (response.status === 401) keyLost(key !== "");
  throw new Problem(message, response.status);
}

async function post(path, body) {
  return (await request(path, { method: "POST", body: JSON.stringify(body) })).json();
}

export async function listModels() {
  return (await (await request("v1/models")).json()).data;
}

export async function isThere() {
  try { return (await fetch("health", { cache: "no-store" })).ok; } catch { return false; }
}

export const renderMarkdown = (text, definitions) => post("page/render", { markdown: text, definitions });
export const extractText = (file) => post("page/extract", { file });
export const listTools = async () => (await request("page/tools")).json();
export const countTokens = async (model, prompt) => (await post("tokenize", { model, prompt })).count;

// Calls a tool of the operator. Returns {result, failed}. `signal` stops it.
export async function callTool(name, args, signal) {
  const body = JSON.stringify({ name, arguments: args });
  return (await request("page/tools/call", { method: "POST", body, signal })).json();
}

// Yields the events of an answer as they arrive. `signal` stops it.
export async function* streamAnswer(body, signal) {
  const response = await request("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("The connection to the server was lost.", 0);
    }
    if (piece.done) throw new Problem("The server ended the answer before its end.", 0);
    const events = (held + piece.value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a comment that keeps the connection open
      if (event === "data: [DONE]") return;
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Problem(data.error.message, 500);
      yield data;
    }
  }
}
