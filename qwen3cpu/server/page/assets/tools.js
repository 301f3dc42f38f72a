// The operator's tools: those that the server offers, and the calls of a model. A call of a message: {id, name,
// arguments (JSON text), state, result, failed, seconds}. A call without a result was not made.

import { callTool, listTools } from "./api.js";

export const REFUSED = "Error: the user has not allowed this call";
const NOT_MADE = "Error: the user has stopped this call";

export class Tools {
  constructor() {
    this.list = []; // in the form of requests
    this.ask = true; // whether the user is asked before each call
  }

  async load() {
    try {
      ({ tools: this.list, ask: this.ask } = await listTools());
    } catch { /* the chat continues without them */ }
  }

  get names() {
    return this.list.map((each) => each.function.name);
  }
}

// Makes the calls of a message, one after the other. `decide(call)` resolves to whether the user allows one; `changed` is
// called whenever a call has changed. Throws an AbortError when `signal` stops it.
export async function makeCalls(calls, { decide, changed, signal }) {
  for (const call of calls) {
    call.state = "asking";
    changed();
    if (!(await decide(call))) {
      Object.assign(call, { state: "done", result: REFUSED, failed: true });
      continue;
    }
    call.state = "running";
    changed();
    const began = performance.now();
    try {
      Object.assign(call, await callTool(call.name, JSON.parse(call.arguments), signal));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      Object.assign(call, { result: `Error: ${error.message}`, failed: true });
    }
    call.seconds = (performance.now() - began) / 1000;
    call.state = "done";
    changed();
  }
}

// The messages for the server that stand for a message with calls and its results.
export function messagesOf(node) {
  const calls = node.calls.map(({ id, name, arguments: given }) => ({ id, type: "function", function: { name, arguments: given } }));
  const asked = { role: "assistant", content: node.content, tool_calls: calls };
  if (node.reasoning) asked.reasoning_content = node.reasoning;
  return [asked, ...node.calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: call.result ?? NOT_MADE }))];
}
