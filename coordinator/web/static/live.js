// The stream of what happens, and its connection: it says when it is lost, and heals by itself.

const FIRST_WAIT = 1;
const LONGEST_WAIT = 10;
const POLL_MS = 3_000;
const GROWTH = 1.6;
const SILENCE = 12; // seconds; the overview comes every two

/**
 * Server-sent events of a run. `listen` has a function for each event's name, given the parsed
 * data; `onState(state, retryAt)` hears "connecting", "live", "polling" or "lost" (retryAt on
 * `performance.now()`); `onBack` runs when a connection is there, the first time too. A coordinator
 * that has no stream to spare may still answer: `poll` asks it, and rejects if it does not.
 */
export class Live {
  #source = null;
  #retry = null;
  #watchdog = null;
  #wait = FIRST_WAIT;

  constructor(path, { listen, onState, onBack, poll }) {
    this.path = path;
    this.listen = listen;
    this.onState = onState;
    this.onBack = onBack;
    this.poll = poll;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#close();
      else this.connect();
    });
    addEventListener("online", () => this.connect());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.connect());
  }

  /** Now, rather than after the wait. */
  connect() {
    if (document.hidden) return;
    this.#close();
    this.onState("connecting");
    const source = new EventSource(this.path);
    this.#source = source;
    source.addEventListener("open", () => this.#alive());
    source.addEventListener("error", () => this.#lost());
    for (const [name, act] of Object.entries(this.listen))
      source.addEventListener(name, (event) => {
        this.#alive();
        act(JSON.parse(event.data));
      });
    this.#feed();
  }

  #alive() {
    this.#feed();
    if (this.#wait === null) return;
    this.#wait = null; // until it is lost the next time
    this.onState("live");
    this.onBack();
  }

  #feed() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(), SILENCE * 1000);
  }

  #lost() {
    const wait = this.#wait ?? FIRST_WAIT;
    this.#close();
    this.#wait = Math.min(wait * GROWTH, LONGEST_WAIT);
    const jitter = wait * (0.8 + 0.4 * Math.random()); // two hundred pages do not come at once
    this.#retry = setTimeout(() => this.connect(), jitter * 1000);
    const retryAt = performance.now() + jitter * 1000;
    const mine = this.#retry;
    const tell = (state) => {
      clearTimeout(undecided);
      if (mine === this.#retry) this.onState(state, retryAt);
    };
    const undecided = setTimeout(() => tell("lost"), POLL_MS);
    this.onState("connecting");
    this.poll().then(() => tell("polling"), () => tell("lost"));
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#wait ??= FIRST_WAIT;
  }
}
