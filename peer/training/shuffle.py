"""Pseudo-random permutations of [0, n) that take no memory, the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.uint64]

MAX_SIZE = 1 << 62

_ROUNDS = 8


class Shuffle:
    """A permutation of [0, size) that follows from `name`; evaluated wherever one asks.

    A Feistel network over the smallest number of bits that holds `size` values, walked along its
    cycle until it is back inside: Black and Rogaway, "Ciphers with Arbitrary Finite Domains"
    (CT-RSA 2002), section 3. Its domain has less than twice `size` values, so that takes less
    than two evaluations on average. For fairness, not for secrecy.
    """

    def __init__(self, size: int, name: str) -> None:
        if not 1 <= size <= MAX_SIZE:
            raise ValueError(f"nothing to shuffle, or too much: {size}")
        self._size = size
        bits = (size - 1).bit_length()
        self._low_bits = np.uint64(bits - bits // 2)
        self._low = np.uint64((1 << (bits - bits // 2)) - 1)
        self._high = np.uint64((1 << (bits // 2)) - 1)
        keys = hashlib.sha512(name.encode()).digest()
        self._keys = np.frombuffer(keys, dtype="<u8", count=_ROUNDS)

    def places(self, indices: Places) -> Places:
        """Where each of `indices`, below the size, comes to lie; same shape, all different."""
        places = self._encipher(indices)
        while np.any(outside := places >= self._size):
            places[outside] = self._encipher(places[outside])
        return places

    def _encipher(self, values: Places) -> Places:
        high, low = values >> self._low_bits, values & self._low
        for number, key in enumerate(self._keys):
            if number % 2:
                high = high ^ (_mixed(low + key) & self._high)
            else:
                low = low ^ (_mixed(high + key) & self._low)
        return (high << self._low_bits) | low


def _mixed(values: Places) -> Places:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), modulo 2 ** 64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
