// The small pictures in a legend: the line, dash or hatch that a plot draws, in its colour.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 26;
const HEIGHT = 12;
const DASHES = { solid: null, dot: "2 3", dash: "6 4" };

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null) node.setAttribute(name, value);
  return node;
}

/** The picture for a legend's entry of `charts.js`. */
export function swatch({ colour, dash, marker, area, hatch }) {
  const picture = shape("svg", { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
  if (!area) {
    const middle = HEIGHT / 2;
    picture.append(shape("path", { d: `M0 ${middle}H${WIDTH}`, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": DASHES[dash] ?? null, fill: "none" }));
    if (marker) picture.append(shape("circle", { cx: WIDTH / 2, cy: middle, r: 3.5, fill: colour }));
    return picture;
  }
  picture.append(shape("rect", { width: WIDTH, height: HEIGHT, rx: 2, fill: colour, "fill-opacity": hatch ? 0.25 : 0.7 }));
  const drawn = { "/": hatched(1), x: hatched(1) + hatched(-1)}[hatch];
  if (drawn) picture.append(shape("path", { d: drawn, stroke: colour, "stroke-width": 1.5, fill: "none" }));
  return picture;
}

function hatched(direction) {
  let path = "";
  for (let x = 1; x < WIDTH; x += 5) path += `M${x} ${direction > 0 ? HEIGHT : 0}L${Math.min(x + 6, WIDTH)} ${direction > 0 ? 2 : HEIGHT - 2}`;
  return path;
}
