// Is the run alive, and how far is it? The first screen of its page.

import { serverNow } from "./clock.js";
import { age, setTitle } from "./connection.js";
import { at, element, setAttribute, setClass, setText, words } from "./dom.js";
import { ago, bytes, count, expected, loss, moments, percent, plural, rough, short, spoken } from "./figures.js";

const CONDITIONS = {
  training: ["▶", "good", "Training"],
  waiting: ["…", "warn", "Waiting"],
  stalled: ["!", "bad", "Stalled"],
  diverged: ["≠", "bad", "Diverged"],
  paused: ["‖", "calm", "Paused"],
  finishing: ["◔", "good", "Finishing"],
  finished: ["✓", "good", "Finished"],
  draft: ["○", "calm", "Draft, not open yet"],
};
const SILENT = 60; // seconds after which a speed is old
const ROUNDING = 10;

/** Glyph, tone and word of a condition; one that is new to this page is shown as it is called. */
export const conditionOf = (name) => CONDITIONS[name] ?? ["·", "calm", words(name)];

let first = true;

/** Show an overview. */
export function showHeadline(run) {
  if (first) showOnce(run);
  first = false;
  showState(run);
  showDistance(run);
  showFigures(run);
}

function showOnce(run) {
  setText(at("title"), run.run_id);
  setText(at("about"), words(run.description));
  setText(
    at("identity"),
    `Spec ${run.spec_hash.slice(0, 16)}…, signed by its owner ${run.owner.slice(0, 16)}…`,
  );
  at("identity").title = `spec ${run.spec_hash}, owner ${run.owner}`;
  at("copy").addEventListener("click", copyCommand);
}

function showState(run) {
  const [glyph, tone, word] = conditionOf(run.condition);
  setAttribute(at("state"), "data-tone", tone);
  setText(at("glyph"), glyph);
  setText(at("condition"), word);
  setText(at("reason"), words(run.reason));
  setTitle(`${glyph} ${percent(run.progress, 0)} ${run.run_id} · Murmuration`);
  const size = run.parameters === null ? "" : ` with ${spoken(run.parameters)} parameters`;
  const doors = run.invite_only ? "by invitation" : "open to all";
  setText(at("model"), `${run.model}${size} · begun ${ago(run.now - run.created_at)} · ${doors}`);
  at("model").title = `begun ${moments(run.created_at)}`;
  setText(
    at("join-text"),
    run.state === "finished"
      ? "This run has reached its end and takes no more work."
      : run.invite_only
        ? "This run is by invitation. With the link that its owner gave you, type:"
        : "Anybody can. Install Murmuration, then type this; Ctrl-C leaves within seconds.",
  );
  showCommand(at("join-command"), run.invite_only ? "peer join LINK" : run.join_command);
  at("join-command").parentElement.hidden = run.state === "finished";
}

/** A command that is broken between its words only, and copied as it is. */
function showCommand(node, command) {
  if (node.textContent === command) return;
  node.replaceChildren(
    ...command.split(" ").flatMap((word, index) => [index ? " " : "", element("span", { text: word })]),
  );
}

function showDistance(run) {
  setText(at("percent"), percent(run.progress));
  const done = run.progress >= 1;
  const left = run.seconds_left;
  setText(at("left"), done ? "target reached" : left === null ? "" : `about ${rough(left)} left`);
  setText(at("until"), done || left === null ? "" : expected(serverNow() + left, serverNow()));
  setText(at("tokens"), `${short(run.tokens)} of ${short(run.target_tokens)} tokens`);
  at("tokens").title = `${count(run.tokens)} of ${count(run.target_tokens)}`;
  const meter = at("meter");
  const share = Math.min(1, Math.max(0, run.progress));
  setAttribute(meter, "aria-valuenow", Math.round(share * 100 * ROUNDING) / ROUNDING);
  setAttribute(meter, "aria-valuetext", `${percent(run.progress)}, ${at("tokens").textContent}`);
  meter.firstElementChild.style.transform = `scaleX(${share})`;
}

function showFigures(run) {
  setText(at("speed"), short(run.tokens_per_second));
  const silent = run.report_seconds_ago;
  note("speed-note", silent === null ? "no peer was heard yet" : "heard ", silent, run.now);
  setClass(at("speed"), "stale", silent !== null && silent > SILENT);
  setText(at("live"), count(run.peers_live));
  setText(at("live-note"), `${count(run.peers_ever)} ever took part`);
  setText(at("validation"), loss(run.validation_loss));
  const from = run.first_validation_loss === null ? "" : `from ${loss(run.first_validation_loss)}, `;
  const measured = run.validation_seconds_ago;
  note(
    "validation-note",
    run.validation_loss === null ? "not measured yet" : measured === null ? from.replace(", ", "") : from,
    run.validation_loss === null ? null : measured,
    run.now,
  );
  setText(at("round"), count(run.rounds_committed));
  const agree = run.digests_agree ? "" : "≠ digests differ, ";
  const last = run.last_round_seconds_ago;
  note("round-note", `${agree}${count(run.rounds_void)} void${last === null ? "" : ", last "}`, last, run.now);
  setClass(at("round-note"), "bad", !run.digests_agree);
  setText(at("traffic"), bytes(run.bytes_sent_per_round || null));
  setText(at("traffic-note"), "median of its members");
  setText(at("facts"), textRead(run));
}

/** A note under a figure that ends with the figure's age. */
function note(id, text, seconds, now) {
  const node = at(id);
  if (!node.firstElementChild) node.replaceChildren(element("span"), element("span"));
  setText(node.firstElementChild, text);
  const aged = node.lastElementChild;
  age(aged, seconds === null ? null : now - seconds);
  if (seconds === null) setText(aged, "");
}

function textRead(run) {
  if (run.text_seen_once === null) return "";
  const passes = run.passes ? `read ${plural(run.passes, "time")}, and ` : "";
  const again = run.text_seen_again ? `, ${percent(run.text_seen_again)} of it more than once` : "";
  return `Training text: ${passes}${percent(run.text_seen_once)} read${again}`;
}

async function copyCommand() {
  const button = at("copy");
  try {
    await navigator.clipboard.writeText(at("join-command").textContent);
    setText(button, "Copied");
  } catch {
    // pages without TLS may not write there: the reader's own copying works on what is selected
    getSelection().selectAllChildren(at("join-command"));
    setText(button, "Selected");
  }
  setTimeout(() => setText(button, "Copy"), 2000);
}
