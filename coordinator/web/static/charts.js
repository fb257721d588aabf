// What each plot shows, from a `Series`: traces, a sentence in words, and the legend's entries.

import { nameOf } from "./dom.js";
import { bytes, count, duration, loss, percent, short } from "./figures.js";

// Okabe and Ito's palette, which colour-blind readers tell apart, with shades for each background.
const PALETTES = {
  light: ["#0072b2", "#d55e00", "#008f68", "#b0548a", "#b88700"],
  dark: ["#5cb4ec", "#f0863c", "#3cc79b", "#e08fbd", "#e6c34a"],
};
const HATCHES = ["", "/", "x"]; // five colours plain, then hatched, so that ten differ without colour too
const GREY = { light: "#7c8590", dark: "#77828f" };

/** The colours of the theme in force. */
export function paletteOf(theme) {
  return { colours: PALETTES[theme], grey: GREY[theme] };
}

/** Unix seconds as Plotly takes a date: in the reader's own time, which it would show as UTC. */
function dates(times) {
  return times.map((at) => {
    const date = new Date(at * 1000);
    return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, -1);
  });
}

// names reach Plotly only here, and it reads tags and entities in them
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const newest = (values) => values.findLast((value) => value !== null && value !== undefined);

function losses(series, palette, { over }) {
  const axis = (points) => (over === "tokens" ? points.map((it) => it.tokens) : dates(points.map((it) => it.at)));
  const [blue, orange] = palette.colours;
  const line = (points, name, colour, dash, mode) => ({
    x: axis(points), y: points.map((it) => it.loss), name, mode, type: "scatter",
    line: { color: colour, width: dash === "solid" ? 2.5 : 1.5, dash },
    marker: { size: 5, symbol: "circle", maxdisplayed: 24 },
    hovertemplate: "%{y:.3f}",
  });
  const last = newest(series.validation);
  const trained = newest(series.training);
  return {
    traces: [
      line(series.training, "training", orange, "dot", "lines"),
      line(series.validation, "validation", blue, "solid", "lines+markers"),
    ],
    x: over === "tokens" ? "number" : "date",
    y: { title: "nats per token", logarithmic: steps([...series.training, ...series.validation]) },
    empty: !series.validation.length && !series.training.length,
    words: last
      ? `Validation ${loss(last.loss)}, from ${loss(series.validation[0].loss)}${trained ? `; training ${loss(trained.loss)}` : ""}.`
      : trained ? `Training ${loss(trained.loss)}; not validated yet.` : "Not measured yet.",
    legend: [
      { name: "validation", colour: blue, dash: "solid", marker: true },
      { name: "training", colour: orange, dash: "dot" },
    ],
  };
}

/** Round values for a logarithmic axis, close enough together to read between them. */
function steps(points) {
  const values = points.map((it) => it.loss).filter((it) => it > 0);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const fine = high / low < 3 ? [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const all = [-2, -1, 0, 1, 2, 3].flatMap((power) => fine.map((it) => Number((it * 10 ** power).toPrecision(3))));
  return all.filter((it) => it >= low * 0.9 && it <= high * 1.1);
}

function speeds(series, palette) {
  const x = dates(series.at);
  const named = series.tokens_per_second.filter((it) => it.peer_id);
  const rest = series.tokens_per_second.filter((it) => !it.peer_id);
  const ink = (index) => palette.colours[index % palette.colours.length];
  const hatch = (index) => HATCHES[Math.floor(index / palette.colours.length) % HATCHES.length];
  const area = (peer, name, colour, shape) => ({
    x, y: peer.values, name: plain(name), type: "scatter", mode: "lines", stackgroup: "speed",
    line: { width: 1, color: colour, shape: "linear" },
    fillcolor: `${colour}${shape ? "55" : peer.peer_id ? "b0" : "40"}`,
    fillpattern: shape ? { shape, fgcolor: colour, bgcolor: `${colour}40`, size: 6, solidity: 0.35 } : undefined,
    hovertemplate: "%{y:.3s}",
  });
  const total = sum(series.tokens_per_second.map((it) => newest(it.values)));
  const fast = sum(named.map((it) => newest(it.values)));
  return {
    // stacked from below: the rest, then the slowest of the ten
    traces: [
      ...rest.map((it) => area(it, "the others", palette.grey, "")),
      ...named.map((it, index) => area(it, nameOf(it), ink(index), hatch(index))).reverse(),
    ],
    x: "date",
    y: { title: "tokens/s", zero: true },
    empty: !series.at.length,
    words: series.at.length
      ? `${short(total)} tokens/s${named.length && rest.length ? `, ${percent(fast / (total || 1), 0)} of it by the ${named.length} fastest` : ""}.`
      : "No peer has told its speed yet.",
    legend: [
      ...named.map((it, index) => ({ name: nameOf(it), peer: it.peer_id, colour: ink(index), area: true, hatch: hatch(index) })),
      ...rest.map(() => ({ name: "the others", colour: palette.grey, area: true, hatch: "" })),
    ],
  };
}

function live(series, palette) {
  const colour = palette.colours[2];
  return {
    traces: [{
      x: dates(series.at), y: series.peers_live, name: "peers", type: "scatter", mode: "lines",
      line: { color: colour, width: 2, shape: "hv" }, fill: "tozeroy", fillcolor: `${colour}22`, hovertemplate: "%{y:.0f}",
    }],
    x: "date",
    y: { zero: true },
    empty: !series.at.length,
    words: series.at.length ? `${count(newest(series.peers_live))} now, ${count(Math.max(...series.peers_live))} at most.` : "Nobody yet.",
  };
}

function durations(series, palette) {
  const { at, computing_seconds: computing, exchange_seconds: exchange } = series.rounds;
  const [blue, orange] = palette.colours;
  const area = (y, name, colour, shape) => ({
    x: dates(at), y, name, type: "scatter", mode: "lines", stackgroup: "round",
    line: { color: colour, width: 1.5, dash: shape ? "dot" : "solid" }, fillcolor: `${colour}66`,
    fillpattern: shape ? { shape, fgcolor: colour, bgcolor: `${colour}22`, size: 6, solidity: 0.3 } : undefined,
    hovertemplate: "%{y:.1f} s",
  });
  const computed = newest(computing) ?? null;
  const exchanged = newest(exchange) ?? null;
  const whole = (computed ?? 0) + (exchanged ?? 0);
  return {
    traces: [area(computing, "computing", blue, ""), area(exchange, "exchanging", orange, "/")],
    x: "date",
    y: { title: "seconds", zero: true },
    empty: !at.length,
    words: exchanged === null
      ? "No round yet."
      : `${duration(whole)} a round${computed === null ? "" : `, ${percent(exchanged / (whole || 1), 0)} of it exchanging`}.`,
    legend: [
      { name: "computing", colour: blue, area: true, hatch: "" },
      { name: "exchanging", colour: orange, area: true, hatch: "/" },
    ],
  };
}

function traffic(series, palette) {
  const { at, bytes_sent: sent } = series.rounds;
  const colour = palette.colours[3];
  return {
    traces: [{
      x: dates(at), y: sent, name: "sent", type: "scatter", mode: "lines",
      line: { color: colour, width: 2 }, fill: "tozeroy", fillcolor: `${colour}22`, hovertemplate: "%{y:.3s}B",
    }],
    x: "date",
    y: { title: "bytes", zero: true, suffix: "B" },
    empty: !at.length,
    words: at.length ? `${bytes(newest(sent))} in the last round, by all members together.` : "No round yet.",
  };
}

function voids(series, palette) {
  const { at, void: failed } = series.rounds;
  const colour = palette.colours[1];
  const total = sum(failed);
  return {
    traces: [{
      x: dates(at), y: failed, name: "void", type: "bar", marker: { color: colour, line: { width: 0 } }, hovertemplate: "%{y:.0f}",
    }],
    x: "date",
    y: { title: "attempts", zero: true, least: 2 },
    empty: !at.length,
    words: total ? `${count(total)} void in the time shown; their work went into the next round.` : "None in the time shown.",
  };
}

/** All plots in the page's order; `figure` names the provenance. */
export const CHARTS = [
  { key: "loss", title: "Loss", figure: "loss", size: "large", draw: losses },
  { key: "speed", title: "Speed, by peer", figure: "tokens_per_second", size: "large", draw: speeds },
  { key: "live", title: "Peers live", figure: "peers_live", size: "small", draw: live },
  { key: "duration", title: "Time of a round", figure: "exchange_seconds", size: "small", draw: durations },
  { key: "bytes", title: "Bytes sent in a round", figure: "bytes_sent", size: "small", draw: traffic },
  { key: "void", title: "Void rounds", figure: "rounds_void", size: "small", draw: voids },
];
