// Files that go with the next message: their texts, read here or (PDF) by the server, and how many tokens they have.

import { countTokens, extractText } from "./api.js";
import { $, element, iconButton, number, say, toast } from "./dom.js";

const LARGEST_TEXT = 4 << 20; // bytes
const LARGEST_PDF = 5 << 20;

export class Files {
  // `model()` is the id of the model that counts tokens; `changed()` is called after each change of the files.
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.list = [];
    $("attach").addEventListener("click", () => $("attach-file").click());
    $("attach-file").addEventListener("change", (event) => { this.add(event.target.files); event.target.value = ""; });
    $("prompt").addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) { event.preventDefault(); this.add(event.clipboardData.files); }
    });
    const column = $("column");
    column.addEventListener("dragover", (event) => { event.preventDefault(); column.classList.add("dropping"); });
    column.addEventListener("dragleave", () => column.classList.remove("dropping"));
    column.addEventListener("drop", (event) => {
      event.preventDefault();
      column.classList.remove("dropping");
      this.add(event.dataTransfer.files);
    });
  }

  get busy() {
    return this.list.some((file) => file.reading);
  }

  // Returns the files and removes them from the next message.
  take() {
    const taken = this.list.map(({ name, text, tokens }) => ({ name, text, tokens }));
    this.list = [];
    this.show();
    return taken;
  }

  async add(files) {
    await Promise.all(Array.from(files, (file) => this.addOne(file)));
  }

  async addOne(file) {
    const held = { name: file.name, text: "", tokens: null, reading: true };
    this.list.push(held);
    this.show();
    try {
      held.text = await textOf(file);
    } catch (error) {
      this.list = this.list.filter((each) => each !== held);
      toast(`${file.name}: ${error.message}`);
      this.show();
      return;
    }
    try { held.tokens = await countTokens(this.model(), held.text); } catch { /* the count is not shown */ }
    held.reading = false;
    say(`${file.name} added${held.tokens === null ? "" : `, ${number(held.tokens)} tokens`}`);
    this.show();
  }

  show() {
    const remove = (file) => {
      this.list = this.list.filter((each) => each !== file);
      this.show();
      $("prompt").focus();
    };
    $("files").hidden = this.list.length === 0;
    $("files").replaceChildren(...this.list.map((file) => element("li", { class: "file" }, ...parts(file),
      iconButton("close", `Remove ${file.name}`, () => remove(file)))));
    this.changed();
  }
}

// Shows a file.
export function parts(file) {
  const count = file.reading ? "reading…" : file.tokens === null ? "" : `${number(file.tokens)} tokens`;
  return [element("span", { class: "file-name" }, file.name), element("span", { class: "file-tokens" }, count)];
}

async function textOf(file) {
  const start = new Uint8Array(await file.slice(0, 5).arrayBuffer());
  if (new TextDecoder("latin1").decode(start) === "%PDF-") return pdfText(file);
  if (file.size > LARGEST_TEXT) throw new Error("the file is larger than 4 MB");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error("expected text in UTF-8, or a PDF");
  }
  if (text.includes("\0")) throw new Error("expected text, found a binary file");
  return text.replace(/\r\n?/g, "\n");
}

async function pdfText(file) {
  if (file.size > LARGEST_PDF) throw new Error("the PDF is larger than 5 MB");
  const address = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("it cannot be read"));
    reader.readAsDataURL(file);
  });
  const { text, cut } = await extractText(address.slice(address.indexOf(",") + 1));
  if (cut) throw new Error("the PDF has more than 4 MB of text");
  if (!text.trim()) throw new Error("the PDF has no text, only pictures");
  return text;
}
