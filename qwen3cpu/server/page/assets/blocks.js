// Shows a Markdown text, which may still grow, as blocks. A block does not change after the next one has begun, so only the
// text from the last block on is sent to the server for rendering.

import { renderMarkdown } from "./api.js";
import { element, pause } from "./dom.js";
import { patch } from "./elements.js";

const LEAST_WAIT = 80; // milliseconds between two renderings
const TASK = 12; // milliseconds of work after which other tasks of the page run
const LATE = 300; // milliseconds of a rendering after which text that is not on the page yet is shown as plain text
const LONGEST = 250000; // characters that the server renders at once
// An incomplete last line that may become a list, a heading, a fence or a rule. It is shown when more of it is there.
const UNDECIDED = /(^|\n)[ \t]*(\d{1,9}[.)]?|[-=*+_]+|#{1,6}|`{1,3}|~{1,3}|>)[ \t]*$/;

export class Blocks {
  // `changed` is called after each change of what is shown.
  constructor(container, changed = () => {}) {
    this.container = container;
    this.changed = changed;
    this.text = "";
    this.start = 0; // start of the part that may change
    this.shown = []; // the nodes of each block; null for plain text
    this.settled = 0; // number of blocks that are final
    this.definitions = "";
    this.steps = 0; // number of renderings
    this.levels = []; // the heading level of each block; 0 for other blocks
    this.working = null;
    this.stale = false;
    this.complete = false;
    this.wake = () => {}; // ends the wait between two renderings
  }

  // Shows a text that begins with the last one. Resolves when all of a complete text is shown.
  show(text, complete = false) {
    this.text = text.replace(/\r\n?/g, "\n");
    if (!complete) {
      const last = this.text.slice(-40);
      this.text = this.text.slice(0, this.text.length - last.length) + last.replace(UNDECIDED, "$1");
    }
    this.complete = complete;
    this.stale = true;
    if (complete) this.wake();
    this.working ??= this.work().finally(() => { this.working = null; });
    return this.working;
  }

  async work() {
    while (this.stale) {
      this.stale = false;
      const began = performance.now();
      const last = this.complete;
      await this.step();
      const took = performance.now() - began;
      if (last && !this.stale) {
        if (this.steps > 1) await this.again();
        return;
      }
      await new Promise((resume) => { this.wake = resume; setTimeout(resume, Math.max(LEAST_WAIT, 1.5 * took)); });
    }
  }

  async step() {
    this.steps++;
    const part = this.text.slice(this.start);
    // The server's first rendering starts a process, and while the model writes that may take seconds.
    const late = setInterval(() => this.showLate(), LATE);
    const found = await this.rendered(part).finally(() => clearInterval(late));
    if (found === null) { this.showPlain(part); return; }
    const { settled } = this;
    await this.put(found.blocks.map((block) => block.nodes));
    this.settled = settled + found.blocks.filter((block) => block.line < found.open_line).length;
    this.start += offset(part, found.open_line);
    if (found.definitions) this.definitions += found.definitions + "\n\n";
  }

  // Renders the whole text once more, because definitions of links may come after their uses. Unchanged blocks are not
  // touched.
  async again() {
    const found = await this.rendered(this.text);
    if (found === null) return;
    this.settled = 0;
    await this.put(found.blocks.map((block) => block.nodes));
  }

  async rendered(text) {
    if (text.length > LONGEST) return null;
    try {
      return await renderMarkdown(text, this.definitions);
    } catch {
      return null; // shown as plain text
    }
  }

  // Replaces the blocks after the final ones.
  async put(blocks) {
    let began = performance.now();
    for (const [at, found] of blocks.entries()) {
      const place = this.settled + at;
      const nodes = this.withLevel(found, place);
      if (place < this.shown.length && this.shown[place] !== null) {
        patch(this.container.children[place], this.shown[place], nodes);
      } else {
        const block = element("div", { class: "block" });
        patch(block, [], nodes);
        if (place < this.shown.length) this.container.children[place].replaceWith(block);
        else this.container.append(block);
      }
      this.shown[place] = nodes;
      if (performance.now() - began > TASK) {
        this.changed();
        await pause();
        began = performance.now();
      }
    }
    this.cut(this.settled + blocks.length);
    this.changed();
  }

  // Headings begin below those of the page and skip no level, whatever levels the text has.
  withLevel(nodes, place) {
    const natural = nodes.length === 1 && /^h[3-6]$/.test(nodes[0][0]) ? Number(nodes[0][0][1]) : 0;
    this.levels[place] = 0;
    if (!natural) return nodes;
    const before = this.levels.slice(0, place).filter(Boolean);
    if (before.length === 0) this.shift = natural - 3;
    this.levels[place] = Math.min(Math.max(3, natural - this.shift), (before.at(-1) ?? 2) + 1);
    return [["h" + this.levels[place], ...nodes[0].slice(1)]];
  }

  showPlain(text) {
    const block = this.container.children[this.settled];
    if (block && this.shown[this.settled] === null) {
      const old = block.firstChild.data;
      if (text.startsWith(old)) block.firstChild.appendData(text.slice(old.length));
      else block.firstChild.data = text;
    } else {
      const made = element("div", { class: "block plain" }, document.createTextNode(text));
      if (block) block.replaceWith(made);
      else this.container.append(made);
      this.shown[this.settled] = null;
    }
    this.cut(this.settled + 1);
    this.changed();
  }

  // Shows the part that is being rendered, and what has come since, unless a rendering of its beginning is shown.
  showLate() {
    if (this.shown.length <= this.settled || this.shown[this.settled] === null) this.showPlain(this.text.slice(this.start));
  }

  cut(count) {
    while (this.container.children.length > count) this.container.lastElementChild.remove();
    this.shown.length = count;
  }
}

// The index in a text at which a line begins.
function offset(text, line) {
  let at = 0;
  for (let passed = 0; passed < line; passed++) at = text.indexOf("\n", at) + 1;
  return at;
}
