// One answer while it is generated. It continues when the user opens another conversation.

import { Problem, streamAnswer } from "./api.js";
import { request, touch } from "./conversation.js";
import { makeCalls } from "./tools.js";

const SAVE_EVERY = 1000; // milliseconds

export class Run {
  // Answers the messages before `node` in a conversation, and makes the tool calls of the answer. `save` keeps the
  // conversation; `changed` is called with each piece; `asks`: whether the user is asked before a call.
  constructor(conversation, node, body, save, asks) {
    Object.assign(this, { conversation, node, save, asks });
    this.body = { ...body, messages: request(conversation, node.parent) };
    this.changed = () => {};
    this.control = new AbortController();
    this.asked = performance.now();
    this.pieces = 0;
    this.saved = this.asked;
  }

  stop() {
    this.control.abort();
  }

  // Resolves at the end, however it ends.
  async run() {
    const { node } = this;
    try {
      for await (const event of streamAnswer(this.body, this.control.signal)) this.take(event);
      this.measure();
      if (this.goesOn) await this.makeCalls();
    } catch (error) {
      if (error.name === "AbortError") {
        node.ended = "stopped";
      } else {
        node.ended = "error";
        node.error = error.message;
        node.unreachable = error instanceof Problem && error.status === 0;
      }
    }
    if (!node.calls) this.measure();
    delete node.running;
    touch(this.conversation, node);
    await this.save(this.conversation);
  }

  // Whether the answer has tool calls and waits for their results.
  get goesOn() {
    return this.node.ended === "tool_calls" && Boolean(this.node.calls);
  }

  makeCalls() {
    this.save(this.conversation);
    const changed = () => this.changed();
    return makeCalls(this.node.calls, { decide: (call) => this.decision(call), changed, signal: this.control.signal });
  }

  // Whether the user allows a call.
  async decision(call) {
    const { conversation, control } = this;
    if (!this.asks || conversation.allowed?.includes(call.name)) return true;
    const choice = await new Promise((resolve, reject) => {
      this.decide = (which, found) => { if (which === call) resolve(found); };
      control.signal.addEventListener("abort", () => reject(control.signal.reason), { once: true });
    });
    if (choice === "always") conversation.allowed = [...(conversation.allowed ?? []), call.name];
    return choice !== "no";
  }

  take(event) {
    const { node } = this;
    if (event.usage) {
      node.tokens = event.usage.completion_tokens;
      node.context = event.usage.total_tokens;
    }
    const choice = event.choices?.[0];
    if (!choice) return;
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta;
    for (const { id, function: { name, arguments: given } } of calls ?? []) {
      node.calls = [...(node.calls ?? []), { id, name, arguments: given }];
    }
    if (reasoning || content) {
      const now = performance.now();
      this.began ??= now;
      if (reasoning) node.reasoning = (node.reasoning ?? "") + reasoning;
      if (content) {
        if (!node.content && node.reasoning) node.thought = (now - this.began) / 1000;
        node.content += content;
      }
      this.pieces++;
      node.tokens = this.pieces;
      this.measure();
      if (now - this.saved > SAVE_EVERY) {
        this.saved = now;
        touch(this.conversation, node);
        this.save(this.conversation);
      }
    }
    if (choice.finish_reason) node.ended = choice.finish_reason;
    this.changed();
  }

  measure() {
    const { node } = this;
    if (!this.began) return;
    const seconds = (performance.now() - this.began) / 1000;
    node.first = (this.began - this.asked) / 1000;
    if (node.tokens > 1 && seconds > 0.005 && node.running) node.speed = (node.tokens - 1) / seconds;
  }
}
