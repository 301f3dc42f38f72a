// Makes elements, icons and ids, and shows notices.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  bulb: "M9 18h6M10 21h4M12 3a6 6 0 0 0-4 10.5c.7.7 1 1.5 1 2.5h6c0-1 .3-1.8 1-2.5A6 6 0 0 0 12 3z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clip: "M20 11.5l-8.2 8.2a5 5 0 0 1-7-7l8.3-8.3a3.3 3.3 0 0 1 4.7 4.7l-8.3 8.3a1.7 1.7 0 0 1-2.4-2.4l7.6-7.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  export: "M12 15V4M8 8l4-4 4 4M5 15v5h14v-5",
  list: "M4 7h16M4 12h16M4 17h10",
  next: "M10 6l6 6-6 6",
  plus: "M12 5v14M5 12h14",
  previous: "M14 6l-6 6 6 6",
  retry: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  send: "M12 19V5M6 11l6-6 6 6",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  stop: "M7 7h10v10H7z",
  tool: "M14.5 5.5a4.5 4.5 0 0 0 5.6 5.6L11 20.2a2.3 2.3 0 0 1-3.2-3.2L17 7.9M14.5 5.5a4.5 4.5 0 0 1 5-1.2l-2.6 2.6.6 2 2 .6 2.6-2.6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
};

export const $ = (id) => document.getElementById(id);

// An element. `on` has listeners, `class` and other keys are attributes (true: an empty one; false, null: none).
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// A button that is an icon, with a name for screen readers and as its tooltip.
export function iconButton(name, label, click, properties = {}) {
  const button = { type: "button", class: "icon", "aria-label": label, title: label, on: { click }, ...properties };
  return element("button", button, icon(name));
}

// Puts the icons into the buttons of index.html.
export function addIcons() {
  for (const each of document.querySelectorAll("[data-icon]")) {
    each.prepend(icon(each.dataset.icon));
    if (each.hasAttribute("aria-label")) each.title = each.getAttribute("aria-label");
  }
}

// A random id. crypto.randomUUID exists only for https and localhost.
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (each) => each.toString(16).padStart(2, "0")).join("");
}

// Announces a state to screen readers, in a few words.
export function say(text) {
  $("state").textContent = text;
}

// Shows a line at the bottom. `action`: {label, run} of a button beside it. With it, the line stays until used or
// closed.
export function toast(text, action = null) {
  const close = () => $("toast").replaceChildren();
  const parts = [element("span", {}, text)];
  if (action) parts.push(element("button", { type: "button", on: { click: () => { close(); action.run(); } } }, action.label));
  const box = element("div", { class: "toast" }, ...parts, iconButton("close", "Close", close));
  $("toast").replaceChildren(box);
  if (!action) setTimeout(() => box.remove(), 6000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // navigator.clipboard exists only for https and localhost.
    const area = element("textarea", { class: "unseen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// A copy button, which shows for a moment that it has copied.
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const focused = document.activeElement;
    await copy(text());
    focused?.focus();
    button.replaceChildren(icon("check"));
    say("Copied");
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

// Saves a text as a file on the user's disk.
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Ends the current task, so that the page stays responsive.
export const pause = () => new Promise((resume) => setTimeout(resume, 0));

export const number = (value) => value.toLocaleString("en");
