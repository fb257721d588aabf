"""The routes under `/api/v1`: questions in, JSON of `coordinator.spectators.views` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from coordinator.spectators import views
from coordinator.spectators.looking_back import LookingBack
from coordinator.spectators.participants import Column, Wanted
from coordinator.spectators.provenance import PROVENANCE, Source
from coordinator.spectators.reading import Reading
from coordinator.web.answers import Answer, Answers, packed
from coordinator.web.event_stream import MEDIA_TYPE, EventStream
from coordinator.web.replies import reply
from coordinator.web.stream import Streams

MOST_ROWS = 1000
MOST_POINTS = 2000
MOST_SEARCH = 64
MOST_UNIX_SECONDS = 1e11
TOP = (1 << 53) - 1
"""Numbers above this are not exact in JavaScript."""

RunId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
PeerId = Annotated[str, Path(pattern=r"^[1-9A-HJ-NP-Za-km-z]{1,128}$")]
Before = Annotated[
    int | None, Query(ge=0, le=TOP, description="Go on with what is older than this.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]

RUNS = TypeAdapter(tuple[views.RunLine, ...])
OVERVIEW = TypeAdapter(views.RunOverview)
SERIES = TypeAdapter(views.Series)
PARTICIPANTS = TypeAdapter(views.Participants)
PARTICIPANT = TypeAdapter(views.Participant)
RECEIPTS = TypeAdapter(views.Receipts)
LEADERBOARD = TypeAdapter(views.Leaderboard)
ROUNDS = TypeAdapter(views.Rounds)
EVENTS = TypeAdapter(views.Events)

_ERROR = {
    "description": "Refused.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((404, 414, 422, 429, 503), _ERROR)


def api(questions: Questions, describe: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes; `describe` makes the OpenAPI document."""
    router = APIRouter(responses=ERRORS, tags=["runs"])
    run, peer = "/api/v1/runs/{run_id}", "/api/v1/runs/{run_id}/participants/{peer_id}"
    for path, ask, model in (
        ("/api/v1/runs", questions.runs, tuple[views.RunLine, ...]),
        (run, questions.overview, views.RunOverview),
        (f"{run}/series", questions.series, views.Series),
        (f"{run}/participants", questions.participants, views.Participants),
        (peer, questions.participant, views.Participant),
        (f"{peer}/receipts", questions.receipts, views.Receipts),
        (f"{run}/leaderboard", questions.leaderboard, views.Leaderboard),
        (f"{run}/rounds", questions.rounds, views.Rounds),
        (f"{run}/events", questions.events, views.Events),
    ):
        router.add_api_route(path, ask, response_model=model)
    router.add_api_route(f"{run}/stream", questions.stream, response_class=_EventStream)

    @router.get("/api/v1/provenance", response_model=dict[str, Source])
    async def provenance(request: Request) -> Response:
        """Where each figure comes from, by the name of its field."""
        return reply(request, packed(json.dumps(PROVENANCE).encode()))

    documents: list[Answer] = []

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        if not documents:  # made at the first request, for it takes a while
            documents.append(packed(json.dumps(describe()).encode()))
        return reply(request, documents[0])

    return router


class _EventStream(Response):
    """How the document describes a stream."""

    media_type = MEDIA_TYPE


class Questions:
    """One method for each path; its parameters are those of the path and the query."""

    def __init__(
        self, reading: Reading, past: LookingBack, answers: Answers, streams: Streams
    ) -> None:
        self._reading = reading
        self._past = past
        self._answers = answers
        self._streams = streams

    async def runs(self, request: Request) -> Response:
        """All runs, the oldest first."""
        return await self._reply(request, RUNS, self._reading.runs)

    async def overview(self, request: Request, run_id: RunId) -> Response:
        """The headline of a run's page."""
        return await self._reply(request, OVERVIEW, self._reading.overview, run_id)

    async def series(
        self,
        request: Request,
        run_id: RunId,
        points: Annotated[int, Query(ge=2, le=MOST_POINTS)] = 300,
        since: Annotated[
            float,
            Query(ge=0, le=MOST_UNIX_SECONDS, allow_inf_nan=False, description="Unix seconds."),
        ] = 0.0,
    ) -> Response:
        """Everything that the plots show."""
        return await self._look_back(request, SERIES, self._past.series, run_id, points, since)

    async def participants(
        self,
        request: Request,
        run_id: RunId,
        search: Annotated[str, Query(max_length=MOST_SEARCH)] = "",
        sort: Column = "tokens",
        descending: bool = True,
        live: bool | None = None,
        offset: Annotated[int, Query(ge=0, le=TOP)] = 0,
        limit: Limit = 100,
    ) -> Response:
        """A page of the participants' table, searched and sorted."""
        wanted = Wanted(search, sort, descending, live, offset, limit)
        return await self._reply(request, PARTICIPANTS, self._reading.participants, run_id, wanted)

    async def participant(self, request: Request, run_id: RunId, peer_id: PeerId) -> Response:
        """One participant."""
        return await self._reply(request, PARTICIPANT, self._reading.participant, run_id, peer_id)

    async def receipts(
        self,
        request: Request,
        run_id: RunId,
        peer_id: PeerId,
        before: Before = None,
        limit: Limit = 100,
    ) -> Response:
        """What became of a participant's work, the newest round first."""
        return await self._reply(
            request, RECEIPTS, self._reading.receipts, run_id, peer_id, before, limit
        )

    async def leaderboard(
        self, request: Request, run_id: RunId, period: Literal["all", "week"] = "all"
    ) -> Response:
        """Who has contributed most."""
        if period == "week":
            ask = self._past.leaders_of_the_week
            return await self._look_back(request, LEADERBOARD, ask, run_id)
        return await self._reply(request, LEADERBOARD, self._reading.leaders, run_id)

    async def rounds(
        self, request: Request, run_id: RunId, before: Before = None, limit: Limit = 100
    ) -> Response:
        """Committed rounds and void attempts, the newest first."""
        return await self._look_back(request, ROUNDS, self._past.rounds, run_id, before, limit)

    async def events(
        self, request: Request, run_id: RunId, before: Before = None, limit: Limit = 100
    ) -> Response:
        """What happened to the run, the newest first."""
        return await self._reply(request, EVENTS, self._reading.events, run_id, before, limit)

    async def stream(
        self,
        run_id: RunId,
        after: Annotated[
            int | None, Query(ge=0, le=TOP, description="Tell also the events after this one.")
        ] = None,
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,16}$")] = "",
    ) -> Response:
        """The run as it goes on, as server-sent events.

        `overview` (a RunOverview) every two seconds, `round` (a RoundLine) at the end of each
        round, `happened` (an EventLine, whose number is the event's id).
        """
        # whether there is such a run is asked first: a stream has begun with 200
        await self._answers.get(
            ("overview", run_id), partial(self._reading.overview, run_id), OVERVIEW
        )
        return EventStream(self._streams, run_id, int(last_event_id) if last_event_id else after)

    async def _reply(
        self, request: Request, form: TypeAdapter[Any], ask: Callable[..., Any], *about: Hashable
    ) -> Response:
        question = (ask.__name__, *about)
        return reply(request, await self._answers.get(question, partial(ask, *about), form))

    async def _look_back(
        self,
        request: Request,
        form: TypeAdapter[Any],
        ask: Callable[..., Any],
        run_id: str,
        *about: Hashable,
    ) -> Response:
        self._reading.check(run_id)
        question = (ask.__name__, run_id, *about)
        compute = partial(ask, run_id, *about)
        return reply(request, await self._answers.get(question, compute, form, apart=True))
