// The conversation on the screen: sending, answering, branches, and changes by other tabs.

import { ROOT, add, merge, newConversation, path, siblings, touch } from "./conversation.js";
import { $, number, say, toast } from "./dom.js";
import { Run } from "./run.js";
import { options } from "./settings.js";
import { Turn } from "./turns.js";

const MOST_ROUNDS = 20; // the largest number of times that an answer may ask for tools
const GONE_AFTER = 4000; // milliseconds without news after which an answer of another tab counts as ended
const AT_END = 80; // distance from the end, in pixels, within which the page scrolls with the answer

export class Chat {
  // `parts`: {store, settings, tools, model() with {id, thinking, max_model_len}, listed() called when the list has changed,
  // unreachable() when the server does not answer}.
  constructor(parts) {
    Object.assign(this, parts);
    this.conversation = newConversation(this.settings.copy());
    this.heard = 0; // number of changes by other tabs
    this.runs = new Map(); // id of a conversation -> the answer that is being written
    this.turns = [];
    this.follow = true; // whether the end stays in sight
    this.due = false; // whether a task for that is scheduled
    const log = $("log");
    let before = 0;
    log.addEventListener("scroll", () => {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < AT_END;
      if (atEnd) this.follow = true;
      else if (log.scrollTop < before - 2) this.follow = false; // only the user scrolls upwards
      before = log.scrollTop;
      $("to-end").hidden = this.follow;
    }, { passive: true });
    $("to-end").addEventListener("click", () => this.toEnd());
    this.actions = {
      edit: (node, text) => this.edit(node, text), again: (node) => this.again(node),
      choose: (node, step) => this.choose(node, step), decide: (node, call, choice) => this.decide(node, call, choice), moved: () => this.keepUp(),
    };
  }

  get run() {
    return this.runs.get(this.conversation.id) ?? null;
  }

  fresh() {
    this.show(newConversation(this.settings.copy()));
    $("prompt").focus();
  }

  async open(id) {
    let found, before;
    do { // another tab may change it while it is read
      before = this.heard;
      found = this.runs.get(id)?.conversation ?? (await this.store.get(id));
    } while (before !== this.heard);
    if (found) this.show(found);
    return found !== null;
  }

  show(conversation) {
    this.conversation = conversation;
    this.settings.show(conversation.settings);
    for (const turn of this.turns) turn.element.remove();
    this.turns = [];
    this.follow = true;
    this.settle();
    const kept = path(conversation).length > 0;
    history.replaceState(null, "", kept ? "#" + conversation.id : location.pathname + location.search);
    this.draw();
    this.listed();
  }

  // Ends answers whose tab is gone.
  settle() {
    clearTimeout(this.settling);
    const open = Object.values(this.conversation.nodes).filter((node) => node.running && node.id !== this.run?.node.id);
    for (const node of open) {
      if (Date.now() - node.changed < GONE_AFTER) {
        this.settling = setTimeout(() => { this.settle(); this.refresh(); }, GONE_AFTER + 100);
        return;
      }
      delete node.running;
      node.ended = "interrupted";
    }
  }

  // Redraws answers that may have changed.
  async refresh() {
    const before = new Set(this.turns);
    await this.draw();
    for (const turn of this.turns) if (before.has(turn)) turn.update();
  }

  // Makes the turns on the screen match the conversation.
  draw() {
    const nodes = path(this.conversation);
    let same = 0;
    while (same < nodes.length && this.turns[same]?.node.id === nodes[same].id) same++;
    for (const turn of this.turns.splice(same)) turn.element.remove();
    const added = nodes.slice(same).map((node) => new Turn(node, this.conversation, this.actions));
    $("turns").append(...added.map((turn) => turn.element));
    for (const [at, turn] of this.turns.entries()) {
      turn.conversation = this.conversation;
      turn.node = nodes[at];
      turn.showTools();
    }
    this.turns.push(...added);
    for (const turn of added) turn.preview();
    $("empty").hidden = nodes.length > 0;
    document.title = this.conversation.title ? `${this.conversation.title} · qwen3cpu` : "qwen3cpu";
    this.attach();
    this.showState();
    this.keepUp();
    return this.render(added);
  }

  // Renders messages one by one. The last one comes first, because it is in sight.
  async render(turns) {
    for (const turn of turns.toReversed()) if (this.turns.includes(turn)) await turn.update();
  }

  attach() {
    const { run } = this;
    for (const each of this.runs.values()) each.changed = () => {};
    if (!run) return;
    let due = false;
    run.changed = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => { due = false; this.progress(run); });
    };
  }

  progress(run) {
    const turn = this.turns.find((each) => each.node.id === run.node.id);
    turn?.update();
    const calling = run.node.calls?.find((call) => call.result === undefined);
    const asked = calling?.state === "asking" ? `Allow the call of ${calling.name}?` : calling && `Calling ${calling.name}`;
    const state = asked ?? (run.node.content ? "Answering" : run.node.reasoning ? "Thinking" : "Waiting for the server");
    if (turn && state !== this.said && run.node.running) say((this.said = state));
  }

  send(text, files) {
    const parent = path(this.conversation).at(-1)?.id ?? ROOT;
    const node = add(this.conversation, parent, { role: "user", content: text, files });
    this.follow = true;
    return this.answer(node);
  }

  // Adds an answer to a message, beside its other answers. After tool calls it continues.
  async answer(message, conversation = this.conversation, rounds = 1) {
    const { id, thinking } = this.model();
    const body = { model: id, ...options(conversation.settings, thinking, this.tools.list) };
    const format = body.response_format ? "json" : "";
    const node = add(conversation, message.id, { role: "assistant", content: "", format, running: true });
    const run = new Run(conversation, node, body, (each) => this.save(each), this.tools.ask);
    this.runs.set(conversation.id, run);
    this.said = "";
    if (this.conversation.id === conversation.id) {
      history.replaceState(null, "", "#" + conversation.id);
      this.draw();
    }
    await this.save(conversation);
    await run.run();
    this.runs.delete(conversation.id);
    if (run.goesOn && rounds < MOST_ROUNDS) {
      this.turns.find((each) => each.node.id === node.id)?.update();
      return this.answer(node, conversation, rounds + 1);
    }
    if (run.goesOn) toast(`The model has asked for tools ${MOST_ROUNDS} times. Send a message to go on.`);
    this.listed();
    if (node.unreachable) this.unreachable();
    if (this.conversation.id !== conversation.id) return;
    const turn = this.turns.find((each) => each.node.id === node.id);
    await turn?.update();
    if (this.conversation.id !== conversation.id) return;
    this.draw(); // other tabs may have added versions
    if (node.ended === "stopped") say("Stopped");
    else if (node.ended !== "error") say(`The answer is complete, ${number(node.tokens ?? 0)} tokens`);
  }

  decide(node, call, choice) {
    if (this.run?.node.id === node.id) this.run.decide?.(call, choice);
    $("prompt").focus();
  }

  stop() {
    this.run?.stop();
  }

  edit(node, text) {
    if (this.busy()) return;
    const made = add(this.conversation, node.parent, { role: "user", content: text, files: node.files });
    this.draw();
    this.answer(made);
  }

  again(node) {
    if (this.busy()) return;
    const { nodes } = this.conversation;
    if (node.ended === "error" && !node.content && !node.reasoning) {
      delete nodes[node.id]; // it is empty
      delete this.conversation.chosen[node.parent];
    }
    this.answer(nodes[node.parent]);
    $("prompt").focus();
  }

  choose(node, step) {
    if (this.busy()) return;
    this.conversation.chosen[node.parent] = node.id;
    touch(this.conversation);
    this.draw();
    this.save(this.conversation);
    const turn = this.turns.find((each) => each.node.id === node.id);
    const buttons = turn?.tools.querySelectorAll(".branches button:enabled") ?? [];
    ([...buttons].find((each) => each.dataset.step === step) ?? buttons[0])?.focus();
    say(`Version ${siblings(this.conversation, node.parent).indexOf(node) + 1}`);
  }

  busy() {
    if (this.run) toast("An answer is being written. Stop it first.");
    return this.run !== null;
  }

  save(conversation) {
    return this.store.put(conversation).then(() => this.listed());
  }

  // Another tab has changed a conversation.
  async changedElsewhere(id) {
    this.heard++;
    this.listed();
    if (id !== this.conversation.id || this.run) return;
    const found = await this.store.get(id);
    if (id !== this.conversation.id || this.run) return;
    if (!found) {
      toast("This conversation was deleted in another tab.");
      this.fresh();
      return;
    }
    const { chosen } = this.conversation; // the branch that this tab shows
    this.conversation = { ...merge(found, this.conversation), version: found.version };
    this.conversation.chosen = { ...this.conversation.chosen, ...chosen };
    this.settle();
    await this.refresh();
  }

  showState() {
    const running = this.run !== null;
    document.body.classList.toggle("running", running);
    const nodes = path(this.conversation);
    const used = nodes.findLast((node) => node.context)?.context ?? 0;
    this.showContext(used);
    this.stateChanged(running);
  }

  showContext(used) {
    const most = this.model()?.max_model_len;
    $("context").hidden = !used || !most;
    if (!used || !most) return;
    const share = Math.min(1, used / most);
    const text = `${number(used)} of ${number(most)} tokens`;
    $("context").title = `Context: ${text}`;
    $("context").setAttribute("aria-label", `Context: ${text}`);
    $("context").classList.toggle("full", share > 0.85);
    $("context").querySelector(".bar span").style.width = `${(100 * share).toFixed(1)}%`;
    $("context").querySelector(".numbers").textContent = text;
  }

  // Runs in a separate task, because reading the height makes the browser lay the page out. With a large table, layout and
  // painting in one task would take too long.
  keepUp() {
    if (this.due) return;
    this.due = true;
    setTimeout(() => {
      this.due = false;
      const height = $("log").scrollHeight;
      if (this.follow) $("log").scrollTop = height;
    });
  }

  toEnd() {
    this.follow = true;
    this.keepUp();
    $("to-end").hidden = true;
  }
}
