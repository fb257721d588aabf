// Where each figure comes from: one peer's word, seen by the coordinator, or computed from others.

import { ask } from "./api.js";
import { element } from "./dom.js";

const SOURCES = {
  "self-reported": ["○", "self-reported: one peer's word about itself"],
  observed: ["●", "observed: the coordinator saw it, or several peers told the same"],
  derived: ["=", "derived: computed here from the other figures"],
};

const told = ask("/provenance").catch(() => ({})); // without it, figures are shown unmarked

/** Resolves when `markFigures` would not wait. */
export const sourcesKnown = told;

/** The mark of a source, for eyes and for readers. */
export function mark(source) {
  if (!(source in SOURCES)) return null;
  const [sign, text] = SOURCES[source];
  return element("span", { class: "source", role: "img", "aria-label": text, title: text, text: sign });
}

/**
 * Mark every element below `root` that names its figure in `data-figure`: a field of the views,
 * with its view where that matters ("RunOverview.tokens").
 */
export async function markFigures(root = document) {
  const sources = await told;
  for (const node of root.querySelectorAll("[data-figure]")) {
    if (node.querySelector(".source")) continue;
    const { figure } = node.dataset;
    const sign = mark(sources[figure] ?? sources[figure.split(".").at(-1)]);
    if (sign) node.append(sign);
  }
}

/** What the marks mean, once for a page. */
export function legend() {
  return Object.entries(SOURCES).map(([, [sign, text]]) =>
    element("li", {}, element("span", { class: "source", "aria-hidden": "true", text: sign }), text),
  );
}
