// Shows a tool call: its name, its state, and its folded arguments and result. All of it is shown as text.

import { element, icon } from "./dom.js";

export class CallView {
  // `decide(choice)` is called with "run", "always" or "no".
  constructor(call, decide) {
    this.call = call;
    this.state = element("span", { class: "call-state" });
    this.given = element("pre", { tabindex: "0", role: "group", "aria-label": "Arguments" }, pretty(call.arguments));
    this.result = element("pre", { tabindex: "0", role: "group", "aria-label": "Result" });
    this.resultPart = element("div", { hidden: true }, element("h3", {}, "Result"), this.result);
    this.details = element("details", { class: "call" },
      element("summary", {}, icon("tool"), element("span", { class: "call-name" }, call.name), element("code", {}, brief(call.arguments)),
        this.state),
      element("div", { class: "call-parts" }, element("h3", {}, "Arguments"), this.given, this.resultPart));
    const button = (choice, label) => element("button", { type: "button", on: { click: () => decide(choice) } }, label);
    this.question = element("div", { class: "call-question", role: "group", "aria-label": `Allow the call of ${call.name}?`, hidden: true },
      element("span", {}, "Allow this call?"), button("run", "Allow"), button("always", "Always in this chat"), button("no", "Refuse"));
    this.element = element("div", {}, this.details, this.question);
  }

  update(running) {
    const { call } = this;
    const made = call.result !== undefined;
    this.question.hidden = !(running && call.state === "asking");
    this.details.classList.toggle("busy", running && call.state === "running");
    this.details.classList.toggle("failed", call.failed === true);
    this.state.textContent = made ? ended(call) : running ? WAITS[call.state] ?? "" : "not run";
    this.resultPart.hidden = !made;
    if (made && this.result.textContent !== call.result) this.result.textContent = call.result;
  }
}

const WAITS = { asking: "waits for you", running: "running" };

function ended({ failed, seconds }) {
  const took = seconds === undefined ? "" : ` ${failed ? "after " : ""}${seconds.toFixed(1)} s`;
  return failed ? (took ? `failed${took}` : "refused") : took.trim();
}

const parsed = (text) => { try { return JSON.parse(text); } catch { return null; } };

function pretty(text) {
  const value = parsed(text);
  return value === null ? text : JSON.stringify(value, null, 2);
}

// The arguments on one line.
function brief(text) {
  const value = parsed(text);
  if (typeof value !== "object" || value === null) return text;
  return Object.entries(value).map(([name, each]) => `${name}: ${typeof each === "string" ? each : JSON.stringify(each)}`).join(", ");
}
