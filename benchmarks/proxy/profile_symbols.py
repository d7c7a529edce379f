"""Turn what perf writes into functions and modules that people can read. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Final, NamedTuple

_LINE: Final = re.compile(r"^\s*[0-9a-f]+ (?P<symbol>.*) \((?P<path>[^()]*)\)$")
_CYTHON: Final = re.compile(r"^__pyx_[a-z_]+?_(?=\d)")
_LENGTH: Final = re.compile(r"\d+")
_NUMBER: Final = re.compile(r"^\d+")
_ENDING: Final = re.compile(r"\.(constprop|isra|part|cold)(\.\d+)*$")
_INLINED: Final = "inlined"
OWNERS: Final = ("/shardrouter/", "/uvloop/")
"""Parts of paths of compiled modules that call the interpreter and libraries, not they them."""


class Function(NamedTuple):
    """A function and the module it is in."""

    name: str
    module: str


NOBODY: Final = Function("no such caller: other threads, plain Python", "")


class Call(NamedTuple):
    """A line of a call chain."""

    symbol: str
    path: str

    @property
    def function(self) -> Function:
        """Return what people call it."""
        module = PurePath(self.path).name.partition(".cpython-")[0]
        return Function(readable(self.symbol), re.sub(r"\.so.*", "", module))


def read_chains(lines: Iterable[str]) -> Iterator[list[Call]]:
    """Yield the call chain of each sample of ``perf script -F ip,sym,dso``, innermost first.

    What was inlined counts as the function that it is in.
    """
    chain: list[Call] = []
    for line in lines:
        found = _LINE.match(line)
        if found and found["path"] != _INLINED:
            chain.append(Call(found["symbol"], found["path"]))
        elif not line.strip() and chain:
            yield chain
            chain = []
    if chain:
        yield chain


def itself(chain: Sequence[Call]) -> Function:
    """Return the function that ran."""
    return chain[0].function


def owner(chain: Sequence[Call]) -> Function:
    """Return the innermost function of a compiled module: it ran, or what it called."""
    owned = (call for call in chain if any(part in call.path for part in OWNERS))
    found = next((call for call in owned if call.path.endswith(".so")), None)
    return NOBODY if found is None else found.function


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
