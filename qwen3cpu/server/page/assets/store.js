// Keeps conversations in the browser (IndexedDB), and notifies other tabs. If the browser keeps nothing (some private
// windows, a full disk), they stay in this tab's memory, and `problem` says so.

import { merge, summary, words } from "./conversation.js";

const DATABASE = "qwen3cpu";
const CHANNEL = "qwen3cpu.conversations";
const [ALL, LIST] = ["conversations", "list"];

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
const committed = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new DOMException("aborted", "AbortError"));
});

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(ALL, { keyPath: "id" });
      request.result.createObjectStore(LIST, { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new DOMException("blocked", "AbortError"));
  });
}

export class Store {
  // `changed(id)` is called when another tab has changed a conversation. `trouble(text)` is called when one cannot be kept,
  // and with "" when all can be kept again.
  constructor({ changed, trouble }) {
    this.changed = changed;
    this.trouble = trouble;
    this.memory = new Map(); // conversations that the browser does not keep
    this.database = null;
    this.writing = Promise.resolve();
    this.channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(CHANNEL) : null;
    if (this.channel) this.channel.onmessage = (event) => this.changed(String(event.data));
  }

  async open() {
    try {
      this.database = await openDatabase();
      this.database.onversionchange = () => this.database.close();
    } catch {
      this.trouble("This browser keeps nothing for this page: conversations end with this tab. Export those you need.");
    }
  }

  // All conversations, newest first: {id, title, created, updated}.
  async list() {
    const kept = await this.read(LIST, (list) => list.getAll(), []);
    const found = new Map(kept.map((each) => [each.id, each]));
    for (const each of this.memory.values()) found.set(each.id, summary(each));
    return [...found.values()].sort((one, other) => other.updated - one.updated);
  }

  async get(id) {
    return this.memory.get(id) ?? (await this.read(ALL, (all) => all.get(id), null)) ?? null;
  }

  async everything() {
    const kept = await this.read(ALL, (all) => all.getAll(), []);
    return [...kept.filter((each) => !this.memory.has(each.id)), ...this.memory.values()];
  }

  // Ids of the conversations that have all words of a text.
  async search(text) {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    const look = (each) => { const held = words(each); if (wanted.every((word) => held.includes(word))) found.add(each.id); };
    for (const each of this.memory.values()) look(each);
    try {
      await this.walk((each) => { if (!this.memory.has(each.id)) look(each); });
    } catch { /* those in memory have been searched */ }
    return found;
  }

  // Writes a conversation. Messages that another tab has added to it are kept, and added to this one.
  put(conversation) {
    const work = this.writing.then(() => this.write(conversation));
    this.writing = work.catch(() => {});
    return work;
  }

  async write(conversation) {
    if (!this.database) {
      this.memory.set(conversation.id, conversation);
      return;
    }
    try {
      const transaction = this.database.transaction([ALL, LIST], "readwrite");
      const end = committed(transaction);
      end.catch(() => {});
      const theirs = await done(transaction.objectStore(ALL).get(conversation.id));
      if (theirs && theirs.version !== conversation.version) Object.assign(conversation, merge(theirs, conversation));
      conversation.version++;
      transaction.objectStore(ALL).put(conversation);
      transaction.objectStore(LIST).put(summary(conversation));
      await end;
      this.memory.delete(conversation.id);
      this.trouble("");
      this.tell(conversation.id);
    } catch (error) {
      this.memory.set(conversation.id, conversation);
      this.trouble(
        error.name === "QuotaExceededError"
          ? "The browser's storage is full: what is new ends with this tab. Export or delete conversations."
          : "The browser could not keep this conversation: what is new ends with this tab. Export it if you need it.",
      );
    }
  }

  async remove(id) {
    this.memory.delete(id);
    if (!this.database) return;
    const transaction = this.database.transaction([ALL, LIST], "readwrite");
    transaction.objectStore(ALL).delete(id);
    transaction.objectStore(LIST).delete(id);
    await committed(transaction);
    this.tell(id);
  }

  tell(id) {
    this.channel?.postMessage(id);
  }

  async read(name, ask, otherwise) {
    if (!this.database) return otherwise;
    try {
      return await done(ask(this.database.transaction(name).objectStore(name)));
    } catch {
      return otherwise;
    }
  }

  async walk(visit) {
    if (!this.database) return;
    await new Promise((resolve, reject) => {
      const request = this.database.transaction(ALL).objectStore(ALL).openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        if (!request.result) { resolve(); return; }
        visit(request.result.value);
        request.result.continue();
      };
    });
  }
}
