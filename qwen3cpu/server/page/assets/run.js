// One answer while it is written. It goes on when the user looks at another conversation.

import { Problem, streamAnswer } from "./api.js";
import { request, touch } from "./conversation.js";

const SAVE_EVERY = 1000; // milliseconds

export class Run {
  // Answers what stands before `node` in a conversation. `save` keeps the conversation; `changed` is called with each piece.
  constructor(conversation, node, body, save) {
    Object.assign(this, { conversation, node, save });
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
    } catch (error) {
      if (error.name === "AbortError") {
        node.ended = "stopped";
      } else {
        node.ended = "error";
        node.error = error.message;
        node.unreachable = error instanceof Problem && error.status === 0;
      }
    }
    this.measure();
    delete node.running;
    touch(this.conversation, node);
    await this.save(this.conversation);
  }

  take(event) {
    const { node } = this;
    if (event.usage) {
      node.tokens = event.usage.completion_tokens;
      node.context = event.usage.total_tokens;
    }
    const choice = event.choices?.[0];
    if (!choice) return;
    const { content, reasoning_content: reasoning } = choice.delta;
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
