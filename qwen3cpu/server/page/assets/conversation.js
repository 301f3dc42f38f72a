// A conversation is a tree of messages. One of the messages that follow the same message is chosen, and the chosen messages
// are shown and sent. Editing and regenerating add a message beside another, so nothing is lost.
//
// A conversation: {id, title, created, updated, version, settings, nodes: {id: message}, chosen: {id of a message: id of
// the one that follows}}. The first message is under "root". A message: {id, parent, role, content, created, changed}. A
// message of the user also has `files` [{name, text, tokens}]. One of the assistant also has `reasoning`, `thought`
// (seconds), `ended` (why), `error`, `speed`, `tokens`, `first` (seconds), `context` (tokens of prompt and answer) and
// `calls` of tools (tools.js). The text after its calls is a separate message, which follows the one with the calls.

import { newId } from "./dom.js";
import { messagesOf } from "./tools.js";

export const ROOT = "root";
export const FORMAT = "qwen3cpu-conversations";
const LONGEST_TITLE = 60;
// Fields of a message and of a file, and their types, in an exported conversation.
const FIELDS = {
  role: "string", content: "string", reasoning: "string", thought: "number", ended: "string", error: "string", format: "string",
  speed: "number", tokens: "number", first: "number", context: "number",
};
const CALL = { id: "string", name: "string", arguments: "string", result: "string", failed: "boolean", seconds: "number" };
const FILE = { name: "string", text: "string", tokens: "number" };

export function newConversation(settings) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, version: 0, settings, nodes: {}, chosen: {} };
}

// Adds a message, and chooses it.
export function add(conversation, parent, fields) {
  const now = Date.now();
  const node = { id: newId(), parent, created: now, changed: now, ...fields };
  conversation.nodes[node.id] = node;
  conversation.chosen[parent] = node.id;
  touch(conversation, node);
  if (!conversation.title && node.role === "user") conversation.title = titleOf(node);
  return node;
}

export function touch(conversation, node = null) {
  conversation.updated = Date.now();
  if (node) node.changed = conversation.updated;
}

function titleOf(node) {
  const words = (node.content.trim() || node.files?.[0]?.name || "").split("\n")[0];
  return words.length > LONGEST_TITLE ? words.slice(0, LONGEST_TITLE).trimEnd() + "…" : words;
}

// The chosen messages, from the first one on.
export function path(conversation) {
  const found = [];
  const seen = new Set();
  let at = ROOT;
  for (;;) {
    const node = conversation.nodes[conversation.chosen[at]] ?? siblings(conversation, at).at(-1);
    if (!node || seen.has(node.id)) return found;
    seen.add(node.id);
    found.push(node);
    at = node.id;
  }
}

// The messages that follow one, oldest first.
export function siblings(conversation, parent) {
  const found = Object.values(conversation.nodes).filter((node) => node.parent === parent);
  return found.sort((one, other) => one.created - other.created || (one.id < other.id ? -1 : 1));
}

// The messages for the server, up to and including one.
export function request(conversation, last) {
  const sent = [];
  const { system } = conversation.settings;
  if (system?.trim()) sent.push({ role: "system", content: system });
  for (const node of path(conversation)) {
    if (node.role === "user") sent.push({ role: "user", content: withFiles(node) });
    else if (node.calls?.length) sent.push(...messagesOf(node));
    else if (node.content) sent.push({ role: "assistant", content: node.content });
    if (node.id === last) break;
  }
  return sent;
}

// The text of a message, with its files in front.
export function withFiles(node) {
  const files = (node.files ?? []).map((file) => {
    const longest = Math.max(2, ...[...file.text.matchAll(/`+/g)].map((each) => each[0].length));
    const fence = "`".repeat(longest + 1);
    return `${file.name}:\n${fence}\n${file.text}\n${fence}\n\n`;
  });
  return files.join("") + node.content;
}

// Merges two versions of a conversation from two tabs: all messages of both, each in its newest state.
export function merge(theirs, ours) {
  if (!theirs) return ours;
  const nodes = { ...theirs.nodes };
  for (const node of Object.values(ours.nodes)) {
    if (!nodes[node.id] || nodes[node.id].changed <= node.changed) nodes[node.id] = node;
  }
  const newer = theirs.updated > ours.updated ? theirs : ours;
  return { ...newer, nodes, chosen: { ...theirs.chosen, ...ours.chosen }, version: Math.max(theirs.version, ours.version) };
}

// The fields that the list needs.
export function summary({ id, title, created, updated }) {
  return { id, title, created, updated };
}

// The text that a search looks through.
export function words(conversation) {
  return [conversation.title, ...Object.values(conversation.nodes).map((node) => node.content)].join("\n").toLowerCase();
}

// The conversations of an exported file. Throws an Error for an invalid file.
export function readExport(text) {
  let data;
  try { data = JSON.parse(text); } catch { throw new Error("The file is not JSON."); }
  if (data?.format !== FORMAT || !Array.isArray(data.conversations)) {
    throw new Error(`Expected a file that this page has exported ("format": "${FORMAT}").`);
  }
  return data.conversations.map((each, at) => checked(each, at + 1));
}

// The fields of an object that have the right types.
function ofTypes(given, types) {
  return Object.fromEntries(Object.entries(types).filter(([name, type]) => typeof given[name] === type)
    .map(([name]) => [name, given[name]]));
}

function checked(given, at) {
  const wrong = (what) => new Error(`Conversation ${at}: ${what}.`);
  if (typeof given !== "object" || given === null || typeof given.nodes !== "object" || given.nodes === null) {
    throw wrong("expected an object with messages");
  }
  const settings = Object.entries(given.settings ?? {}).filter(([, value]) => ["string", "boolean"].includes(typeof value));
  const made = newConversation(Object.fromEntries(settings));
  made.title = typeof given.title === "string" ? given.title : "";
  if (Number.isFinite(given.created)) made.created = given.created;
  if (Number.isFinite(given.updated)) made.updated = given.updated;
  const ids = new Map([[ROOT, ROOT]]);
  for (const id of Object.keys(given.nodes)) ids.set(id, newId());
  for (const [id, node] of Object.entries(given.nodes)) {
    if (!["user", "assistant"].includes(node?.role) || typeof node.content !== "string" || !ids.has(node.parent)) {
      throw wrong("a message has no role, no text, or follows none");
    }
    const own = { id: ids.get(id), parent: ids.get(node.parent), created: Number(node.created) || 0, changed: Date.now() };
    made.nodes[own.id] = { ...ofTypes(node, FIELDS), ...own };
    if (Array.isArray(node.calls) && node.role === "assistant") {
      made.nodes[own.id].calls = node.calls.map((call) => ({ id: "", name: "", arguments: "{}", ...ofTypes(call ?? {}, CALL) }));
    }
    if (node.role === "user") {
      const files = Array.isArray(node.files) ? node.files : [];
      made.nodes[own.id].files = files.map((file) => ({ name: "", text: "", tokens: null, ...ofTypes(file ?? {}, FILE) }));
    }
  }
  for (const [from, to] of Object.entries(given.chosen ?? {})) {
    if (ids.has(from) && ids.has(to)) made.chosen[ids.get(from)] = ids.get(to);
  }
  return made;
}
