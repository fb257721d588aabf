// The page of one participant: what it does, what it has given, and its receipts.

import { ask, PEER_ID, Refused, RUN_ID, runPath } from "./api.js";
import { every, serverNow } from "./clock.js";
import { age, heardNow, onState, refuse, setTitle, whenAsked } from "./connection.js";
import { at, element, nameOf, setAttribute, setText, words } from "./dom.js";
import { ago, count, loss, moments, percent, plural, short } from "./figures.js";
import { isMine, onMine, toggleMine } from "./me.js";
import { linkOf, machineOf, phaseOf, toldOf } from "./people.js";
import { legend, mark, markFigures, sourcesKnown } from "./provenance.js";

const REFRESH_SECONDS = 3;
const PAGE = 50;
const path = `/runs/${encodeURIComponent(RUN_ID)}/participants/${encodeURIComponent(PEER_ID)}`;
let rounds = null; // of the peer when the receipts were last asked for
let older = null;
let shown = new Set();

async function refresh() {
  try {
    show(await ask(path));
    heardNow();
    onState("live");
  } catch (error) {
    if (error instanceof Refused && error.status === 404) refuse(error.message);
    else onState("lost", performance.now() + REFRESH_SECONDS * 1000);
  }
}

function show(peer) {
  const name = nameOf(peer);
  const [glyph, word] = phaseOf(peer);
  setTitle(`${glyph} ${name} · ${RUN_ID} · Murmuration`);
  if (!at("title").firstElementChild) at("title").replaceChildren(element("bdi"));
  setText(at("title").firstElementChild, name);
  setText(at("peer-id"), peer.peer_id);
  setAttribute(at("state"), "data-tone", peer.banned ? "bad" : peer.live ? "good" : "calm");
  setText(at("glyph"), glyph);
  setText(at("condition").firstElementChild, word);
  setText(at("reason"), words(peer.reason));
  setText(at("tokens"), short(peer.tokens));
  setText(at("share"), `${percent(peer.share)} of all; ${toldOf(peer)}`);
  setText(at("speed"), peer.live ? short(peer.tokens_per_second) : "–");
  setText(at("loss"), peer.train_loss === null ? "" : `training loss ${loss(peer.train_loss)}`);
  setText(at("rounds"), count(peer.rounds));
  setText(at("at-round"), `has the state of round ${count(peer.round)}`);
  setText(at("missed"), count(peer.rounds_missed));
  setText(at("missed-why"), peer.rounds_missed ? words(peer.last_missed_reason) : "");
  setText(at("seen"), ago(peer.seen_seconds_ago));
  setText(at("joined"), peer.joined_at ? `joined ${ago(serverNow() - peer.joined_at)}` : "");
  showPairs(peer);
  if (rounds !== peer.rounds + peer.rounds_missed) {
    rounds = peer.rounds + peer.rounds_missed;
    receipts();
  }
}

function showPairs(peer) {
  const [machine, rest] = machineOf(peer);
  const processor = peer.accelerator && peer.processor ? `, ${words(peer.processor)}` : "";
  const pairs = [
    ["Machine", `${machine}${processor}${rest ? ` (${rest})` : ""}`, "hardware"],
    ["Bandwidth", linkOf(peer), "bandwidth"],
    ["Reached", words(peer.reach) || "not told", "reach"],
    ["Energy", peer.energy_joules ? `${(peer.energy_joules / 3.6e6).toPrecision(3)} kWh` : "not told", "energy_joules"],
    ["Version", words(peer.version) || "not told", "version"],
  ];
  const key = JSON.stringify(pairs);
  if (at("pairs").dataset.key === key) return;
  at("pairs").dataset.key = key;
  at("pairs").replaceChildren(
    ...pairs.map(([name, text, figure]) =>
      element("div", {}, element("dt", { text: name, "data-figure": figure }), element("dd", { text })),
    ),
  );
  markFigures(at("pairs"));
}

/** The newest page of receipts; those that are shown already stay. */
async function receipts(before) {
  const answer = await ask(`${path}/receipts`, { before, limit: PAGE }).catch(() => null);
  if (!answer) {
    if (before === undefined) rounds = null; // asked for again with the next figures
    return;
  }
  await sourcesKnown;
  const fresh = answer.rows.filter((row) => !shown.has(row.round));
  const rows = fresh.map(rowOf);
  fresh.forEach((row) => shown.add(row.round));
  if (before === undefined) at("receipts").prepend(...rows);
  else at("receipts").append(...rows);
  if (before !== undefined || older === null) older = answer.older;
  at("more").hidden = older === null;
  at("no-receipts").hidden = shown.size > 0;
  if (answer.kept_since !== null)
    at("kept").title = `Receipts from before ${moments(answer.kept_since)} are kept as sums.`;
}

function rowOf(receipt) {
  const when = element("time", { datetime: new Date(receipt.at * 1000).toISOString() });
  age(when, receipt.at);
  const others = receipt.witnesses ? ` ${plural(receipt.witnesses, "witness", "witnesses")}` : "";
  return element(
    "tr", {},
    element("td", {}, element("strong", { text: count(receipt.round) })),
    element("td", { class: "muted" }, when),
    element("td", {}, element("span", { class: receipt.included ? "good" : "warn", text: receipt.included ? "✓ merged" : "✕ not merged" }),
      receipt.reason ? element("div", { class: "muted small", text: words(receipt.reason) }) : null),
    element("td", { class: "number", text: count(receipt.claimed_tokens) }),
    element("td", { class: "number", text: count(receipt.merged_tokens) }),
    element("td", { class: "small muted" }, receipt.observed ? "others, by the manifest" : "only the peer itself", mark(receipt.observed ? "observed" : "self-reported"), others),
  );
}

function showMine() {
  setText(at("me"), isMine(PEER_ID) ? "★ This is me" : "☆ This is me");
  setAttribute(at("me"), "aria-pressed", String(isMine(PEER_ID)));
}

at("up").href = at("crumb").href = runPath(RUN_ID);
at("crumb").textContent = RUN_ID;
at("legend").replaceChildren(...legend());
at("more").addEventListener("click", () => receipts(older));
at("me").addEventListener("click", () => toggleMine(PEER_ID));
onMine(showMine);
showMine();
markFigures();
whenAsked(refresh);
every(REFRESH_SECONDS, refresh);
refresh();
