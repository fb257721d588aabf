// Elements, and text in them. What peers say is only ever set as text: there is no innerHTML here.

/** An element; `attributes` may hold `class`, `text`, `on` (listeners) and attributes by name. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "on") Object.entries(value).forEach((it) => node.addEventListener(...it));
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with that id; they are all in the page from its start. */
export const at = (id) => document.getElementById(id);

/** Set text, and leave the page alone where nothing changes. */
export function setText(node, text) {
  if (node.firstChild?.nodeType === Node.TEXT_NODE && node.childNodes.length === 1) {
    if (node.firstChild.data !== text) node.firstChild.data = text;
  } else if (node.textContent !== text || node.childElementCount) node.textContent = text;
}

/** Set or remove an attribute, likewise. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function setClass(node, name, on) {
  if (node.classList.contains(name) !== Boolean(on)) node.classList.toggle(name, Boolean(on));
}

// what turns text around, hides in it or breaks its line: shown, so that no name feigns another
const TRICKS = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const LONGEST = 64;

/** A peer's own words, safe to stand between ours. */
export function words(text) {
  const shown = String(text ?? "").replace(TRICKS, "\ufffd");
  return shown.length > LONGEST * 5 ? `${shown.slice(0, LONGEST * 5)}…` : shown;
}

/** The name to show for a peer. */
export function nameOf(peer) {
  const name = words(peer.name).trim();
  if (!name) return `peer ${tailOf(peer.peer_id)}`;
  return name.length > LONGEST ? `${name.slice(0, LONGEST)}…` : name;
}

/** The end of a peer id, which tells peers of one name apart. */
export const tailOf = (peerId) => `…${peerId.slice(-6)}`;

/** Redraw a list, keeping the nodes whose key is known: `make(item)` once, `update(node, item)` always. */
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = known.get(key);
    if (node) known.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of known.values()) node.remove();
}
