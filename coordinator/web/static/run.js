// The page of a run: its parts, and the stream that keeps them fresh.

import { ask, Refused, RUN_ID } from "./api.js";
import { every } from "./clock.js";
import { heardAt, onState, refuse, whenAsked } from "./connection.js";
import { at } from "./dom.js";
import { startEvents } from "./events.js";
import { showHeadline } from "./headline.js";
import { startLeaderboard } from "./leaderboard.js";
import { Live } from "./live.js";
import { startParticipants } from "./participants.js";
import { startPlots } from "./plots.js";
import { legend, markFigures } from "./provenance.js";
import { startRounds } from "./rounds.js";

const UNKNOWN_MS = 5_000;
const path = `/runs/${encodeURIComponent(RUN_ID)}`;

function show(run) {
  heardAt(run.now);
  showHeadline(run);
}

async function start() {
  at("legend").replaceChildren(...legend());
  const parts = [startPlots(path), startParticipants(path), startLeaderboard(path)];
  const rounds = startRounds(path);
  const events = startEvents(path);
  const live = new Live(`/api/v1${path}/stream`, {
    listen: {
      overview: show,
      round: (round) => {
        rounds.add(round);
        parts.forEach((part) => part.stale());
      },
      happened: (event) => events.add(event),
    },
    onState,
    poll: async () => show(await ask(path)),
    onBack: () => [...parts, rounds, events].forEach((part) => part.refresh()),
  });
  whenAsked(() => live.connect());
  await known();
  live.connect();
  // figures change between rounds too
  every(5, () => Promise.all(parts.map((part) => part.pulse())));
}

/** Shows the run; waits as long as the coordinator says that it knows no such run. */
async function known() {
  try {
    show(await ask(path));
  } catch (error) {
    // a coordinator that is away is told of by the stream
    if (!(error instanceof Refused) || error.status !== 404) return;
    refuse(error.message);
    await new Promise((resolve) => setTimeout(resolve, UNKNOWN_MS)); // it may get its runs back yet
    await known();
  }
}

markFigures();
start();
