"""What the processors themselves count: energy by package, from Linux's powercap files."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/class/powercap")


class Rapl:
    """Joules of all processor packages since the last question."""

    def __init__(self, root: Path = _ROOT) -> None:
        """`OSError` if there are no such counters, or only root may read them."""
        # intel-rapl:0 is a package, also on AMD; intel-rapl:0:0 a part that it counts already
        self._packages = sorted(it for it in root.glob("intel-rapl:*") if it.name.count(":") == 1)
        if not self._packages:
            raise FileNotFoundError("the processors tell no energy")
        self._ranges = [_number(it / "max_energy_range_uj") for it in self._packages]
        self._before = self._counters()

    def joules(self) -> float:
        """Since the last question; counters that began anew meanwhile are understood, once."""
        now = self._counters()
        used = sum(
            after - before if after >= before else after - before + most
            for before, after, most in zip(self._before, now, self._ranges, strict=True)
        )
        self._before = now
        return used / 1e6

    def _counters(self) -> list[int]:
        return [_number(it / "energy_uj") for it in self._packages]


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except ValueError as error:
        raise OSError(f"{path} holds no number") from error
