"""A real browser for tests, and a record of whom its pages asked for what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
REQUIRE_ALL = "MURMURATION_REQUIRE_ALL"
"""Set where nothing may be left out, as in `.ci/run`."""

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WAIT_MS = 30_000.0
DESKTOP = (1280, 900)
PHONE = (390, 844)

_KNOWN = (
    "violates the following Content Security Policy directive 'style-src",  # plotly's, for maps
    "net::ERR_",  # of a coordinator that a test has killed
    "503 (Service Unavailable)",
)


@dataclass
class Visit:
    """A page, and what it did."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Addresses."""
    errors: list[str] = field(default_factory=list)

    def foreign(self, origin: str) -> list[str]:
        """What it asked of anybody else."""
        return [it for it in self.requests if not it.startswith((origin, "data:"))]

    def screenshot(self, name: str, full: bool = False) -> Path:
        """A picture in the folder of test artefacts."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=full, animations="disabled")
        return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser with an empty profile. Skips the test where there is none."""
    if not CHROMIUM.exists():
        line = f"{CHROMIUM} is not there; `apt-get install chromium` brings it"
        if os.environ.get(REQUIRE_ALL):
            pytest.fail(line)
        pytest.skip(line)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    browser: Browser,
    address: str,
    size: tuple[int, int] = DESKTOP,
    scheme: Any = "light",
    touch: bool = False,
) -> Iterator[Visit]:
    """A reader with a browser of their own; fails if a page erred or asked anybody else."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=touch,
        is_mobile=touch,
        locale="en-GB",
    )
    context.set_default_timeout(WAIT_MS)
    visit = Visit(context.new_page())

    def asked(request: Request) -> None:
        visit.requests.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(it in message.text for it in _KNOWN):
            visit.errors.append(message.text)

    visit.page.on("request", asked)
    visit.page.on("console", said)
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    try:
        visit.page.goto(address)
        yield visit
        assert visit.errors == []
        assert visit.foreign("/".join(address.split("/")[:3])) == []
    finally:
        context.close()
