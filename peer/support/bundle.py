"""A bundle on its way to somebody who helps: everything in it goes through the same sieve."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from peer.support.gathering import Piece
from peer.support.hiding import Known, hidden, hidden_values

_ABOUT = """\
What `peer support-bundle` found on a machine that lends itself to a training run.

Keys, invitations, tokens and certificates were taken out, and addresses, names of machines, of the
user and of their home. That was done by rules: look through it before you give it to anybody. It
was sent nowhere.

{names}
"""


def content(pieces: Iterable[Piece], known: Known) -> dict[str, str]:
    """The files of a bundle by name, with nothing in them that is to be hidden."""
    files = {}
    for piece in pieces:
        if isinstance(piece.content, str):
            text = hidden(piece.content, known)
        else:
            values = hidden_values(piece.content, known)
            text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        files[hidden(piece.name, known)] = text
    return {"about.txt": _ABOUT.format(names="\n".join(files)), **files}


def write(path: Path, files: dict[str, str], now: float) -> None:
    """A .tar.gz that was not there, for its owner's eyes; `OSError` if it cannot be.

    now: unix seconds. Nothing of whoever made it is in the archive's own fields.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=int(now)) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, text in files.items():
            data = text.encode("utf-8", errors="replace")
            entry = tarfile.TarInfo(f"murmuration-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now), 0o600
            archive.addfile(entry, io.BytesIO(data))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(packed.getvalue())
