// The coordinator's clock, and what depends on the time that passes. Nothing runs in a hidden tab.

let ahead = 0; // seconds from this page's monotonic clock to the coordinator's
let heard = false;

/** The coordinator said that it is `now` there (unix seconds). */
export function hear(now) {
  ahead = now - performance.now() / 1000;
  heard = true;
}

/** Unix seconds on the coordinator's clock: the reader's may be wrong. */
export const serverNow = () => (heard ? performance.now() / 1000 + ahead : Date.now() / 1000);

/**
 * Call `act` every `seconds`, and at once when a hidden tab is shown again; not while the promise
 * that it returned is still open: a slow coordinator is not asked twice at a time.
 */
export function every(seconds, act) {
  let timer = null;
  let busy = false;
  const once = async () => {
    if (busy) return;
    busy = true;
    try {
      await act();
    } finally {
      busy = false;
    }
  };
  const start = () => {
    if (timer === null && !document.hidden) timer = setInterval(once, seconds * 1000);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearInterval(timer);
      timer = null;
    } else {
      once();
      start();
    }
  });
  start();
}

/** True while any of `node` is on the screen or near it; `onShow` when it comes. */
export function watch(node, onShow, margin = "300px") {
  const seen = { near: false };
  new IntersectionObserver(
    (entries) => {
      const near = entries.some((entry) => entry.isIntersecting);
      const came = near && !seen.near;
      seen.near = near;
      if (came) onShow();
    },
    { rootMargin: margin },
  ).observe(node);
  return seen;
}
