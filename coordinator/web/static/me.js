// Which machines are the reader's own. Kept in this browser, told to nobody.

const KEY = "murmuration.me";
const MOST = 16;
const listeners = [];
let mine = read();

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((it) => typeof it === "string").slice(0, MOST) : [];
  } catch {
    return []; // forbidden, or somebody else's value
  }
}

function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(mine));
  } catch {
    // forbidden: it holds for this page
  }
  listeners.forEach((listener) => listener());
}

export const isMine = (peerId) => mine.includes(peerId);
export const ownPeers = () => [...mine];

export function toggleMine(peerId) {
  mine = isMine(peerId) ? mine.filter((it) => it !== peerId) : [peerId, ...mine].slice(0, MOST);
  keep();
}

export const onMine = (listener) => listeners.push(listener);

addEventListener("storage", (event) => {
  if (event.key !== KEY) return;
  mine = read();
  listeners.forEach((listener) => listener());
});
