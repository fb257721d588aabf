// The plots: Plotly comes when they are near the screen, and redraws only what is on it.

import { ask, latest, peerPath, RUN_ID } from "./api.js";
import { serverNow, watch } from "./clock.js";
import { CHARTS, paletteOf } from "./charts.js";
import { at, element, setAttribute, setText } from "./dom.js";
import { swatch } from "./swatch.js";
import { markFigures } from "./provenance.js";

const POINTS = 300;
const REFRESH_MS = 20_000;
const LEAST_MS = 5_000; // between two questions, however fast rounds are
const BURST_MS = 1_000; // the page comes into view, and its connection comes, at once
const DAY = 86_400;
const SPANS = [["Hour", 3600], ["Day", DAY], ["Week", 7 * DAY], ["All", null]];
const OVERS = [["Tokens", "tokens"], ["Time", "time"]];

export function startPlots(path) {
  return new Plots(path).part;
}

class Plots {
  #span = null;
  #over = "tokens";
  #series = null;
  #asked = -Infinity;
  #asking = undefined;
  #loading = null;
  #range = null;
  #charts;
  #fetch;

  constructor(path) {
    this.#fetch = latest(() =>
      ask(`${path}/series`, { points: POINTS, since: this.#span === null ? null : Math.floor(serverNow() - this.#span) }),
    );
    at("spans").append(...choices(SPANS, null, (span) => {
      this.#span = span;
      this.#unzoom();
      this.#refresh();
    }));
    at("unzoom").addEventListener("click", () => this.#unzoom());
    this.#charts = CHARTS.map((chart) => this.#figure(chart));
    at("plots").append(...this.#charts.map((it) => it.node));
    markFigures(at("plots"));
    const near = watch(at("plots"), () => this.#refresh(), "400px");
    const due = (wait) => near.near && performance.now() - this.#asked > wait && this.#refresh();
    this.part = {
      refresh: () => near.near && this.#refresh(),
      pulse: () => due(REFRESH_MS),
      stale: () => due(LEAST_MS),
    };
    document.addEventListener("themechange", () => this.#redraw());
  }

  #figure(chart) {
    const plot = element("div", { class: "plot", role: "img" });
    const told = element("p", { class: "told" });
    const keys = element("ul", { class: "keys" });
    const heading = element("h3", { text: chart.title, "data-figure": chart.figure });
    const node = element(
      "figure", { class: chart.size, id: `plot-${chart.key}` },
      element("figcaption", {}, heading, told), plot, keys,
    );
    if (chart.key === "loss") {
      const over = element("div", { class: "choices", role: "group", "aria-label": "Loss over" });
      over.append(...choices(OVERS, this.#over, (value) => {
        this.#over = value;
        this.#redraw();
      }));
      node.firstElementChild.append(over);
    }
    const state = { ...chart, node, plot, told, keys, due: false };
    state.seen = watch(node, () => state.due && this.#draw(state), "200px");
    return state;
  }

  async #refresh() {
    if (performance.now() - this.#asked < BURST_MS && this.#asking === this.#span) return;
    this.#asked = performance.now();
    this.#asking = this.#span;
    this.#loading ??= loadPlotly();
    try {
      const [series] = await Promise.all([this.#fetch(), this.#loading]);
      if (!series) return;
      this.#series = series;
      this.#redraw();
    } catch {
      // what is drawn stays, and the stream tells of a coordinator that is away; a library that did
      // not come is asked for again
      if (!window.Plotly) this.#loading = null;
    }
  }

  #redraw() {
    for (const chart of this.#charts) {
      chart.due = true;
      if (chart.seen.near) this.#draw(chart);
    }
  }

  #draw(chart) {
    if (!this.#series || !window.Plotly) return;
    chart.due = false;
    const theme = inForce();
    const shown = chart.draw(this.#series, paletteOf(theme), { over: this.#over });
    setText(chart.told, shown.words);
    setAttribute(chart.plot, "aria-label", `${chart.title}. ${shown.words}`);
    chart.node.classList.toggle("nothing", Boolean(shown.empty));
    showKeys(chart.keys, shown.legend ?? []);
    if (shown.empty) return;
    const fresh = !chart.plot.classList.contains("js-plotly-plot");
    window.Plotly.react(chart.plot, shown.traces, layoutOf(shown, chart.size, this.#range), CONFIG);
    if (fresh) chart.plot.on("plotly_relayout", (change) => this.#zoomed(chart, change));
  }

  #zoomed(chart, change) {
    if (change["xaxis.autorange"]) this.#unzoom();
    const from = change["xaxis.range[0]"];
    if (from === undefined) return;
    at("unzoom").hidden = false;
    const range = [from, change["xaxis.range[1]"]];
    if (chart.key === "loss" && this.#over === "tokens") {
      chart.plot.layout.uirevision = "zoomed";
      return;
    }
    this.#range = range; // of time: all plots over time show the same
    this.#redraw();
  }

  #unzoom() {
    this.#range = null;
    at("unzoom").hidden = true;
    for (const { plot } of this.#charts) if (plot.layout) plot.layout.xaxis.autorange = true;
    this.#redraw();
  }
}

function choices(values, chosen, choose) {
  const buttons = values.map(([text, value]) =>
    element("button", {
      class: "button", type: "button", text, "aria-pressed": String(value === chosen),
      on: {
        click: () => {
          buttons.forEach((it) => setAttribute(it, "aria-pressed", String(it.textContent === text)));
          choose(value);
        },
      },
    }),
  );
  return buttons;
}

function loadPlotly() {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: document.querySelector("meta[name=plots]").content });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("the plots' library did not come")));
    document.head.append(script);
  });
}

function inForce() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

const TOUCH = matchMedia("(pointer: coarse)").matches;
const TIMES = [
  { dtickrange: [null, 60_000], value: "%H:%M:%S" },
  { dtickrange: [60_000, DAY * 1000], value: "%H:%M\n%-d %b" },
  { dtickrange: [DAY * 1000, "M1"], value: "%-d %b" },
  { dtickrange: ["M1", null], value: "%b %Y" },
];
const CONFIG = {
  displayModeBar: false,
  displaylogo: false,
  showTips: false,
  responsive: true,
  scrollZoom: false,
  doubleClick: "reset",
};

function layoutOf(shown, size, range) {
  const style = getComputedStyle(at("plots"));
  const colour = (name) => resolved(style.getPropertyValue(name));
  const [ink, muted, line, surface] = ["--ink", "--muted", "--line", "--surface"].map(colour);
  const axis = { gridcolor: line, zeroline: false, linecolor: line, tickcolor: line, tickfont: { color: muted, size: 11 }, fixedrange: TOUCH };
  const x = { ...axis, type: shown.x === "date" ? "date" : "linear", showgrid: false, nticks: innerWidth < 600 ? 5 : 8, exponentformat: "B", hoverformat: shown.x === "date" ? "%-d %b %H:%M" : ".3s", tickformatstops: shown.x === "date" ? TIMES : undefined };
  if (range && shown.x === "date") Object.assign(x, { range, autorange: false });
  else x.autorange = true;
  const y = {
    ...axis, fixedrange: true, nticks: size === "large" ? 7 : 4, exponentformat: "SI", rangemode: shown.y.zero ? "tozero" : "normal",
    title: shown.y.title ? { text: shown.y.title, font: { color: muted, size: 11 }, standoff: 6 } : undefined, automargin: true,
    ...(shown.y.logarithmic ? { type: "log", tickvals: shown.y.logarithmic, ticktext: shown.y.logarithmic.map(String) } : {}),
    ticksuffix: shown.y.suffix ?? "", autorangeoptions: shown.y.least ? { include: [0, shown.y.least] } : undefined,
  };
  return {
    xaxis: x,
    yaxis: y,
    height: size === "large" ? 320 : 200,
    margin: { l: 46, r: 8, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    bargap: 0.1,
    hovermode: "x unified",
    hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: ink, size: 12, family: style.fontFamily }, namelength: 24 },
    font: { family: style.fontFamily, color: ink },
    dragmode: TOUCH ? false : "zoom", // a finger scrolls the page; the buttons choose the time
  };
}

const probe = element("span", { hidden: true });
document.documentElement.append(probe);

/** What a custom property amounts to, in a form that Plotly reads. */
function resolved(value) {
  probe.style.color = value;
  return getComputedStyle(probe).color;
}

function showKeys(list, entries) {
  const key = JSON.stringify(entries);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(
    ...entries.map((entry) => {
      const name = element("bdi", { text: entry.name });
      return element("li", {}, swatch(entry), entry.peer ? element("a", { href: peerPath(RUN_ID, entry.peer) }, name) : name);
    }),
  );
}
