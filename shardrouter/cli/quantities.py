"""Bytes, times and parts in words for people. Pure."""

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000.0


def bytes_words(size: float | None) -> str:
    """Return ``1.2 GB``; None is nothing known."""
    if size is None:
        return ""
    sign, rest = ("-", -size) if size < 0 else ("", float(size))
    for unit in _UNITS:
        if rest < _STEP or unit == _UNITS[-1]:
            return f"{sign}{rest:.0f} {unit}" if unit == "B" else f"{sign}{rest:.1f} {unit}"
        rest /= _STEP
    raise AssertionError("unreachable: the last unit takes every size")


def seconds_words(seconds: float | None) -> str:
    """Return ``35 ms``, ``4.2 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def part_words(part: float | None) -> str:
    """Return ``42 %``."""
    return "" if part is None else f"{part * 100:.0f} %"
