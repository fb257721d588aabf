"""The dashboard's files: ours, and the libraries' from their Python packages.

Everything is known when the coordinator starts: a name that is not in the list is not there,
whatever it looks like. Bytes are kept compressed, as nearly every browser takes them. Pages name
each file with its version, so that browsers keep it for good and take the new one after an update.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.responses import Response

from coordinator.web.answers import Answer, packed
from coordinator.web.replies import REVALIDATE, refusal, reply

FOR_GOOD = "public, max-age=31536000, immutable"
COMPRESSION = 6

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
"""By suffix. The tables of the machine may say something else, and browsers believe it."""

VENDORED = {
    "vendor/plotly.min.js": ("plotly", "package_data/plotly.min.js"),
    "vendor/datatables.js": ("itables", "html/dt_bundle.js"),
    "vendor/datatables.css": ("itables", "html/dt_bundle.css"),
}
"""By name under `/static/`: the package that carries the file, and where in it."""

_NAMED = re.compile(r'(?<=["\'])/static/([A-Za-z0-9_./-]+)(?=["\'])')
"""A file that a page names."""


@dataclass(frozen=True)
class Asset:
    """A file, compressed."""

    media_type: str
    compressed: bytes
    etag: str

    @property
    def version(self) -> str:
        return self.etag.strip('"')

    def answer(self, compressed: bool) -> Answer:
        """Its bytes; only few clients need them unpacked."""
        body = b"" if compressed else gzip.decompress(self.compressed)
        return Answer(body, self.compressed if compressed else None, self.etag, 0.0)


class Assets:
    """All files under `/static/`, read at the first request."""

    def __init__(self) -> None:
        self._sources = _own_files(files("coordinator.web") / "static")
        for name, (package, path) in VENDORED.items():
            self._sources[name] = files(package).joinpath(*path.split("/"))
        self._read: dict[str, Asset] = {}
        self._reading = asyncio.Lock()

    async def get(self, name: str) -> Asset | None:
        """The file of that name, None if there is none."""
        if name not in self._sources:
            return None
        async with self._reading:
            if name not in self._read:
                source = self._sources[name]
                self._read[name] = await asyncio.to_thread(_compressed, name, source)
        return self._read[name]

    async def page(self, name: str) -> Answer:
        """An HTML page, in which each file is named with its version."""
        asset = await self.get(name)
        assert asset is not None  # noqa: S101  the pages below are ours
        html = asset.answer(compressed=False).body.decode()
        versions = {}
        for named in set(_NAMED.findall(html)):
            found = await self.get(named)
            versions[named] = f"?v={found.version}" if found else ""
        html = _NAMED.sub(lambda it: it[0] + versions[it[1]], html)
        return packed(html.encode())


def pages(assets: Assets) -> APIRouter:
    """The routes of everything that a browser loads and is no data."""
    router = APIRouter(include_in_schema=False)

    async def page(request: Request, name: str) -> Response:
        return reply(request, await assets.page(name), MEDIA_TYPES["html"])

    @router.get("/")
    async def index(request: Request) -> Response:
        return await page(request, "index.html")

    @router.get("/runs/{run_id}")
    async def run(request: Request) -> Response:
        return await page(request, "run.html")

    @router.get("/runs/{run_id}/participants/{peer_id}")
    async def participant(request: Request) -> Response:
        return await page(request, "participant.html")

    @router.get("/static/{name:path}")
    async def static(request: Request, name: str) -> Response:
        asset = await assets.get(name)
        if asset is None:
            return refusal(404, "no such file; / has the list of runs")
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        named_so = request.query_params.get("v") == asset.version
        return reply(
            request,
            asset.answer(compressed),
            asset.media_type,
            FOR_GOOD if named_so else REVALIDATE,
        )

    return router


def _own_files(folder: Traversable, prefix: str = "") -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _own_files(entry, f"{prefix}{entry.name}/")
        else:
            found[prefix + entry.name] = entry
    return found


def _compressed(name: str, source: Traversable) -> Asset:
    body = source.read_bytes()
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    etag = f'"{hashlib.blake2b(body, digest_size=9).hexdigest()}"'
    return Asset(media_type, gzip.compress(body, COMPRESSION, mtime=0), etag)
