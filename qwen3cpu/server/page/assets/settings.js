// The settings of a conversation: a panel with presets, the system prompt, thinking, sampling and the form of answers.

import { $, element, iconButton, toast } from "./dom.js";

const NUMBERS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1, placeholder: "default" }],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.05, placeholder: "default" }],
  ["top_k", "Top k", { min: 0, step: 1, placeholder: "default" }],
  ["min_p", "Min p", { min: 0, max: 1, step: 0.01, placeholder: "default" }],
  ["presence_penalty", "Presence penalty", { min: -2, max: 2, step: 0.1, placeholder: "none" }],
  ["max_tokens", "Most tokens", { min: 1, step: 1, placeholder: "no limit" }],
  ["seed", "Seed", { min: 0, step: 1, placeholder: "a new one" }],
];
const BUILT_IN = {
  "The model's own": {},
  "No thinking": { thinking: false },
  "Short thinking": { thinking: true, thinking_budget: "512" },
  "Steady": { temperature: "0.4", top_p: "0.9" },
  "Inventive": { temperature: "1.1", top_p: "0.95", presence_penalty: "0.5" },
};
const NOT_IN_PRESETS = ["system", "format", "schema", "tools"]; // a built-in preset does not change these
const [KEPT, OWN] = ["qwen3cpu.settings", "qwen3cpu.presets"];

const read = (name) => { try { return JSON.parse(localStorage.getItem(name)) ?? {}; } catch { return {}; } };
const write = (name, value) => { try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* not kept */ } };

export class Settings {
  // `changed` is called with the settings after each change.
  constructor(changed) {
    this.changed = changed;
    this.values = read(KEPT);
    this.fields = new Map();
    this.thinks = true;
    this.toolNames = []; // of the operator's tools
    this.build();
  }

  // The settings of a new conversation, which are the last used ones.
  copy() {
    return structuredClone(this.values);
  }

  show(values) {
    this.values = { ...values };
    for (const [name, field] of this.fields) field.value = this.values[name] ?? "";
    this.fields.get("format").value = this.values.format ?? "text";
    this.showState();
  }

  set(name, value) {
    if (value === "" || value === undefined) delete this.values[name];
    else this.values[name] = value;
    this.tell();
  }

  tell() {
    write(KEPT, this.values);
    this.showState();
    this.changed(this.copy());
  }

  showState() {
    const thinking = this.values.thinking !== false;
    $("think").setAttribute("aria-pressed", String(thinking && this.thinks));
    $("think").disabled = !this.thinks;
    const { length } = this.toolNames;
    $("use-tools").hidden = length === 0 || (this.values.format ?? "text") !== "text";
    $("use-tools").setAttribute("aria-pressed", String(this.values.tools !== false));
    $("use-tools").title = `${length} tool${length === 1 ? "" : "s"} of this server: ${this.toolNames.join(", ")}`;
    this.schema.hidden = this.values.format !== "schema";
    this.budget.hidden = !thinking || !this.thinks;
    this.schemaProblem.textContent = this.values.format === "schema" ? schemaProblem(this.values.schema) : "";
    this.presets.value = "";
  }

  // What is wrong with the settings; "" when nothing is.
  problem() {
    return this.values.format === "schema" ? schemaProblem(this.values.schema) : "";
  }

  build() {
    const presets = element("select", { id: "preset", on: { change: () => this.apply(this.presets.value) } });
    this.presets = presets;
    this.presetName = element("input", { id: "preset-name", "aria-label": "Name of the preset", placeholder: "Name", hidden: true });
    this.presetName.addEventListener("keydown", (event) => { if (event.key === "Enter") this.savePreset(); });
    this.listPresets();
    const system = this.area("system", "System prompt", { rows: 4 });
    this.budget = this.number(["thinking_budget", "Thinking budget (tokens)", { min: 0, step: 1, placeholder: "no limit" }]);
    const format = element("select", { id: "format", on: { change: (event) => this.set("format", event.target.value) } },
      element("option", { value: "text" }, "Text"), element("option", { value: "json" }, "JSON"),
      element("option", { value: "schema" }, "JSON that follows a schema"));
    this.fields.set("format", format);
    this.schema = this.area("schema", "JSON schema", {
      rows: 7, spellcheck: "false", class: "code-field", "aria-describedby": "schema-problem",
      placeholder: '{"type": "object", "properties": {"answer": {"type": "number"}}, "required": ["answer"]}',
    });
    this.schemaProblem = element("p", { id: "schema-problem", class: "problem", role: "status" });
    $("settings").append(
      element("div", { class: "settings-head" }, element("h2", {}, "Settings"),
        iconButton("close", "Close the settings", () => this.toggle(false), { id: "close-settings" })),
      element("div", { class: "preset" }, element("label", { for: "preset" }, "Preset"), presets,
        this.presetName,
        element("button", { type: "button", id: "save-preset", on: { click: () => this.savePreset() } }, "Save"),
        element("button", { type: "button", id: "remove-preset", on: { click: () => this.removePreset() } }, "Remove")),
      system, this.budget,
      element("div", { class: "grid" }, ...NUMBERS.map((each) => this.number(each))),
      element("label", {}, "Form of answers", format), this.schema, this.schemaProblem,
      element("p", { class: "note" }, "Settings belong to the conversation. A new one begins with those used last."),
    );
    $("open-settings").addEventListener("click", () => this.toggle($("settings").hidden));
    $("think").addEventListener("click", () => this.set("thinking", this.values.thinking === false));
    $("use-tools").addEventListener("click", () => this.set("tools", this.values.tools === false ? "" : false));
    this.show(this.values);
  }

  toggle(open) {
    const had = $("settings").contains(document.activeElement);
    $("settings").hidden = !open;
    $("open-settings").setAttribute("aria-expanded", String(open));
    // On a phone they cover the page, so the page behind them is made inert.
    $("column").inert = open && matchMedia("(max-width: 56rem)").matches;
    if (open) $("close-settings").focus();
    else if (had) $("open-settings").focus();
  }

  area(name, label, options) {
    const area = element("textarea", { id: name, ...options, on: { change: () => this.set(name, area.value) } });
    this.fields.set(name, area);
    return element("label", {}, label, area);
  }

  number([name, label, options]) {
    const change = () => this.set(name, field.value);
    const field = element("input", { id: name, type: "number", inputmode: "decimal", ...options, on: { change } });
    this.fields.set(name, field);
    return element("label", {}, label, field);
  }

  listPresets() {
    const own = read(OWN);
    const options = (names) => names.map((name) => element("option", { value: name }, name));
    this.presets.replaceChildren(element("option", { value: "" }, "Choose…"), ...options(Object.keys(BUILT_IN)));
    if (Object.keys(own).length) {
      this.presets.append(element("optgroup", { label: "Your own" }, ...options(Object.keys(own))));
    }
  }

  apply(name) {
    const own = read(OWN);
    if (!name) return;
    const kept = Object.fromEntries(Object.entries(this.values).filter(([each]) => NOT_IN_PRESETS.includes(each)));
    this.show(Object.hasOwn(own, name) ? own[name] : { ...kept, ...BUILT_IN[name] });
    this.tell();
    this.presets.value = name;
  }

  // Asks for a name first.
  savePreset() {
    const name = this.presetName.value.trim();
    if (this.presetName.hidden || !name) {
      this.presetName.hidden = false;
      this.presetName.focus();
      return;
    }
    if (Object.hasOwn(BUILT_IN, name)) { toast(`"${name}" is a preset of the page's; choose another name.`); return; }
    write(OWN, { ...read(OWN), [name]: this.copy() });
    this.presetName.value = "";
    this.presetName.hidden = true;
    this.listPresets();
    this.presets.value = name;
    toast(`Saved the preset "${name}".`);
  }

  removePreset() {
    const [own, name] = [read(OWN), this.presets.value];
    if (!Object.hasOwn(own, name)) { toast("Choose a preset of your own first."); return; }
    const { [name]: removed, ...rest } = own;
    write(OWN, rest);
    this.listPresets();
    toast(`Removed the preset "${name}".`, {
      label: "Undo", run: () => { write(OWN, { ...read(OWN), [name]: removed }); this.listPresets(); },
    });
  }
}

// The fields of a request for the settings of a conversation. `thinks`: whether the model can think at all; `tools`: the
// operator's tools.
export function options(values, thinks, tools) {
  const number = (name) => (values[name] === undefined ? undefined : Number(values[name]));
  const found = { stream: true, stream_options: { include_usage: true } };
  for (const [name] of NUMBERS) found[name] = number(name);
  if (thinks) {
    found.chat_template_kwargs = { enable_thinking: values.thinking !== false };
    if (values.thinking !== false) found.thinking_budget = number("thinking_budget");
  }
  if (tools.length && values.tools !== false && (values.format ?? "text") === "text") found.tools = tools;
  if (values.format === "json") found.response_format = { type: "json_object" };
  if (values.format === "schema") {
    const schema = JSON.parse(values.schema);
    found.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
  }
  return found;
}

function schemaProblem(text) {
  if (!text?.trim()) return "A JSON schema is missing.";
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? "" : "A JSON schema is an object.";
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}
