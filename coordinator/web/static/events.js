// What happened to the run, the newest first.

import { ask, peerPath, RUN_ID } from "./api.js";
import { age } from "./connection.js";
import { at, element, nameOf, words } from "./dom.js";
import { count } from "./figures.js";

const PAGE = matchMedia("(max-width: 46rem)").matches ? 10 : 20;
const SIGNS = {
  "run state": ["◆", ""],
  joined: ["+", "good"],
  back: ["+", "good"],
  left: ["−", "muted"],
  lost: ["?", "warn"],
  banned: ["⊘", "bad"],
  unbanned: ["○", "good"],
  "round void": ["✕", "warn"],
  diverged: ["≠", "bad"],
  "divergence healed": ["=", "good"],
  stalled: ["!", "bad"],
  "moving again": ["▶", "good"],
  "all peers gone": ["!", "bad"],
  "target reached": ["✓", "good"],
};

export function startEvents(path) {
  const list = at("timeline");
  let older = null;
  let loaded = false; // the stream may tell of an event before the first page is here
  let newest = 0;

  const page = async (before) => {
    const answer = await ask(`${path}/events`, { before, limit: PAGE }).catch(() => null);
    if (!answer) return; // the stream tells of it
    if (before === undefined) {
      const fresh = answer.rows.filter((event) => event.number > newest);
      if (loaded && fresh.length < answer.rows.length) {
        fresh.reverse().forEach(add);
        return;
      }
      list.replaceChildren();
    }
    loaded = true;
    older = answer.older;
    list.append(...answer.rows.map(lineOf));
    newest = Math.max(newest, ...answer.rows.map((event) => event.number));
    at("more-events").hidden = older === null;
    at("no-events").hidden = list.childElementCount > 0;
  };

  const add = (event) => {
    if (event.number <= newest) return;
    newest = event.number;
    at("no-events").hidden = true;
    list.prepend(lineOf(event));
  };

  at("more-events").addEventListener("click", () => page(older));
  return { refresh: () => page(undefined), add };
}

function lineOf(event) {
  const [sign, tone] = SIGNS[event.kind] ?? ["·", ""];
  const time = element("time", { datetime: new Date(event.at * 1000).toISOString() });
  age(time, event.at);
  const text = element("p", {}, element("span", { class: "kind", text: words(event.kind) }));
  if (event.round !== null && event.round !== undefined) text.append(` · round ${count(event.round)}`);
  if (event.peer_id)
    text.append(" · ", element("a", { href: peerPath(RUN_ID, event.peer_id) }, element("bdi", { text: nameOf(event) })));
  const told = words(event.text);
  const name = event.peer_id ? nameOf(event) : "";
  // "carla is lost: …" goes on after the link that names her
  const rest = name && told.startsWith(`${name} `) ? told.slice(name.length) : told && ` · ${told}`;
  if (rest) text.append(element("span", { class: "muted", text: rest }));
  return element("li", {}, time, element("span", { class: `glyph ${tone}`.trim(), "aria-hidden": "true", text: sign }), text);
}
