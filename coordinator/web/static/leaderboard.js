// Who has contributed most, of all time or in the last seven days.

import { ask, latest, peerPath, RUN_ID } from "./api.js";
import { watch } from "./clock.js";
import { at, element, keyed, nameOf, setAttribute, setClass, setText } from "./dom.js";
import { moments, percent, plural, short } from "./figures.js";
import { isMine, onMine } from "./me.js";

const SHOWN = 20;
const REFRESH_MS = 20_000;
const PERIODS = [["All time", "all"], ["This week", "week"]];

export function startLeaderboard(path) {
  let period = "all";
  let board = null;
  let asked = -Infinity;
  const fetch = latest(() => ask(`${path}/leaderboard`, { period }));

  const refresh = async () => {
    asked = performance.now();
    const answer = await fetch().catch(() => undefined); // as it was, while nobody answers
    if (answer) show((board = answer));
  };
  const near = watch(at("leaderboard"), refresh);
  const choices = at("period");
  for (const [text, value] of PERIODS)
    choices.append(element("button", {
      class: "button", type: "button", text, "aria-pressed": String(value === period),
      on: {
        click: (event) => {
          period = value;
          for (const it of choices.children) setAttribute(it, "aria-pressed", String(it === event.target));
          refresh();
        },
      },
    }));
  onMine(() => board && show(board));
  const due = () => near.near && performance.now() - asked > REFRESH_MS && refresh();
  return { refresh: () => near.near && refresh(), pulse: due, stale: () => {} };
}

function show(board) {
  const rows = board.rows.slice(0, SHOWN);
  const most = rows[0]?.tokens || 1;
  setText(
    at("period-note"),
    rows.length
      ? `By tokens that rounds have merged since ${moments(board.since)}.`
      : "No round has merged anything in this time.",
  );
  const list = at("places");
  list.style.gridTemplateRows = innerWidth > 736 ? `repeat(${Math.ceil(rows.length / 2)}, auto)` : "";
  keyed(list, rows, (row) => row.peer_id, make, (node, row) => fill(node, row, most));
}

function make() {
  return element(
    "li", {},
    element("span", { class: "place" }),
    element("a", { class: "name" }, element("bdi")),
    element("span", { class: "tokens" }),
    element("div", { class: "share", "aria-hidden": "true" }, element("span")),
  );
}

function fill(node, row, most) {
  const [place, link, tokens, bar] = node.children;
  setText(place, String(row.place));
  setAttribute(link, "href", peerPath(RUN_ID, row.peer_id));
  setText(link.firstElementChild, nameOf(row) + (isMine(row.peer_id) ? " ★" : ""));
  setText(tokens, short(row.tokens));
  setAttribute(tokens, "title", `${percent(row.share)} of all, in ${plural(row.rounds, "round")}`);
  bar.firstElementChild.style.transform = `scaleX(${(row.tokens / most).toFixed(3)})`;
  setClass(node, "mine", isMine(row.peer_id));
  setClass(node, "first", row.place === 1);
}
