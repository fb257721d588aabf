// Numbers, sizes and times as people read them. A figure that nobody knows is a dash.

export const UNKNOWN = "–";

const SCALES = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];
const WORDS = { T: "trillion", B: "billion", M: "million", k: "thousand" };
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact3 = new Intl.NumberFormat("en", {
  minimumSignificantDigits: 3,
  maximumSignificantDigits: 3,
});

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 2,140 */
export const count = (value) => (known(value) ? whole.format(value) : UNKNOWN);

/** 1.24 B; in full below ten thousand. */
export function short(value) {
  if (!known(value)) return UNKNOWN;
  if (Math.abs(value) < 10_000) return three.format(value >= 100 ? Math.round(value) : value);
  const [scale, unit] = scaleOf(value);
  return `${exact3.format(value / scale)} ${unit}`;
}

/** 1.24 billion */
export function spoken(value) {
  if (!known(value) || value < 10_000) return count(value);
  const [scale, unit] = scaleOf(value);
  return `${three.format(value / scale)} ${WORDS[unit]}`;
}

// 999,700 is 1.00 M rather than 1,000 k
const scaleOf = (value) => SCALES.find(([scale]) => Math.abs(value) >= scale * 0.9995);

/** 63.1 %, never rounded up to 100 */
export function percent(fraction, digits = 1) {
  if (!known(fraction)) return UNKNOWN;
  const power = 10 ** digits;
  const rounded = Math.round(fraction * 100 * power) / power;
  const shown = fraction < 1 && rounded >= 100 ? 100 - 1 / power : rounded;
  return `${shown.toFixed(shown !== 0 && shown < 0.1 ? Math.max(digits, 2) : digits)} %`;
}

export const loss = (value) => (known(value) ? value.toFixed(3) : UNKNOWN);

/** 168 MB */
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  for (const [scale, unit] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]])
    if (value >= scale) return `${three.format(value / scale)} ${unit}`;
  return `${whole.format(value)} bytes`;
}

/** Memory as machines are sold with it: 64 GiB. */
export const memory = (value) => `${whole.format(value / 2 ** 30)} GiB`;

/** Bytes per second as links are sold: 24 Mbit/s. 0 is not known. */
export function bandwidth(value) {
  if (!known(value) || value <= 0) return UNKNOWN;
  const bits = value * 8;
  if (bits >= 1e9) return `${three.format(bits / 1e9)} Gbit/s`;
  return bits >= 1e6 ? `${three.format(bits / 1e6)} Mbit/s` : `${three.format(bits / 1e3)} kbit/s`;
}

/** 3 min 20 s; the two largest units. */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, seconds);
  if (s < 10) return `${s < 0.95 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return pair(Math.round(s), 60, "min", "s");
  if (s < 86_400) return pair(Math.round(s / 60), 60, "h", "min");
  return pair(Math.round(s / 3600), 24, s >= 2 * 86_400 ? "days" : "day", "h");
}

function pair(amount, base, large, small) {
  const rest = amount % base;
  return `${Math.floor(amount / base)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

/** One unit: 3 min, 5 days. */
export function rough(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, seconds);
  if (s < 1) return "1 s";
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 90 * 60) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  if (s < 90 * 86_400) return `${Math.round(s / 86_400)} days`;
  return s < 720 * 86_400 ? `${Math.round(s / 2_629_800)} months` : `${Math.round(s / 31_557_600)} years`;
}

export const ago = (seconds) => (known(seconds) ? `${rough(seconds)} ago` : "age not known");

const moment = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dayTime = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" });

/** Unix seconds in the reader's own time, in full. */
export const moments = (at) => moment.format(at * 1000);

/** Shorter: only the time if it is the same day as `now`. */
export function when(at, now) {
  const same = new Date(at * 1000).toDateString() === new Date(now * 1000).toDateString();
  return (same ? clockTime : dayTime).format(at * 1000);
}

/** When something is likely to end. */
export function expected(at, now) {
  if (at - now > 366 * 86_400) return `in ${new Date(at * 1000).getFullYear()}`;
  return at - now < 20 * 3600 ? `at about ${clockTime.format(at * 1000)}` : day.format(at * 1000);
}

/** "1 round", "2 rounds" */
export const plural = (number, word, words = `${word}s`) => `${count(number)} ${number === 1 ? word : words}`;
