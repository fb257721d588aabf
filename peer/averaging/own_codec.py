"""With which codec a peer sends its own parts, where its user allows little. Pure.

Owners encode the answers with the run's codec, the same bytes for all, so this touches nobody's
state: a member's stronger codec loses more of its own work, which its error feedback sends later.
"""

from __future__ import annotations

from peer.averaging.codec_names import CODECS, codec_named
from peer.averaging.codecs import Codec
from peer.averaging.links import Allowance, User
from swarmpb.spec import RoundSpec

UPLOAD_SHARE = 0.4
"""Of an exchange: owners take parts for 0.6 of it, and a round's words travel, too."""


def accepted(name: str, usual: Codec) -> Codec | None:
    """The codec by which a member announces its parts; None for one that is not taken.

    usual: the run's; an empty name stands for it. Weaker ones would make owners take more bytes
    than the run asks of them.
    """
    if not name:
        return usual
    found = CODECS.get(name)
    return found if found is not None and _size(found) <= _size(usual) else None


def choose_codec(user: User, round_: RoundSpec, parameters: int) -> Codec:
    """For the next round's own parts; the user hears of it."""
    codec = own_codec(round_, parameters, user.allowance())
    user.sends_with("" if codec.name == round_.codec else codec.name)
    return codec


def own_codec(round_: RoundSpec, parameters: int, allowance: Allowance) -> Codec:
    """The weakest codec from the run's on that keeps within what the user allows.

    Rounds are made longer first (the claimed link sees to that), so data is reckoned by the
    longest that the spec allows; if nothing is enough, the strongest codec.
    """
    usual = codec_named(round_.codec)
    stronger = sorted((it for it in CODECS.values() if _size(it) < _size(usual)), key=_size)
    answers = usual.encoded_bytes(parameters)
    for codec in (usual, *reversed(stronger)):
        sent = codec.encoded_bytes(parameters)
        in_time = sent <= UPLOAD_SHARE * round_.exchange_seconds * allowance.upload
        affordable = sent + answers <= round_.max_seconds * allowance.data
        if in_time and affordable:
            return codec
    return stronger[0] if stronger else usual


def _size(codec: Codec) -> int:
    """Bytes of a large vector."""
    return codec.encoded_bytes(1 << 20)
