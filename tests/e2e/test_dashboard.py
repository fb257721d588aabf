"""The dashboard in a real browser: of a live run first, then of one too large to make here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from swarmpb.v1 import coordinator_pb2
from tests.e2e.browsing import (
    DESKTOP,
    PHONE,
    SCREENSHOTS,
    WAIT_MS,
    Visit,
    chromium,
    visiting,
)
from tests.e2e.pretend_run import RUN_ID, PretendRun
from tests.e2e.pretend_server import pretending
from tests.e2e.processes import Home, Server, home_in, serving, start_server, stub_of
from tests.reporting import identity, round_message, signed_report

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "\u202egnp.exe <b>bold</b> &lt;i&gt;",
    "anna" * 40,
)
PRETEND_NOW = 1_795_000_000.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with chromium() as it:
        yield it


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with home_in(tmp_path_factory.mktemp("d")) as it:
        yield it


@pytest.fixture(scope="module")
def coordinator(home: Home) -> Iterator[Server]:
    with serving(home, "--demo") as server:
        yield server
        assert server.stop()[0] == 0


@pytest.fixture(scope="module")
def large() -> Iterator[str]:
    """The page of a run of a thousand peers, some with names that no peer should have."""
    with pretending(PretendRun(1000, PRETEND_NOW, HOSTILE)) as address:
        yield address


@contextmanager
def open_run(browser: Browser, server: Server) -> Iterator[Visit]:
    with visiting(browser, f"{server.dashboard}runs/demo") as visit:
        yield visit


def report(server: Server, number: int, sequence: int = 1, **fields: Any) -> str:
    """A peer of that number tells how it is; its peer id."""
    author = identity(number)
    with stub_of(server.address) as stub:
        stub.Report(signed_report(author, sequence=sequence, **fields))
    return author.peer_id


def rows(page: Page) -> list[str]:
    """The names in the table."""
    return page.locator("#table tbody a.name").all_inner_texts()


# ---- a live run ------------------------------------------------------------------------


def test_a_stranger_sees_whether_the_run_is_alive_and_how_far_it_is(
    browser: Browser, coordinator: Server
) -> None:
    with open_run(browser, coordinator) as visit:
        page = visit.page
        expect(page.locator("#condition")).to_have_text("Waiting")
        expect(page.locator("#reason")).to_contain_text("join")
        expect(page.locator("#join-command")).to_have_text(
            re.compile(r"^peer join murmuration://\S+:\d+/demo$")
        )

        told = [round_message(it, run_tokens=300_000 * it) for it in (1, 2)]
        loss = coordinator_pb2.Validation(round=2, run_tokens=600_000, loss=2.5)
        first: dict[str, Any] = {
            "rounds": told,
            "round": 2,
            "validations": [loss],
            "tokens_per_second": 1500.0,
        }
        report(coordinator, 0, **first)
        expect(page.locator("#reason")).to_contain_text("a round needs 2")
        expect(page.locator("#percent")).to_have_text("50.0 %")
        expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
        expect(page.locator("#speed")).to_have_text("1,500")
        expect(page.locator("#validation")).to_have_text("2.500")

        report(coordinator, 1, name="bert", tokens_per_second=500.0)
        expect(page.locator("#condition")).to_have_text("Training")
        expect(page).to_have_title("▶ 50 % demo · Murmuration")
        expect(page.locator("#live")).to_have_text("2")
        expect(page.locator("#speed")).to_have_text("2,000")


def test_a_volunteer_finds_their_machine_and_finds_it_again(
    browser: Browser, coordinator: Server
) -> None:
    mine = report(coordinator, 1, sequence=2, name="bert")
    report(coordinator, 2, name="carla", phase="syncing", reason="61 % of the state")
    with open_run(browser, coordinator) as visit:
        page = visit.page
        page.locator("#participants").scroll_into_view_if_needed()
        page.get_by_label("Search participants").fill(mine[-6:])
        expect(page.locator("#table tbody a.name")).to_have_text(["bert"])
        page.get_by_role("button", name="bert is me").click()
        expect(page.get_by_role("article", name="bert")).to_contain_text("training")

        page.reload()
        card = page.get_by_role("article", name="bert")
        card.get_by_role("link", name="bert").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("bert")
        expect(page.get_by_role("button", name="This is me")).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(page.locator("#peer-id")).to_have_text(mine)
        page.get_by_role("link", name="demo").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("demo")


def test_rounds_are_in_order_where_the_stream_is_faster_than_the_page(
    browser: Browser, coordinator: Server
) -> None:
    held: list[Route] = []
    with open_run(browser, coordinator) as visit:
        page = visit.page
        told = [round_message(it, run_tokens=600_000 + it) for it in (11, 12)]
        report(coordinator, 9, rounds=told, round=12)
        page.route("**/rounds?*", lambda asked: held.append(asked))
        page.reload()
        toggles = page.locator("#round-rows .toggle")
        expect(page.locator("#connection")).to_have_text("live")
        last = round_message(13, run_tokens=600_013)
        report(coordinator, 9, sequence=2, rounds=[last], round=13)
        expect(toggles.first).to_have_text("13")
        for asked in held:
            asked.continue_()
        expect(toggles.nth(2)).to_have_text("11")
        numbers = [int(it) for it in toggles.all_inner_texts()]
        assert numbers == sorted(numbers, reverse=True)


def test_a_killed_coordinator_is_told_of_and_the_page_heals_when_it_is_back(
    browser: Browser, home: Home
) -> None:
    state = ("--demo", "--state-dir", str(home.path / "another"))
    server = start_server(home, *state)
    try:
        with open_run(browser, server) as visit:
            page = visit.page
            report(server, 0)
            expect(page.locator("#connection")).to_have_text("live")
            expect(page.locator("#live")).to_have_text("1")
            server.kill()
            expect(page.get_by_role("alert")).to_contain_text("does not answer")
            expect(page).to_have_title(re.compile("^⚠ lost"))
            expect(page.locator("html")).to_have_class("is-stale")
            expect(page.locator("#live")).to_have_text("1")
            visit.screenshot("run-lost")

            server = start_server(home, *state, *server.same_ports)
            report(server, 0, sequence=2)
            report(server, 1)
            expect(page.locator("#connection")).to_have_text("live", timeout=60_000)
            expect(page.locator("#live")).to_have_text("2")
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.locator("html")).not_to_have_class("is-stale")
            expect(page).to_have_title(re.compile("demo · Murmuration$"))
    finally:
        if server.process.poll() is None:
            server.stop()


def test_what_a_peer_calls_itself_is_shown_as_text(browser: Browser, coordinator: Server) -> None:
    for number, name in enumerate(HOSTILE):
        report(coordinator, 3 + number, name=name, reason=name, version="<b>1</b>", phase="<u>x")
    with open_run(browser, coordinator) as visit:
        page = visit.page
        page.locator("#participants").scroll_into_view_if_needed()
        page.get_by_label("Search participants").fill("onerror")
        expect(page.locator("#table tbody a.name")).to_have_text([HOSTILE[0]])
        page.locator("#table tbody a.name").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE[0])
        expect(page.locator("main")).to_contain_text("<b>1</b>")
        assert page.locator("main img, main script, main b").count() == 0


def test_an_unknown_run_is_said_to_be_unknown(browser: Browser, coordinator: Server) -> None:
    with visiting(browser, f"{coordinator.dashboard}runs/none") as visit:
        expect(visit.page.get_by_role("alert")).to_contain_text("no run named 'none'")
        visit.page.get_by_role("link", name="All runs", exact=True).click()
        expect(visit.page.get_by_role("link", name="demo")).to_be_visible()
        visit.errors.clear()  # the browser's own line for each answer of 404


# ---- a large run -----------------------------------------------------------------------


def test_a_filter_a_sorting_and_a_search_leave_only_what_was_asked_for(
    browser: Browser, large: str
) -> None:
    with visiting(browser, f"{large}#participants") as visit:
        page = visit.page
        info = page.locator(".dt-info")
        expect(info).to_have_text("1 to 25 of 1,000")
        page.get_by_role("button", name="Gone", exact=True).click()
        expect(info).not_to_have_text("1 to 25 of 1,000")
        expect(page.locator("#table tbody tr:not(.gone)")).to_have_count(0)

        page.get_by_role("button", name="Live", exact=True).click()
        expect(page.locator("#table tbody tr.gone")).to_have_count(0)
        header = page.get_by_role("columnheader", name="Participant")
        header.click()
        expect(header).to_have_attribute("aria-sort", "ascending")
        page.get_by_label("Search participants").fill("heron")
        expect(page.locator("#table tbody a.name").first).to_contain_text("heron")
        names = rows(page)
        assert names == sorted(names)
        page.get_by_label("Search participants").fill("nobody is called so")
        expect(page.locator("td.dt-empty")).to_contain_text("No participant matches")


def test_plots_show_the_run_over_tokens_and_over_time(browser: Browser, large: str) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        page.locator("#progress").scroll_into_view_if_needed()
        loss = page.locator("#plot-loss .plot")
        expect(loss).to_have_accessible_name(re.compile(r"^Loss\. Validation \d\.\d{3}, from"))
        assert loss.evaluate("it => it.data.map(trace => trace.name)") == ["training", "validation"]
        assert loss.evaluate("it => it.layout.xaxis.type") == "linear"
        page.get_by_role("button", name="Time", exact=True).click()
        assert loss.evaluate("it => it.layout.xaxis.type") == "date"

        speed = page.locator("#plot-speed .plot")
        expect(page.locator("#plot-speed .keys li")).to_have_count(11)
        assert speed.evaluate("it => it.data.length") == 11
        with page.expect_response(re.compile("since=")) as answered:
            page.get_by_role("button", name="Day", exact=True).click()
        start = answered.value.json()["at"][0]
        assert PRETEND_NOW - 86_401 < start < PRETEND_NOW - 86_000

        # a name in a plot is text, too
        page.evaluate(
            """async names => {
                const { CHARTS, paletteOf } = await import("/static/charts.js");
                const speed = CHARTS.find(chart => chart.key === "speed");
                const values = { at: [1, 2], tokens_per_second:
                    names.map((name, i) => ({ peer_id: `p${i}`, name, values: [1, 2] })) };
                const shown = speed.draw(values, paletteOf("light"), {});
                window.Plotly.newPlot("plots", shown.traces, { showlegend: true });
            }""",
            list(HOSTILE),
        )
        drawn = page.locator("#plots .legendtext").all_text_contents()
        assert HOSTILE[0] in drawn
        assert HOSTILE[1] in drawn
        assert page.locator("#plots img, #plots script").count() == 0
        assert "owned" not in page.title()


def test_who_was_in_a_round_and_why_somebody_was_left_out(browser: Browser, large: str) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        toggle = page.get_by_role("button", name="2,138")
        toggle.focus()
        page.keyboard.press("Enter")
        members = page.get_by_role("list", name="Members of round 2138")
        expect(members.locator(".out").first).to_contain_text("left out: arrived 3.2 s late")
        expect(members.locator("li")).to_have_count(61)
        before = page.locator("#round-rows .toggle").count()
        page.get_by_role("button", name="Older rounds").click()
        expect(page.locator("#round-rows .toggle")).not_to_have_count(before)
        expect(page.locator("#timeline")).to_contain_text("divergence healed")
        expect(page.locator("#places li")).to_have_count(20)


def test_a_participants_page_says_where_each_figure_comes_from(
    browser: Browser, large: str
) -> None:
    with visiting(browser, f"{large}#participants") as visit:
        page = visit.page
        page.locator("#table tbody a.name").first.click()
        receipts = page.locator("#receipts tr")
        expect(receipts).to_have_count(50)
        expect(page.locator("#receipts")).to_contain_text("left out: silent for 3 s")
        claimed = page.get_by_role("columnheader", name=re.compile("Claimed"))
        expect(claimed.get_by_role("img", name=re.compile("^self-reported"))).to_be_attached()
        merged = page.locator("dt", has_text="Tokens merged")
        expect(merged.get_by_role("img", name=re.compile("^derived"))).to_be_attached()
        page.get_by_role("button", name="Older receipts").click()
        expect(receipts).to_have_count(100)


def test_a_thousand_rows_are_patched_where_they_stand(browser: Browser, large: str) -> None:
    with visiting(browser, f"{large}#participants") as visit:
        page = visit.page
        page.locator(".dt-length select").select_option("1000")
        expect(page.locator("#table tbody tr")).to_have_count(1000)
        page.evaluate(WATCH_UPDATES)
        three = re.compile(r"^([3-9]|\d{2,})$")  # they come as fast as the browser draws
        expect(page.locator("body")).to_have_attribute("data-updates", three, timeout=150_000)
        updates = page.evaluate("() => window.updates")
        assert page.evaluate("() => window.kept.every(row => row.isConnected)")
        assert all(it["added"] == 0 for it in updates), updates
        assert all(it["texts"] > 0 for it in updates), updates
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        tasks = page.evaluate("() => window.longTasks")
        told = json.dumps({"updates": updates, "long tasks, ms": tasks}, indent=1)
        (SCREENSHOTS / "thousand-rows.json").write_text(told)
        print(told)


WATCH_UPDATES = """() => {
    window.updates = [];
    window.longTasks = [];
    const body = document.querySelector("#table tbody");
    window.kept = [...body.rows];
    new PerformanceObserver(list => list.getEntries().forEach(
        it => window.longTasks.push(Math.round(it.duration)))).observe({ type: "longtask" });
    new MutationObserver(records => {
        window.updates.push({
            texts: records.filter(it => it.type === "characterData").length,
            added: records.filter(it => it.type === "childList" && it.target === body).length,
        });
        document.body.dataset.updates = window.updates.length;
    }).observe(body, { subtree: true, childList: true, characterData: true });
}"""


def test_a_coordinator_without_a_stream_to_spare_is_asked_instead(
    browser: Browser, large: str
) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        page.route("**/stream", lambda route: route.fulfill(status=503, json={"error": "full"}))
        page.reload()
        expect(page.locator("#connection")).to_have_text("live, every few seconds")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#condition")).to_have_text("Training")


def test_nothing_is_asked_while_the_tab_is_hidden(browser: Browser, large: str) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        page.clock.install()
        page.reload()
        expect(page.locator("#connection")).to_have_text("live")
        page.evaluate(HIDE, True)
        asked = len(visit.requests)
        page.clock.run_for(120_000)
        assert visit.requests[asked:] == []
        page.evaluate(HIDE, False)
        expect(page.locator("#connection")).to_have_text("live")
        assert visit.requests[asked:] != []


HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


# ---- on every screen, for every reader -------------------------------------------------


@pytest.mark.parametrize(("device", "size"), [("desktop", DESKTOP), ("phone", PHONE)])
def test_it_is_legible_on_desktop_and_phone_in_light_and_dark(
    browser: Browser, large: str, device: str, size: tuple[int, int]
) -> None:
    touch = device == "phone"
    with visiting(browser, large, size, "light", touch) as visit:
        page = visit.page
        for plot in page.locator("#plots figure").all():  # each is drawn when it is seen
            plot.scroll_into_view_if_needed()
            expect(plot.locator(".main-svg").first).to_be_attached()
        for part, content in (
            ("participants", "tr .star"),
            ("leaderboard", "li"),
            ("events", "li"),
        ):
            page.locator(f"#{part}").scroll_into_view_if_needed()
            expect(page.locator(f"#{part} {content}").first).to_be_visible()
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= size[0], "the page scrolls sideways"
        if touch:
            # a finger on a plot scrolls the page
            drag = page.locator("#plot-loss .nsewdrag").first
            assert drag.evaluate("it => getComputedStyle(it).touchAction") == "pan-y"
            small = page.evaluate(SMALL)
            assert small == [], "too small for a finger"
        grounds = set()
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            grounds.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
            pale = page.evaluate(PALE)
            assert pale == [], f"too little contrast in {scheme}"
            visit.screenshot(f"run-{device}-{scheme}", full=True)
            page.evaluate("() => scrollTo(0, 0)")
            visit.screenshot(f"run-{device}-{scheme}-top")
        assert len(grounds) == len(SCHEMES), "the page follows the reader's choice"


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

PALE = """() => {
    const rgb = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(it => it / 255).map(it =>
        it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
        .reduce((sum, it, i) => sum + it * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = node => {
        for (let it = node; it; it = it.parentElement) {
            const colour = rgb(getComputedStyle(it).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const pale = new Set();
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
        if (node.closest("svg, .disabled, noscript, .dt-column-order")) continue;
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
        if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5)
            pale.add(walker.currentNode.data.trim().slice(0, 40));
    }
    return [...pale];
}"""

SMALL = """() => [...document.querySelectorAll("button, select, input")]
    .filter(it => it.checkVisibility() && it.offsetHeight < 32)
    .map(it => `${it.textContent || it.id}: ${it.offsetHeight} px`)"""


def test_it_can_be_read_aloud_and_used_with_keys(browser: Browser, large: str) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        expect(page.locator("#condition")).to_have_text("Training")
        expect(page.locator("main")).to_match_aria_snapshot(HEARD)
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, a[href], input, select")]
                .filter(it => it.checkVisibility() && !(it.ariaLabel || it.textContent.trim()
                    || it.labels?.length)).map(it => it.outerHTML)"""
        )
        assert unnamed == []
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="To the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.get_by_role("button", name=re.compile("^Colours: auto")).press("Enter")
        page.get_by_role("button", name=re.compile("^Colours: light")).press("Enter")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


HEARD = f"""
- region "{RUN_ID}":
  - heading "{RUN_ID}" [level=1]
  - status: Training
  - progressbar "Tokens towards the target"
  - complementary "Lend a machine":
    - heading "Lend a machine" [level=2]
    - code: /peer join/
    - button "Copy"
- region "Progress":
  - heading "Progress" [level=2]
  - group "Time shown"
- region "Participants":
  - search:
    - searchbox "Search participants by name or peer id"
"""


def test_scripts_that_got_into_the_page_would_not_run(browser: Browser, large: str) -> None:
    with visiting(browser, large) as visit:
        page = visit.page
        page.evaluate(
            """() => {
                document.body.append(Object.assign(document.createElement("script"),
                    { textContent: "window.owned = 1" }));
                document.body.insertAdjacentHTML("beforeend",
                    "<p onclick='window.owned = 2'>x</p>");
                document.body.lastElementChild.click();
            }"""
        )
        assert page.evaluate("() => window.owned ?? null") is None
        assert len(visit.errors) == 2, "the browser says that it refused both"
        visit.errors.clear()
