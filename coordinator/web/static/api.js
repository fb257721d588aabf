// What the coordinator is asked: JSON over HTTP, and nobody else is ever asked anything.

const PATIENCE_MS = 15_000;

/** The coordinator answered, and it was a refusal: `message` is its one line. */
export class Refused extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

/** The JSON at `path` under /api/v1; throws `Refused`, or what `fetch` throws if nobody answers. */
export async function ask(path, query = {}) {
  const parameters = new URLSearchParams(
    Object.entries(query).filter(([, value]) => value !== undefined && value !== null),
  );
  const response = await fetch(`/api/v1${path}${parameters.size ? `?${parameters}` : ""}`, {
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.error ?? `HTTP ${response.status}`);
  return body;
}

const parts = location.pathname.split("/").map(decodeURIComponent);

/** From this page's address: /runs/RUN/participants/PEER */
export const RUN_ID = parts[2] ?? "";
export const PEER_ID = parts[4] ?? "";

export const runPath = (runId) => `/runs/${encodeURIComponent(runId)}`;
export const peerPath = (runId, peerId) =>
  `${runPath(runId)}/participants/${encodeURIComponent(peerId)}`;

/** Latest wins: answers that come after a newer question are dropped (undefined). */
export function latest(question) {
  let newest = 0;
  return async (...about) => {
    const mine = ++newest;
    const answer = await question(...about);
    return mine === newest ? answer : undefined;
  };
}
