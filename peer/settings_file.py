"""`peer.toml` changed one key at a time: comments and order survive, and nothing wrong is written.

Pure, but for reading and writing the file.
"""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BeforeValidator
from tomlkit.exceptions import TOMLKitError

from peer.config import TABLES, PeerConfig, default_values, faults_of, flat, known_keys
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_whole

_NEAR = 0.5
"""Of two names, for `difflib`: wide, because a wrong guess costs a glance."""
_WORDS = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


@dataclass(frozen=True)
class Change:
    """A file's text after one key was changed."""

    text: str
    value: Any = None
    """As it stands in the file; None: it does not any more."""
    remaining: tuple[str, ...] = ()
    """Faults of other keys, which were there before."""


def require_known(key: str) -> None:
    """`UserError` BAD_CONFIG that names the keys it may have been meant for."""
    known = known_keys()
    if key in known:
        return
    raise UserError(
        Exit.BAD_CONFIG, f"there is no setting {key!r}; did you mean {', '.join(near(key, known))}?"
    )


def near(key: str, known: Sequence[str]) -> list[str]:
    """The keys that resemble this one most, with their table or without; all if none does."""
    by_name = {it.rpartition(".")[2]: it for it in known}
    found = difflib.get_close_matches(key, known, n=3, cutoff=_NEAR)
    name = key.rpartition(".")[2]
    found += [by_name[it] for it in difflib.get_close_matches(name, by_name, n=3, cutoff=_NEAR)]
    return list(dict.fromkeys(found))[:4] or list(known)


def with_value(text: str, key: str, words: Sequence[str], path: Path) -> Change:
    """The file's text with `key` set to what `words` say; `UserError` BAD_CONFIG if it cannot be.

    path: of the file, for what is told. Faults that the file had before do not stand in the way.
    """
    require_known(key)
    before = faults_of(*_values(_parsed(text, path), path))
    fault = ""
    for value in _readings(key, words):
        document = _parsed(text, path)
        _put(document, key, value)
        after = faults_of(*_values(document, path))
        news = [it for at, it in after.items() if at == key or at not in before]
        if not news:
            return Change(tomlkit.dumps(document), value, tuple(after.values()))
        fault = fault or news[0]
    raise UserError(Exit.BAD_CONFIG, fault.replace(f" ({path})", ""))


def without_value(text: str, key: str, path: Path) -> Change | None:
    """The file's text without `key`; None if it is not set there. Keys that are unknown may go."""
    document = _parsed(text, path)
    if key not in flat(document.unwrap()):
        require_known(key)
        return None
    table, _, name = key.partition(".")
    if name and table in TABLES:
        del document[table][name]  # a table: `flat` went into it
    else:
        del document[key]
    remaining = faults_of(*_values(document, path)).values()
    return Change(tomlkit.dumps(document), remaining=tuple(remaining))


def read_text(path: Path) -> str:
    """What the file holds; empty if there is none. `UserError` BAD_CONFIG if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UserError(Exit.BAD_CONFIG, f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot read {path}: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Replace the file, whole or not at all; a link to it stays one. `UserError` if that fails.

    A new one is its owner's alone to read, as one that was so stays.
    """
    path = path.resolve()
    try:
        private = not path.exists() or not stat.S_IMODE(path.stat().st_mode) & 0o077
        write_whole(path, lambda file: file.write(text.encode()), private=private)
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot write {path}: {error.strerror}") from error


def _parsed(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise UserError(Exit.BAD_CONFIG, f"{path} is not valid TOML: {error}") from error


def _put(document: tomlkit.TOMLDocument, key: str, value: Any) -> None:
    table, _, name = key.partition(".")
    if not name:
        document[key] = value
        return
    if not isinstance(document.get(table), dict):  # none yet, or what the check then names
        document[table] = tomlkit.table()
    document[table][name] = value  # a table, as of two lines before


def _values(document: tomlkit.TOMLDocument, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    values = default_values() | flat(document.unwrap())
    return values, dict.fromkeys(values, str(path))


def _readings(key: str, words: Sequence[str]) -> Iterator[Any]:
    """What the words on a command line may mean, the likeliest first."""
    text = " ".join(words)
    if not _has_unit(key):
        # a number is one where it can be; of an amount it would be without its unit
        for kind in (int, float):
            try:
                yield kind(text)
            except ValueError:
                continue
        if text.lower() in _WORDS:
            yield _WORDS[text.lower()]
    yield text
    yield list(words) if len(words) > 1 else [it.strip() for it in text.split(",") if it.strip()]


def _has_unit(key: str) -> bool:
    """Whether the setting is an amount that is written with its unit."""
    table, _, name = key.partition(".")
    fields = TABLES[table].model_fields if name else PeerConfig.model_fields
    field = fields[name or key]
    pieces = [*field.metadata, *getattr(field.annotation, "__args__", ())]
    metadata = [inner for it in pieces for inner in (it, *getattr(it, "__metadata__", ()))]
    return any(isinstance(it, BeforeValidator) for it in metadata)
