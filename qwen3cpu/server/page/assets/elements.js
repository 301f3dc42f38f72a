// Makes elements from the server's rendering: texts, and lists [tag, attributes, child, ...] whose tags are known here.
// Nothing is read as HTML, and every attribute is checked. The page trusts the lists in this file, not the server's.

import { copyButton, element } from "./dom.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const TAGS = new Set(
  "a blockquote br code del em h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul".split(" "),
);
const MATH_TAGS = new Set(
  ("math merror mfenced mfrac mi mlabeledtr mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace " +
    "msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none").split(" "),
);
const MATH_ATTRIBUTES = new Set(
  ("accent accentunder align columnalign columnlines columnspacing columnspan depth display displaystyle fence form frame " +
    "height largeop linebreak linethickness lspace mathvariant maxsize minsize movablelimits rowlines rowspacing rspace " +
    "scriptlevel separator stretchy symmetric voffset width").split(" "),
);
const CLASSES = new Set(
  ("attribute builtin center comment deleted formula function inserted keyword number right string type").split(" "),
);
const SCHEMES = new Set(["http:", "https:", "mailto:"]);

export function make(node) {
  if (!Array.isArray(node)) return document.createTextNode(String(node));
  const [tag, attributes, ...children] = node;
  if (tag === "pre") return codeBox(attributes, children);
  if (tag === "table") {
    const table = element("table", {}, ...children.map(make));
    return element("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, table);
  }
  if (MATH_TAGS.has(tag)) return mathElement(tag, attributes, children);
  if (!TAGS.has(tag)) return element("span", {}, ...children.map(make));
  const made = element(tag, {}, ...children.map(make));
  if (CLASSES.has(attributes.class)) made.className = attributes.class;
  if (tag === "ol" && /^\d{1,9}$/.test(attributes.start ?? "")) made.start = Number(attributes.start);
  if (tag === "a") link(made, attributes.href);
  return made;
}

function link(made, address) {
  let url;
  try { url = new URL(address); } catch { return; }
  if (!SCHEMES.has(url.protocol)) return;
  made.href = url.href;
  made.rel = "noopener noreferrer";
  made.target = "_blank";
}

function mathElement(tag, attributes, children) {
  const made = document.createElementNS(MATHML, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (MATH_ATTRIBUTES.has(name)) made.setAttribute(name, String(value));
  }
  made.append(...children.map(make));
  return made;
}

function codeBox(attributes, children) {
  const code = element("code", {}, ...children.map(make));
  const language = String(attributes.language ?? "");
  const head = element("div", { class: "code-head" }, element("span", {}, language));
  head.append(copyButton("Copy code", () => code.textContent));
  const pre = element("pre", { tabindex: "0", role: "region", "aria-label": language ? `Code, ${language}` : "Code" }, code);
  return element("div", { class: "code" }, head, pre);
}

// The element that holds the children of a node.
function inside(made, tag) {
  if (tag === "pre") return made.querySelector("code");
  return tag === "table" ? made.firstChild : made;
}

function same(one, other) {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  if (one.length !== other.length || one[0] !== other[0] || !sameAttributes(one[1], other[1])) return false;
  for (let at = 2; at < one.length; at++) if (!same(one[at], other[at])) return false;
  return true;
}

function sameAttributes(one, other) {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}

// Changes the children of an element from one list of nodes to another. Nodes that are in both are not touched, so a
// selection in them stays.
export function patch(parent, before, after) {
  const shared = Math.min(before.length, after.length);
  for (let at = 0; at < shared; at++) {
    const [old, now] = [before[at], after[at]];
    if (same(old, now)) continue;
    const made = parent.childNodes[at];
    if (Array.isArray(old) && Array.isArray(now) && old[0] === now[0] && sameAttributes(old[1], now[1])) {
      patch(inside(made, now[0]), old.slice(2), now.slice(2));
    } else if (typeof old === "string" && typeof now === "string") {
      if (now.startsWith(old)) made.appendData(now.slice(old.length));
      else made.data = now;
    } else {
      parent.replaceChild(make(now), made);
    }
  }
  while (parent.childNodes.length > after.length) parent.lastChild.remove();
  if (after.length > shared) parent.append(...after.slice(shared).map(make));
}
