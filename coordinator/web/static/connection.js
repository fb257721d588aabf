// What a reader is told of the connection, and greying out what has become old.

import { every, hear, serverNow } from "./clock.js";
import { at, element, setClass, setText } from "./dom.js";
import { ago, moments, rough } from "./figures.js";

const GREY_AFTER = { live: 7, polling: 30, connecting: 7, lost: 7 }; // seconds without news

let state = "connecting";
let retryAt = 0;
let newest = null; // on performance.now()
let retry = () => {};
let title = document.title;

/** The page's title, for as long as the connection is there. */
export function setTitle(text) {
  title = text;
  showTitle();
}

/** News came from a coordinator that says it is `now` there. */
export function heardAt(now) {
  hear(now);
  heardNow();
}

/** News came that does not tell the time. */
export function heardNow() {
  newest = performance.now();
  const banner = at("banner");
  if (banner.dataset.refused) {
    delete banner.dataset.refused;
    banner.hidden = true;
  }
  show();
}

/** For `Live`'s `onState`: "polling" is a coordinator that answers and has no stream to spare. */
export function onState(told, at = 0) {
  // a try is not worth a word after the first
  state = told === "connecting" && ["lost", "polling"].includes(state) ? state : told;
  retryAt = at;
  show();
}

export function whenAsked(connect) {
  retry = connect;
}

/** One line instead of the page's content, such as an unknown run. */
export function refuse(line) {
  const banner = at("banner");
  banner.replaceChildren(element("p", { text: line }), element("a", { class: "button", href: "/", text: "All runs" }));
  banner.hidden = false;
  banner.dataset.refused = "yes";
}

function show() {
  const node = at("connection");
  const silent = newest === null ? Infinity : (performance.now() - newest) / 1000;
  node.dataset.state = state;
  setText(node, { live: "live", polling: "live, every few seconds", connecting: "connecting", lost: "connection lost" }[state]);
  setClass(document.documentElement, "is-stale", newest !== null && silent > GREY_AFTER[state]);
  showTitle();
  showBanner(silent);
}

function showTitle() {
  const shown = state === "lost" ? `⚠ lost · ${title}` : title;
  if (document.title !== shown) document.title = shown;
}

function showBanner(silent) {
  const banner = at("banner");
  if (banner.dataset.refused) return;
  if (state !== "lost") {
    banner.hidden = true;
    return;
  }
  if (banner.hidden) {
    banner.replaceChildren(
      element("p", {}, element("strong", { text: "The coordinator does not answer. " }), element("span", { id: "lost-why" })),
      element("button", { class: "button", type: "button", text: "Try now", on: { click: () => retry() } }),
    );
    banner.hidden = false;
  }
  // the rest of it changes each second, and is not read aloud each time
  const since = silent === Infinity ? "" : `Figures are as they were ${ago(silent)}. `;
  const next = retryAt ? `Next try in ${rough((retryAt - performance.now()) / 1000)}. ` : "Trying. ";
  const why = at("lost-why");
  why.setAttribute("aria-hidden", "true");
  setText(why, `${since}${next}Training goes on without it: peers average among themselves.`);
}

/** Let `node` tell how long ago `moment` was (unix seconds), and go on telling. */
export function age(node, moment) {
  if (moment === null || moment === undefined) {
    delete node.dataset.at;
    return;
  }
  node.dataset.at = moment;
  node.title = moments(moment);
  setText(node, ago(serverNow() - moment));
}

every(1, () => {
  const now = serverNow();
  for (const node of document.querySelectorAll("[data-at]")) setText(node, ago(now - node.dataset.at));
  if (state !== "live" || newest === null || performance.now() - newest > GREY_AFTER[state] * 1000) show();
});
