// Shows a message, with its buttons.

import { Blocks } from "./blocks.js";
import { CallView } from "./calls.js";
import { siblings } from "./conversation.js";
import { copyButton, element, icon, iconButton, number } from "./dom.js";
import { parts } from "./files.js";

const ENDS = {
  interrupted: "not complete", length: "cut off by a limit", stopped: "stopped", error: "", stop: "", tool_calls: "asked for a tool",
};

// `actions`: {edit(node, text), again(node), choose(node), decide(node, call, choice), moved()}.
export class Turn {
  constructor(node, conversation, actions) {
    Object.assign(this, { node, conversation, actions });
    this.tools = element("div", { class: "turn-tools" });
    this.body = element("div", { class: "body" });
    this.element = element("article", { class: `turn ${node.role}` });
    if (node.role === "user") this.buildUser();
    else this.buildAnswer();
    this.showTools();
  }

  buildUser() {
    const { node } = this;
    this.body.textContent = node.content;
    const files = (node.files ?? []).map((file) => element("li", { class: "file" }, ...parts(file)));
    this.element.append(element("h2", { class: "unseen" }, "You"));
    if (files.length) this.element.append(element("ul", { class: "files", "aria-label": "Files" }, ...files));
    if (node.content) this.element.append(this.body);
    this.element.append(this.tools);
  }

  buildAnswer() {
    this.thought = document.createTextNode("");
    this.summary = element("span", {}, "Thinking");
    this.details = element("details", { class: "thinking", hidden: true },
      element("summary", {}, icon("bulb"), this.summary), element("div", { class: "text", tabindex: "0" }, this.thought));
    this.problem = element("div", { class: "error", role: "alert", hidden: true });
    this.waiting = element("div", { class: "waiting", "aria-hidden": "true" }, element("span"), element("span"), element("span"));
    this.foot = element("div", { class: "foot" });
    this.callViews = [];
    this.calls = element("div", { class: "calls" });
    this.blocks = new Blocks(this.body, () => this.actions.moved());
    this.element.append(element("h2", { class: "unseen" }, "Answer"), this.details, this.body, this.calls, this.waiting, this.problem,
      element("div", { class: "under" }, this.foot, this.tools));
  }

  // Shows the current state of the message. Only the end of a growing message is touched. Resolves when all is shown.
  update() {
    const { node } = this;
    if (node.role === "user") return Promise.resolve();
    const reasoning = node.reasoning ?? "";
    if (reasoning.startsWith(this.thought.data)) this.thought.appendData(reasoning.slice(this.thought.data.length));
    else this.thought.data = reasoning;
    this.details.hidden = !reasoning;
    const thinking = node.running && !node.content && !node.calls;
    this.details.classList.toggle("busy", Boolean(thinking));
    this.summary.textContent = thinking ? "Thinking" : node.thought ? `Thought for ${duration(node.thought)}` : "Thought";
    this.waiting.hidden = !node.running || Boolean(node.content || reasoning || node.calls);
    this.showCalls();
    this.showFoot();
    if (!node.running) this.showEnd();
    this.actions.moved();
    return this.blocks.show(this.markdown(), !node.running);
  }

  // Shows a complete message at once as plain text; `update` renders it.
  preview() {
    if (this.node.role === "assistant" && this.node.content) this.blocks.showPlain(this.node.content);
  }

  showCalls() {
    const { node } = this;
    for (const call of (node.calls ?? []).slice(this.callViews.length)) {
      this.callViews.push(new CallView(call, (choice) => this.actions.decide(this.node, call, choice)));
      this.calls.append(this.callViews.at(-1).element);
    }
    for (const [at, view] of this.callViews.entries()) {
      view.call = node.calls[at]; // another tab may have updated the message
      view.update(Boolean(node.running));
    }
  }

  markdown() {
    const { content, format } = this.node;
    return format === "json" && content ? "```json\n" + content + "\n```" : content;
  }

  showFoot() {
    const { node } = this;
    const found = [];
    // The message after the calls has the figures.
    if (node.calls && node.ended === "tool_calls") { this.foot.textContent = ""; return; }
    if (node.speed) found.push(`${node.speed.toFixed(1)} tok/s`);
    if (node.tokens) found.push(`${number(node.tokens)} tokens`);
    if (node.first !== undefined && !node.running) found.push(`first after ${seconds(node.first)}`);
    const end = node.running ? "" : Object.hasOwn(ENDS, node.ended) ? ENDS[node.ended] : "";
    if (end) found.push(end);
    this.foot.textContent = found.join(" · ");
  }

  showEnd() {
    const { node } = this;
    this.problem.hidden = node.ended !== "error";
    if (node.ended === "error" && !this.problem.firstChild) {
      const again = element("button", { type: "button", class: "retry", on: { click: () => this.actions.again(node) } },
        icon("retry"), "Try again");
      this.problem.append(element("span", {}, node.error), again);
    }
    this.showTools();
  }

  showTools() {
    const { node, actions } = this;
    const found = [];
    const all = siblings(this.conversation, node.parent);
    if (all.length > 1) found.push(this.branches(all));
    if (!node.running) {
      if (node.content) found.push(copyButton("Copy message", () => node.content));
      if (node.role === "user") found.push(iconButton("edit", "Edit and send again", () => this.edit()));
      else if (node.ended !== "error") found.push(iconButton("retry", "Answer again", () => actions.again(node)));
    }
    this.tools.replaceChildren(...found);
  }

  branches(all) {
    const at = all.indexOf(this.node);
    const step = (name, label, to) => iconButton(name, label, () => this.actions.choose(all[to], name),
      { disabled: to < 0 || to >= all.length, "data-step": name });
    return element("span", { class: "branches", role: "group", "aria-label": "Versions" },
      step("previous", "Previous version", at - 1), element("span", {}, `${at + 1}/${all.length}`),
      step("next", "Next version", at + 1));
  }

  edit() {
    const area = element("textarea", { "aria-label": "Edit message", rows: 3 });
    area.value = this.node.content;
    const close = () => { form.replaceWith(this.body); this.tools.hidden = false; this.tools.querySelector("button")?.focus(); };
    const send = () => { if (area.value.trim()) this.actions.edit(this.node, area.value.trim()); };
    const form = element("form", { class: "editing", "aria-label": "Edit message" }, area, element("div", { class: "buttons" },
      element("button", { type: "button", on: { click: close } }, "Cancel"),
      element("button", { type: "submit", class: "main" }, "Send")));
    form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(); }
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    });
    if (this.body.isConnected) this.body.replaceWith(form);
    else this.element.insertBefore(form, this.tools);
    this.tools.hidden = true;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

const duration = (value) => (value < 1 ? "a moment" : seconds(value));
const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);
