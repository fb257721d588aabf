// One row of the participants' table: what stands in each of its cells, and patching them in place.

import { peerPath, RUN_ID } from "./api.js";
import { element, nameOf, setAttribute, setClass, setText, tailOf, words } from "./dom.js";
import { ago, bandwidth, count, memory, percent, plural, rough, short } from "./figures.js";
import { isMine, toggleMine } from "./me.js";

/** A cell of two lines, the second in small print. */
function twoLines(cell) {
  cell.append(element("div", { class: "upper" }), element("div", { class: "lower" }));
}

function fillLines(cell, upper, lower, title = null) {
  setText(cell.firstElementChild, upper);
  setText(cell.lastElementChild, lower);
  setAttribute(cell.lastElementChild, "title", title);
}

function makeName(cell) {
  const star = element("button", {
    class: "star", type: "button", on: { click: () => toggleMine(star.dataset.peer) },
  });
  const block = element("div", {}, element("a", { class: "name" }, element("bdi")), element("div", { class: "lower" }));
  cell.append(element("div", { class: "named" }, star, block));
}

function fillName(cell, peer) {
  const [star, block] = cell.firstElementChild.children;
  const mine = isMine(peer.peer_id);
  const name = nameOf(peer);
  star.dataset.peer = peer.peer_id;
  setText(star, mine ? "★" : "☆");
  setAttribute(star, "aria-pressed", String(mine));
  setAttribute(star, "aria-label", `${name} is me`);
  setAttribute(star, "title", mine ? "This is me. Click to forget" : "Click if this is me");
  const link = block.firstElementChild;
  setAttribute(link, "href", peerPath(RUN_ID, peer.peer_id));
  setText(link.firstElementChild, name);
  setText(block.lastElementChild, `${tailOf(peer.peer_id)}${mine ? " · you" : ""}`);
  setAttribute(block.lastElementChild, "title", peer.peer_id);
}

/** What a peer is doing, in a glyph and a word. */
export function phaseOf(peer) {
  if (peer.banned) return ["⊘", "banned"];
  if (!peer.live) return ["○", peer.phase === "training" ? "silent" : words(peer.phase) || "gone"];
  return [{ training: "●", averaging: "◆", syncing: "↓" }[peer.phase] ?? "◌", words(peer.phase)];
}

function fillPhase(cell, peer) {
  const [glyph, word] = phaseOf(peer);
  const reason = words(peer.reason);
  fillLines(cell, `${glyph} ${word}`, reason, reason);
}

function makeTokens(cell) {
  twoLines(cell);
  cell.append(element("div", { class: "share", "aria-hidden": "true" }, element("span")));
}

/** How much of what it is credited with others told of. */
export function toldOf(peer) {
  if (!peer.tokens || peer.observed_tokens >= peer.tokens) return "others told of all";
  return `others told of ${percent(peer.observed_tokens / peer.tokens, 0)}`;
}

function fillTokens(cell, peer) {
  setText(cell.children[0], short(peer.tokens));
  setAttribute(cell, "title", `the sum of its receipts: ${count(peer.tokens)}, ${toldOf(peer)}`);
  setText(cell.children[1], percent(peer.share));
  // a bar of the whole is a hair for most: its length is the root of the share
  const width = `scaleX(${Math.sqrt(Math.min(1, peer.share)).toFixed(3)})`;
  const bar = cell.children[2].firstElementChild;
  if (bar.style.transform !== width) bar.style.transform = width;
}

function fillRounds(cell, peer) {
  fillLines(cell, count(peer.rounds), `at ${count(peer.round)}`, `has the state of round ${count(peer.round)}`);
}

function fillMissed(cell, peer) {
  const why = peer.rounds_missed ? words(peer.last_missed_reason) : "";
  fillLines(cell, peer.rounds_missed ? count(peer.rounds_missed) : "none", why, why && `the last one: ${why}`);
}

/** Processor or accelerator; the rest of the hardware. */
export function machineOf(peer) {
  const main = words(peer.accelerator || peer.processor) || "not told";
  const rest = [
    peer.cores ? plural(peer.cores, "core") : "",
    peer.memory_bytes ? memory(peer.memory_bytes) : "",
    words(peer.system),
  ];
  return [main, rest.filter(Boolean).join(" · ")];
}

function fillMachine(cell, peer) {
  const [main, rest] = machineOf(peer);
  fillLines(cell, main, rest, `${words(peer.processor)} ${rest}`.trim());
}

/** Up and down in one unit. */
export function linkOf(peer) {
  if (!peer.upload && !peer.download) return "speed not told";
  return `↑ ${bandwidth(peer.upload)} ↓ ${bandwidth(peer.download)}`;
}

function fillLink(cell, peer) {
  fillLines(cell, words(peer.reach) || "not told", linkOf(peer));
}

function fillSeen(cell, peer) {
  fillLines(cell, ago(peer.seen_seconds_ago), peer.live ? "" : "gone");
}

/**
 * The table's columns: `sort` is the API's name for it, if it can be sorted by; `figure` the name
 * of its provenance; `make` runs once for a cell, `fill` with each peer that it shows.
 */
export const COLUMNS = [
  { name: "name", title: "Participant", sort: "name", make: makeName, fill: fillName },
  { name: "phase", title: "Doing", sort: "phase", figure: "phase", make: twoLines, fill: fillPhase },
  { name: "tokens", title: "Tokens", sort: "tokens", figure: "Participant.tokens", number: true, make: makeTokens, fill: fillTokens },
  {
    name: "speed", title: "Tokens/s", sort: "tokens_per_second", figure: "tokens_per_second", number: true,
    make: twoLines, fill: (cell, peer) => fillLines(cell, peer.live ? short(peer.tokens_per_second) : "–", ""),
  },
  { name: "rounds", title: "Rounds", sort: "rounds", figure: "rounds", number: true, make: twoLines, fill: fillRounds },
  { name: "missed", title: "Missed", sort: "rounds_missed", figure: "rounds_missed", most: true, make: twoLines, fill: fillMissed },
  { name: "machine", title: "Machine", sort: "accelerator", figure: "hardware", make: twoLines, fill: fillMachine },
  { name: "link", title: "Link", sort: "upload", figure: "bandwidth", make: twoLines, fill: fillLink },
  { name: "version", title: "Version", sort: "version", figure: "version", make: twoLines, fill: (cell, peer) => fillLines(cell, words(peer.version) || "–", "") },
  { name: "seen", title: "Last seen", sort: "seen_seconds_ago", figure: "seen_seconds_ago", number: true, make: twoLines, fill: fillSeen },
];

/** Show `peer` in a row whose cells were made; only what differs touches the page. */
export function fillRow(row, peer) {
  row.dataset.peer = peer.peer_id;
  setClass(row, "mine", isMine(peer.peer_id));
  setClass(row, "gone", !peer.live);
  for (let i = 0; i < COLUMNS.length; i++) COLUMNS[i].fill(row.cells[i], peer);
}

/** In a few words: for the card of the reader's own machine. */
export function inWords(peer) {
  const [, word] = phaseOf(peer);
  const reason = words(peer.reason);
  const speed = peer.live ? ` at ${short(peer.tokens_per_second)} tokens/s` : "";
  return `${word}${speed}${reason ? `: ${reason}` : ""}, seen ${rough(peer.seen_seconds_ago)} ago`;
}
