"""The codecs by the names that run specs and rosters have for them."""

from __future__ import annotations

from peer.averaging.codecs import Codec, Fp16, Fp32, Int4, Int8
from peer.averaging.sparse import Sparse

_ALL: tuple[Codec, ...] = (Fp32(), Fp16(), Int8(), Int4(), Sparse("sparse", kept=64))
CODECS = {codec.name: codec for codec in _ALL}


def codec_named(name: str) -> Codec:
    """The codec of that name; `KeyError` for an unknown one."""
    return CODECS[name]
