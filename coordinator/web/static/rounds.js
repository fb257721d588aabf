// Rounds as rows: how each ended, who was in it, and why somebody was left out.

import { ask, peerPath, RUN_ID } from "./api.js";
import { age } from "./connection.js";
import { at, element, nameOf, setText, words } from "./dom.js";
import { bytes, count, duration, short } from "./figures.js";
import { isMine } from "./me.js";

const PAGE = matchMedia("(max-width: 46rem)").matches ? 6 : 12;
const COLUMNS = 7;

export function startRounds(path) {
  const body = at("round-rows");
  let older = null;
  let loaded = false; // the stream may tell of a round before the first page is here
  let known = new Map(); // by key: its two rows

  const page = async (before) => {
    const answer = await ask(`${path}/rounds`, { before, limit: PAGE }).catch(() => null);
    if (!answer) return; // the stream tells of it
    if (before === undefined) {
      // what was opened stays open if it is still there
      const fresh = answer.rows.filter((round) => !known.has(round.key));
      if (loaded && fresh.length < answer.rows.length) {
        fresh.reverse().forEach((round) => add(round));
        return;
      }
      body.replaceChildren();
      known = new Map();
    }
    loaded = true;
    older = answer.older;
    answer.rows.forEach((round) => put(round, (rows) => body.append(...rows)));
    at("more-rounds").hidden = older === null;
    at("no-rounds").hidden = known.size > 0;
  };

  const put = (round, place) => {
    const rows = rowOf(round);
    known.set(round.key, rows);
    place(rows);
  };

  const add = (round) => {
    at("no-rounds").hidden = true;
    const old = known.get(round.key);
    const place = old ? (rows) => old[0].before(...rows) : (rows) => body.prepend(...rows);
    put(round, place);
    if (!old) return;
    // more is known of it than before: it stays open if it was
    if (!old[1].hidden) known.get(round.key)[0].querySelector(".toggle").click();
    old.forEach((row) => row.remove());
  };

  at("more-rounds").addEventListener("click", () => page(older));
  return { refresh: () => page(undefined), add };
}

function rowOf(round) {
  const out = round.members.filter((member) => !member.included);
  const merged = round.members_count - out.length;
  const toggle = element("button", { class: "toggle", type: "button", "aria-expanded": "false", text: count(round.round) });
  const row = element(
    "tr", {},
    element("td", {}, toggle),
    element("td", { class: "muted" }, aged(round.at)),
    element("td", {}, ...ending(round)),
    element("td", { text: round.committed ? `${count(merged)} of ${count(round.members_count)}` : `0 of ${count(round.members_count)}` }),
    element("td", {}, ...spans(round)),
    element("td", { class: "number", text: bytes(round.bytes_sent || null) }),
    element("td", { class: "number", text: short(round.tokens) }),
  );
  const detail = element("tr", { hidden: true }, element("td", { colspan: COLUMNS }));
  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(open));
    row.classList.toggle("opened", open);
    detail.hidden = !open;
    if (open && !detail.firstElementChild.firstElementChild) detail.firstElementChild.append(...members(round));
  });
  return [row, detail];
}

function aged(moment) {
  const time = element("time", { datetime: new Date(moment * 1000).toISOString() });
  age(time, moment);
  return time;
}

function ending(round) {
  const nodes = round.committed
    ? [element("span", { class: "good", text: "✓ committed" })]
    : [element("span", { class: "warn", text: "✕ void" })];
  if (round.reason) nodes.push(element("div", { class: "muted small", text: words(round.reason) }));
  if (round.digests > 1)
    nodes.push(element("div", { class: "bad small", text: `≠ ${round.digests} digests were told of it` }));
  return nodes;
}

function spans(round) {
  const { computing_seconds: computing, exchange_seconds: exchange } = round;
  const text = computing === null ? duration(exchange) : `${duration(computing)} + ${duration(exchange)}`;
  const bar = element("div", { class: "split", "aria-hidden": "true" }, element("span"), element("span"));
  const whole = (computing ?? 0) + exchange || 1;
  bar.firstElementChild.style.flexGrow = (computing ?? 0) / whole;
  bar.lastElementChild.style.flexGrow = exchange / whole;
  return [element("div", { text }), bar];
}

function members(round) {
  const shown = [...round.members].sort((a, b) => a.included - b.included || b.tokens - a.tokens);
  const unlisted = round.members_count - shown.length;
  const list = element("ul", { class: "members", "aria-label": `Members of round ${round.round}` });
  for (const member of shown)
    list.append(
      element(
        "li", { class: `${member.included ? "" : "out"} ${isMine(member.peer_id) ? "mine" : ""}`.trim() || null },
        element("span", { class: member.included ? "good" : "warn", text: member.included ? "✓" : "✕" }),
        element("a", { href: peerPath(RUN_ID, member.peer_id) }, element("bdi", { text: nameOf(member) })),
        element("span", { class: "muted", text: words(member.reason) }),
        element("span", { class: "tokens", text: member.tokens ? short(member.tokens) : "" }),
      ),
    );
  const more = element("p", { class: "muted small" });
  if (unlisted > 0) setText(more, `and ${count(unlisted)} more members`);
  if (!shown.length && unlisted <= 0) setText(more, "Nobody has told who was in it.");
  return more.textContent ? [list, more] : [list];
}
