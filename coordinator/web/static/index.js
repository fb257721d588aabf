// The list of runs, asked for every few seconds: few look at it for long.

import { ask, runPath } from "./api.js";
import { every } from "./clock.js";
import { heardNow, onState, whenAsked } from "./connection.js";
import { at, element, keyed, setAttribute, setText, words } from "./dom.js";
import { percent, plural, short } from "./figures.js";
import { conditionOf } from "./headline.js";

const REFRESH_SECONDS = 3;

async function refresh() {
  try {
    show(await ask("/runs"));
    heardNow();
    onState("live");
  } catch {
    onState("lost", performance.now() + REFRESH_SECONDS * 1000);
  }
}

function show(runs) {
  keyed(at("runs"), runs, (run) => run.run_id, make, fill);
  at("no-runs").hidden = runs.length > 0;
}

function make(run) {
  return element(
    "li", {},
    element("a", { class: "panel", href: runPath(run.run_id) },
      element("h2", { text: run.run_id }),
      element("p", { class: "state-word" }),
      element("p", { class: "muted", text: words(run.description) }),
      element("div", { class: "meter", role: "progressbar", "aria-label": "Tokens towards the target", "aria-valuemin": "0", "aria-valuemax": "100" }, element("span")),
      element("p", { class: "small muted" })),
  );
}

function fill(node, run) {
  const [, state, , meter, told] = node.firstElementChild.children;
  const [glyph, tone, word] = stateOf(run);
  setText(state, `${glyph} ${word}`);
  setAttribute(state, "class", `state-word ${tone}`);
  const progress = Math.min(1, run.tokens / (run.target_tokens || 1));
  setAttribute(meter, "aria-valuenow", Math.round(progress * 100));
  meter.firstElementChild.style.transform = `scaleX(${progress})`;
  setText(told, `${percent(progress)} of ${short(run.target_tokens)} tokens · ${plural(run.peers_live, "peer")} live · ${plural(run.round, "round")}`);
}

/** An open run is training if somebody is there. */
function stateOf(run) {
  if (run.state !== "open") return conditionOf(run.state);
  return conditionOf(run.peers_live ? "training" : "waiting");
}

whenAsked(refresh);
every(REFRESH_SECONDS, refresh);
refresh();
