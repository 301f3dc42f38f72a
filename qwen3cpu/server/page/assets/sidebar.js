// The list of conversations: search, rename, delete, export and import.

import { FORMAT, readExport } from "./conversation.js";
import { $, download, element, iconButton, say, toast } from "./dom.js";

const DAY = 86400000;

export class Sidebar {
  // `parts`: {store, chat}.
  constructor(parts) {
    Object.assign(this, parts);
    this.renaming = null;
    this.drawing = 0;
    this.wide = matchMedia("(min-width: 56rem)");
    this.wide.addEventListener("change", () => this.toggle(this.wide.matches));
    $("open-list").addEventListener("click", () => this.toggle($("sidebar").hidden));
    $("close-list").addEventListener("click", () => this.toggle(false));
    $("shade").addEventListener("click", () => this.toggle(false));
    $("fresh").addEventListener("click", () => { this.chat.fresh(); this.leave(); });
    $("search").addEventListener("input", () => this.draw());
    $("export-all").addEventListener("click", async () => this.save(await this.store.everything(), "conversations"));
    $("import").addEventListener("click", () => $("import-file").click());
    $("import-file").addEventListener("change", (event) => { this.read(event.target.files[0]); event.target.value = ""; });
    this.toggle(this.wide.matches);
  }

  get isOpen() {
    return !$("sidebar").hidden;
  }

  toggle(open) {
    const had = $("sidebar").contains(document.activeElement);
    $("sidebar").hidden = !open;
    $("shade").hidden = !open || this.wide.matches;
    $("open-list").setAttribute("aria-expanded", String(open));
    // On a phone the list covers the page, so the page behind it is made inert.
    $("column").inert = open && !this.wide.matches;
    if (open && !this.wide.matches) $("close-list").focus();
    else if (!open && had) $("open-list").focus();
  }

  // Called after a choice in the list.
  leave() {
    if (!this.wide.matches) this.toggle(false);
    $("prompt").focus();
  }

  async draw() {
    if (this.renaming) return;
    const turn = ++this.drawing;
    const text = $("search").value.trim();
    let list = await this.store.list();
    if (text) {
      const found = await this.store.search(text);
      list = list.filter((each) => found.has(each.id));
    }
    if (turn !== this.drawing || this.renaming) return;
    const focused = document.activeElement?.closest?.("#list li")?.dataset.id;
    const items = [];
    let last = "";
    for (const each of list) {
      const when = age(each.updated);
      if (when !== last) items.push(element("li", { class: "when" }, when));
      last = when;
      items.push(this.item(each));
    }
    $("list").replaceChildren(...items);
    $("nothing-found").hidden = list.length > 0 || !text;
    if (focused) $("list").querySelector(`[data-id="${CSS.escape(focused)}"] .title`)?.focus();
  }

  item(each) {
    const current = each.id === this.chat.conversation.id;
    const title = each.title || "New chat";
    const open = async () => { if (await this.chat.open(each.id)) this.leave(); };
    const classes = current ? "current" : this.chat.runs.has(each.id) ? "running" : null;
    return element("li", { "data-id": each.id, class: classes },
      element("button", { type: "button", class: "title", title, "aria-current": current ? "page" : null, on: { click: open } }, title),
      element("span", { class: "item-tools" },
        iconButton("edit", `Rename ${title}`, () => this.rename(each)),
        iconButton("export", `Export ${title}`, async () => this.save([await this.store.get(each.id)], title)),
        iconButton("trash", `Delete ${title}`, () => this.remove(each))));
  }

  rename(each) {
    const item = $("list").querySelector(`[data-id="${CSS.escape(each.id)}"]`);
    const field = element("input", { class: "renaming", "aria-label": "New name", value: each.title });
    this.renaming = each.id;
    const end = async (keep) => {
      if (this.renaming !== each.id) return;
      this.renaming = null;
      const title = field.value.trim();
      if (keep && title && title !== each.title) await this.retitle(each.id, title);
      await this.draw();
      $("list").querySelector(`[data-id="${CSS.escape(each.id)}"] .title`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); end(true); }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); end(false); }
    });
    field.addEventListener("blur", () => end(true));
    item.replaceChildren(field);
    field.focus();
    field.select();
  }

  async retitle(id, title) {
    const { chat } = this;
    const held = id === chat.conversation.id ? chat.conversation : chat.runs.get(id)?.conversation ?? (await this.store.get(id));
    if (!held) return;
    held.title = title;
    held.updated = Date.now();
    await this.store.put(held);
    if (id === chat.conversation.id) document.title = `${title} · qwen3cpu`;
    say(`Renamed to ${title}`);
  }

  async remove(each) {
    const { chat } = this;
    const run = chat.runs.get(each.id);
    const held = run?.conversation ?? (await this.store.get(each.id));
    if (run) { run.save = async () => {}; run.stop(); }
    await this.store.remove(each.id);
    if (each.id === chat.conversation.id) chat.fresh();
    await this.draw();
    toast(`Deleted "${each.title || "New chat"}".`, {
      label: "Undo",
      run: async () => { await this.store.put(held); await chat.open(held.id); await this.draw(); },
    });
    say("Deleted. Undo is at the end of the page.");
  }

  save(conversations, name) {
    const data = { format: FORMAT, version: 1, conversations: conversations.filter(Boolean) };
    download(`${name.replace(/[^\p{L}\p{N} ._-]+/gu, "").trim().slice(0, 60) || "conversation"}.json`, JSON.stringify(data, null, 1));
  }

  async read(file) {
    try {
      const found = readExport(await file.text());
      for (const each of found) await this.store.put(each);
      toast(found.length === 1 ? "Imported 1 conversation." : `Imported ${found.length} conversations.`);
    } catch (error) {
      toast(`${file.name}: ${error.message}`);
    }
    await this.draw();
  }
}

function age(time) {
  const days = Math.floor((new Date().setHours(24, 0, 0, 0) - time) / DAY);
  if (days < 1) return "Today";
  if (days < 2) return "Yesterday";
  return days < 8 ? "Last week" : "Earlier";
}
