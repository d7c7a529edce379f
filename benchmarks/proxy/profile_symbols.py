"""Turn what profilers write into functions and modules that people can read. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Final

PerfSample = tuple[str, str]
"""A function and the module it is in."""

_LINE: Final = re.compile(r"^\s*[0-9a-f]+ (?P<symbol>.*) \((?P<module>[^()]*)\)$")
_CYTHON: Final = re.compile(r"^__pyx_[a-z_]+?_(?=\d)")
_LENGTH: Final = re.compile(r"\d+")
_NUMBER: Final = re.compile(r"^\d+")
_ENDING: Final = re.compile(r"\.(constprop|isra|part|cold)(\.\d+)*$")
_FRAME: Final = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)$")


def read_perf(lines: Iterable[str]) -> Iterator[PerfSample]:
    """Yield function and module of each line of ``perf script -F ip,sym,dso``."""
    for line in lines:
        found = _LINE.match(line)
        if found:
            module = PurePath(found["module"]).name.partition(".cpython-")[0]
            yield readable(found["symbol"]), re.sub(r"(\.so|\.py).*", "", module)


def read_stacks(lines: Iterable[str]) -> Counter[PerfSample]:
    """Count the innermost functions of ``py-spy record --format raw``: stacks and how often."""
    found: Counter[PerfSample] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frame = _FRAME.match(stack.rpartition(";")[2])
        if frame:
            found[frame["function"], frame["file"]] += int(count)
    return found


def readable(symbol: str) -> str:
    """Return a C symbol without what compilers add; Cython's with the Python name it stands for.

    Cython writes the length before each part and a number before the name of a method:
    ``__pyx_pw_11shardrouter_4wire_5parts_6Reader_3feed``.
    """
    symbol = _ENDING.sub("", symbol)
    head = _CYTHON.match(symbol)
    if head is None:
        return symbol
    parts, rest = [], symbol[head.end() :]
    while (length := _LENGTH.match(rest)) and rest[_end_of(length) :].startswith("_"):
        parts.append(rest[length.end() : _end_of(length)])
        rest = rest[_end_of(length) + 1 :]
    classes = [part for part in parts if part[:1].isupper()]
    return ".".join([*classes, _NUMBER.sub("", rest)])


def _end_of(length: re.Match[str]) -> int:
    return length.end() + int(length[0])
