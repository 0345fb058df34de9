"""Where a number lies on an axis, which of them are marked, and how they are written."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

_STEPS: Final = (1, 2, 5)
# The marks of the powers of ten alone are enough above this many of them.
_FEW_DECADES: Final = 2.0
# What has no logarithm lies this share of an axis before the least that has one.
_ZERO_SHARE: Final = 0.16


class LogScale(msgspec.Struct, frozen=True):
    """Maps numbers on a logarithmic axis from ``start`` to ``end``; a 0 lies apart, at its start."""

    least: float
    most: float
    start: float
    end: float
    has_zero: bool = False

    @classmethod
    def around(cls, numbers: Sequence[float], start: float, end: float) -> "LogScale":
        """Make an axis that holds all of these numbers, to the next round number on both sides."""
        positive = [number for number in numbers if number > 0] or [1.0]
        least, most = _round_down(min(positive)), _round_up(max(positive))
        return cls(least, most if most > least else least * 10, start, end)

    @classmethod
    def between(cls, numbers: Sequence[float], start: float, end: float) -> "LogScale":
        """Make an axis that ends at the least and the most of these numbers."""
        positive = [number for number in numbers if number > 0] or [1.0]
        least, most = min(positive), max(positive)
        return cls(least, most if most > least else least * 10, start, end, has_zero=min(numbers) <= 0)

    def at(self, number: float) -> float:
        """Return where a number lies; one that is not on the axis lies at its nearer end."""
        first = self.start + (self.end - self.start) * (_ZERO_SHARE if self.has_zero else 0)
        if number <= 0:
            return self.start
        bounded = min(max(number, self.least), self.most)
        share = math.log(bounded / self.least) / math.log(self.most / self.least)
        return first + (self.end - first) * share

    def marks(self) -> list[float]:
        """Return the round numbers on the axis, few enough to be written beside it."""
        decades = math.log10(self.most / self.least)
        steps = _STEPS if decades <= _FEW_DECADES else (1,)
        low, high = math.floor(math.log10(self.least)), math.ceil(math.log10(self.most))
        marks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
        # Not equality: a tenth has no exact float.
        return [mark for mark in marks if self.least * 0.999 <= mark <= self.most * 1.001]


def write_milliseconds(milliseconds: float) -> str:
    """Write a time with its unit, µs, ms or s, to three digits."""
    if milliseconds < 1:
        return f"{_write_short(milliseconds * 1000)} µs"
    if milliseconds < 1000:
        return f"{_write_short(milliseconds)} ms"
    return f"{_write_short(milliseconds / 1000)} s"


def write_count(number: float) -> str:
    """Write a number to three digits: 50k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_write_short(number / size)}{letter}"
    return _write_short(number)


def write_bytes(count: float) -> str:
    """Write a number of bytes with its unit, to three digits."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{_write_short(count / size)} {unit}"
    return f"{_write_short(count)} B"


def write_times(ratio: float) -> str:
    """Write how many times as much something is, to three digits."""
    return f"{_write_short(ratio)}\N{MULTIPLICATION SIGN}"


def _write_short(number: float) -> str:
    # From 100 on, three digits would be written as a power of ten.
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"


def _round_down(number: float) -> float:
    power = 10.0 ** math.floor(math.log10(number))
    return max(step * power for step in _STEPS if step * power <= number * 1.001)


def _round_up(number: float) -> float:
    power = 10.0 ** math.floor(math.log10(number))
    return min(step * power for step in (*_STEPS, 10) if step * power >= number * 0.999)
