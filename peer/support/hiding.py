"""Who and where a volunteer is, and what nobody may know, taken out of what they show others. Pure.

Rather too much than too little: what looks like an address, a name of a machine or a secret is
hidden, even where it is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swarmpb.redaction import HIDDEN, redacted

SECRET = "(key hidden)"  # noqa: S105  in the place of one
HOME = "~"
USER = "(user)"
MACHINE = "(machine)"

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s\"'<>]+", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(invite|token|secret|password|passphrase|api[_-]?key|pin|certificate|signature)\b"
    r"([\"']?\s*[:=]\s*[\"']?)[^\s\"',;)]{6,}",
    re.IGNORECASE,
)
_HEAD = re.compile(r"\b(authorization|bearer|cookie)\b(\s*[:=]?\s*)[^\n]+", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_MAC = re.compile(r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", re.IGNORECASE)
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_HOST = re.compile(
    rf"(?<!\w)(?:{_LABEL}\.)+(?:[^\W\d_]{{2,24}}|xn--[a-z0-9-]{{2,59}})\.?(?::\d+)?(?!\w)"
)
_HOME_OF = re.compile(r"/(?:home|Users)/[^/\s\"':,;]+|/root(?![\w.-])")
_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{16,}")
_PEER_ID = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")
_NUMBER = re.compile(r"\d+e[+-]?\d+")
_CAMEL = re.compile(r"(?:[A-Z][a-z]+){2,}")
_OURS = frozenset(
    "json log sqlite toml sock key bin safetensors tmp service plist".split()  # noqa: SIM905  short
)
"""How names of files end that are no names of machines: there are no such domains."""
_SECRET_BYTES = 6
"""Of a known secret's text that is shorter, each number would have to go."""


@dataclass(frozen=True)
class Known:
    """What is to be hidden because this machine knows that it is its own."""

    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    """Names of this machine, and of the coordinators that it knows."""
    secrets: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()
    """Words that are shown though they look like something: names of runs and modules."""


def without_homes(text: str) -> str:
    """`text` without whose home a path is in: reasons go to everybody, and may name a file."""
    return _HOME_OF.sub(HOME, text)


def hidden(text: str, known: Known) -> str:
    """`text` without any of that."""
    for secret in sorted(known.secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_BYTES:
            text = text.replace(secret, SECRET)
    text = _PEM.sub(SECRET, text)
    for home in sorted(known.homes, key=len, reverse=True):
        if len(home) > 1:
            text = re.sub(rf"{re.escape(home)}(?![\w.-])", HOME, text)
    text = without_homes(text)
    text = _URL.sub(rf"\1{HIDDEN}", text)
    text = _HEAD.sub(rf"\1\2{SECRET}", text)
    text = _NAMED.sub(rf"\1\2{SECRET}", text)
    text = _MAIL.sub(HIDDEN, text)
    text = _MAC.sub(HIDDEN, text)
    text = redacted(text)
    text = _words(text, known.machines, MACHINE)
    text = _HOST.sub(lambda found: _host(found, known.plain), text)
    text = _words(text, known.users, USER)
    return _TOKEN.sub(lambda found: _token(found[0], known.plain), text)


def hidden_values(value: Any, known: Known) -> Any:
    """The same for JSON values: texts in lists and objects, and the names of their fields."""
    if isinstance(value, str):
        return hidden(value, known)
    if isinstance(value, Mapping):
        return {hidden(str(key), known): hidden_values(it, known) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [hidden_values(it, known) for it in value]
    return value


def _words(text: str, words: Iterable[str], put: str) -> str:
    for word in sorted(set(words), key=len, reverse=True):
        if word:
            pattern = rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
            text = re.sub(pattern, put, text, flags=re.IGNORECASE)
    return text


def _host(found: re.Match[str], plain: frozenset[str]) -> str:
    name = found[0]
    if name.rstrip(".") in plain:
        return name
    last = name.rstrip(".").rpartition(".")[2]
    if last in _OURS or _CAMEL.fullmatch(last):
        return name
    before = found.string[max(0, found.start() - 2) : found.start()]
    of_a_path = before.endswith("/") and before != "//"
    if of_a_path and re.fullmatch(r"[a-z0-9]+\.(?:py|so)", name):
        return name  # in a trace
    return HIDDEN


def _token(token: str, plain: frozenset[str]) -> str:
    """A long word without sense is a key, or might be one; a path is looked at piece by piece."""
    if _PEER_ID.fullmatch(token) or _NUMBER.fullmatch(token) or token in plain:
        return token
    if "/" in token and not any(_is_dense(piece) for piece in token.split("/")):
        return token
    return SECRET if _is_random(token) else token


def _is_dense(piece: str) -> bool:
    """Whether a piece of a path looks as if somebody had rolled dice for it."""
    sorts = (str.islower, str.isupper, str.isdigit)
    mixed = all(any(is_one(it) for it in piece) for is_one in sorts)
    return (mixed and len(piece) >= 6) or (len(piece) >= 16 and _is_random(piece))


def _is_random(token: str) -> bool:
    """Digits among letters; or letters only, of both sorts and without a sign between words."""
    letters = any(it.isalpha() for it in token)
    if letters and any(it.isdigit() for it in token):
        return True
    both = any(it.islower() for it in token) and any(it.isupper() for it in token)
    return both and not set(token) & set("_-") and not _CAMEL.fullmatch(token)
