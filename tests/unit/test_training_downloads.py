"""Downloads: checked, cached, set aside when corrupt, never half-written."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from peer.training.downloads import downloaded
from peer.training.failure import TrainerFailure
from swarmpb.spec import Download

FILES = {"/one": "première\n".encode(), "/two": b"second\n" * 1000, "/latin": b"caf\xe9",
         "/long": b"a" * 200_000}  # fmt: skip


class Library:
    """An HTTP server of `FILES`; `asked` are the paths in the order of the requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        library = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                library.asked.append(self.path)
                content = FILES.get(self.path)
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                """Tests need no access log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)

    def download(self, path: str, content: bytes | None = None) -> Download:
        content = FILES[path] if content is None else content
        url = f"http://127.0.0.1:{self.server.server_port}{path}"
        return Download(url=url, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


@pytest.fixture
def library() -> Iterator[Library]:
    library = Library()
    thread = threading.Thread(target=library.server.serve_forever, args=(0.01,))
    thread.start()
    yield library
    library.server.shutdown()
    thread.join()
    library.server.server_close()


def fail_on_notice(text: str) -> None:
    raise AssertionError(text)


def test_files_are_fetched_once_and_joined(library: Library, tmp_path: Path) -> None:
    asked = (library.download("/two"), library.download("/one"))
    expected = FILES["/two"] + b"\xff" + FILES["/one"] + b"\xff"
    for _ in range(2):
        assert bytes(downloaded(asked, tmp_path / "cache", fail_on_notice)) == expected
    assert library.asked == ["/two", "/one"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"second\n" * 999, b"sEcond\n" * 1000 + b"\xff", b""])
@pytest.mark.parametrize("joined", [True, False])
def test_a_corrupt_cached_text_is_set_aside_told_and_fetched_again(
    library: Library, tmp_path: Path, damage: bytes, joined: bool
) -> None:
    asked = (library.download("/two"),)
    downloaded(asked, tmp_path, fail_on_notice)
    cached = next(tmp_path.glob("*.text"))
    if not joined:  # the state after a crash between fetching and joining
        cached = cached.replace(tmp_path / asked[0].sha256)
    cached.write_bytes(damage)
    notices: list[str] = []
    assert bytes(downloaded(asked, tmp_path, notices.append)) == FILES["/two"] + b"\xff"
    assert cached.with_suffix(".corrupt").read_bytes() == damage
    assert ["corrupt" in notice for notice in notices] == [True]
    assert library.asked == ["/two", "/two"]


def test_a_limited_download_keeps_its_rate(library: Library, tmp_path: Path) -> None:
    asked, rate = (library.download("/long"),), 400_000
    began = time.monotonic()
    assert bytes(downloaded(asked, tmp_path, fail_on_notice, rate=rate))[:-1] == FILES["/long"]
    seconds = time.monotonic() - began
    assert 0.9 <= seconds * rate / len(FILES["/long"]) <= 2


def test_documents_fetched_before_a_crash_are_not_fetched_again(
    library: Library, tmp_path: Path
) -> None:
    one, two = library.download("/one"), library.download("/two")
    (tmp_path / one.sha256).write_bytes(FILES["/one"] + b"\xff")
    downloaded((one, two), tmp_path, fail_on_notice)
    assert library.asked == ["/two"]


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        ("/one", b"another file", "size or sha256 differ"),
        ("/two", b"short", "size or sha256 differ"),
        ("/missing", b"x", "404"),
        ("/latin", None, "no UTF-8 text"),
    ],
)
def test_what_cannot_be_used_is_told_and_leaves_nothing(
    library: Library, tmp_path: Path, path: str, content: bytes | None, why: str
) -> None:
    with pytest.raises(TrainerFailure, match=why) as failure:
        downloaded((library.download(path, content),), tmp_path, fail_on_notice)
    assert failure.value.cause == "data"
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_told(tmp_path: Path) -> None:
    download = Download(url="http://127.0.0.1:9/text", sha256="0" * 64, bytes=1)
    with pytest.raises(TrainerFailure, match=r"cannot be fetched.*check the network"):
        downloaded((download,), tmp_path, fail_on_notice)


def test_a_cache_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainerFailure, match="cache folder"):
        downloaded((), tmp_path / "file", fail_on_notice)


def test_what_a_killed_process_was_writing_is_removed(library: Library, tmp_path: Path) -> None:
    orphan = tmp_path / f"{'0' * 64}.{2**22 + 1}.part"
    orphan.touch()
    downloaded((library.download("/one"),), tmp_path, fail_on_notice)
    assert not orphan.exists()


def test_a_text_that_does_not_fit_on_the_disk_is_refused_before_it_is_fetched(
    library: Library, tmp_path: Path
) -> None:
    asked = (library.download("/two"), library.download("/one"))
    whole = len(FILES["/two"] + FILES["/one"]) + 2
    with pytest.raises(TrainerFailure, match=r"limits\.disk.*--state-dir") as failure:
        downloaded(asked, tmp_path, fail_on_notice, room=2 * whole - 1)
    assert failure.value.cause == "disk"
    assert (library.asked, list(tmp_path.iterdir())) == ([], [])
    assert len(downloaded(asked, tmp_path, fail_on_notice, room=2 * whole)) == whole
    downloaded(asked, tmp_path, fail_on_notice, room=0)  # it is there already
