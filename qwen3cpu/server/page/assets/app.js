// Starts the page: models, the message box, keyboard shortcuts, the API key, and reconnecting to a server that was
// gone.

import { isThere, listModels, onMissingKey, setKey } from "./api.js";
import { Chat } from "./chat.js";
import { $, addIcons, icon, number, say, toast } from "./dom.js";
import { Files } from "./files.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { Tools } from "./tools.js";

const CHOICE = "qwen3cpu.model";
const DRAFT = "qwen3cpu.draft";
const RETRY = 1000; // milliseconds between two requests to a server that does not answer

const tools = new Tools();
const banners = { server: "", storage: "" };
let models = [];
let settings, chat, sidebar, files;

const store = new Store({
  changed: (id) => chat?.changedElsewhere(id),
  trouble: (text) => banner("storage", text),
});

function model() {
  return models.find((each) => each.id === $("model-choice").value) ?? models[0] ?? { id: undefined, thinking: true };
}

function banner(kind, text) {
  if (banners[kind] === text) return;
  banners[kind] = text;
  const shown = Object.values(banners).filter(Boolean);
  $("banner").hidden = shown.length === 0;
  $("banner").textContent = shown.join(" ");
}

async function showModels() {
  try {
    const all = await listModels();
    models = all.filter((each) => each.task === "generation");
    if (models.length === 0) models = all;
  } catch (error) {
    $("model").textContent = error.message;
    if (error.status === 0) unreachable();
    return;
  }
  await tools.load();
  settings.toolNames = tools.names;
  const names = models.map((each) => { const made = new Option(each.id, each.id); return made; });
  $("model-choice").replaceChildren(...names);
  $("model-choice").hidden = models.length < 2;
  let chosen = null;
  try { chosen = localStorage.getItem(CHOICE); } catch { /* the first one */ }
  if (models.some((each) => each.id === chosen)) $("model-choice").value = chosen;
  showModel();
}

function showModel() {
  const { id, quantization, max_model_len: context, thinking } = model();
  const name = models.length > 1 ? "" : `${id} · `;
  $("model").textContent = `${name}${quantization} · ${number(context)} tokens`;
  settings.thinks = thinking === true;
  settings.showState();
  chat.showState();
}

function unreachable() {
  if (banners.server) return;
  banner("server", "The server does not answer. This page looks for it every second.");
  const look = async () => {
    if (!(await isThere())) { setTimeout(look, RETRY); return; }
    banner("server", "");
    say("The server is back");
    showModels();
  };
  setTimeout(look, RETRY);
}

function askForKey(wasWrong) {
  $("key-problem").textContent = wasWrong ? "The server refused this key." : "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
  $("key").focus();
}

function fit() {
  const box = $("prompt");
  box.style.height = "auto";
  box.style.height = box.scrollHeight + "px";
  try { sessionStorage.setItem(DRAFT, box.value); } catch { /* the draft is not kept */ }
  showSend();
}

function showSend() {
  const running = Boolean(chat?.run);
  const button = $("send");
  const label = running ? "Stop" : "Send";
  if (button.getAttribute("aria-label") !== label) {
    button.setAttribute("aria-label", label);
    button.title = running ? "Stop (Escape)" : "Send (Enter)";
    button.replaceChildren(icon(running ? "stop" : "send"));
  }
  button.disabled = !running && !$("prompt").value.trim() && !files?.list.length;
}

function submit() {
  if (chat.run) { chat.stop(); return; }
  const text = $("prompt").value.trim();
  if (!text && !files.list.length) return;
  if (files.busy) { toast("A file is still being read."); return; }
  const problem = settings.problem();
  if (problem) { settings.toggle(true); toast(problem); return; }
  $("prompt").value = "";
  const taken = files.take();
  fit();
  chat.send(text, taken);
}

function onKey(event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && !$("key-dialog").open) escape();
  else if (command && event.shiftKey && event.key.toLowerCase() === "o") { event.preventDefault(); $("fresh").click(); }
  else if (command && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    sidebar.toggle(true);
    $("search").focus();
  }
}

function escape() {
  if (chat.run) chat.stop();
  else if (!$("settings").hidden) settings.toggle(false);
  else if (sidebar.isOpen && !sidebar.wide.matches) sidebar.toggle(false);
}

function listen() {
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("prompt").addEventListener("input", fit);
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!chat.run) submit();
    }
    if (event.key === "ArrowUp" && !$("prompt").value) {
      const last = chat.turns.findLast((turn) => turn.node.role === "user");
      if (last && !chat.run) { event.preventDefault(); last.edit(); }
    }
  });
  document.addEventListener("keydown", onKey);
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("prompt").focus(); });
  $("model-choice").addEventListener("change", () => {
    try { localStorage.setItem(CHOICE, $("model-choice").value); } catch { /* not kept */ }
    showModel();
  });
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value.trim());
    $("key-dialog").close();
    showModels();
  });
  window.addEventListener("hashchange", () => chat.open(location.hash.slice(1)));
}

async function start() {
  addIcons();
  settings = new Settings((values) => { if (chat) chat.conversation.settings = values; });
  chat = new Chat({
    store, settings, tools, model, unreachable, listed: () => sidebar?.draw(), stateChanged: showSend,
  });
  files = new Files(() => model().id, showSend);
  listen();
  onMissingKey(askForKey);
  await store.open();
  const wanted = location.hash.slice(1);
  if (!wanted || !(await chat.open(wanted))) chat.fresh();
  sidebar = new Sidebar({ store, chat });
  await sidebar.draw();
  try { $("prompt").value = sessionStorage.getItem(DRAFT) ?? ""; } catch { /* no draft */ }
  fit();
  await showModels();
  document.body.dataset.ready = "yes";
}

start();
