"""Take the text of an admin client apart: statements, words, arguments. Pure."""

import re
from typing import Final

from shardrouter.errors import AdminSyntaxError

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>\s+ | --[^\n]* | /\*.*?\*/)
    | (?P<end>;)
    | (?P<quoted>"(?:[^"]|"")*" | '(?:[^']|'')*')
    | (?P<word>[^\s;'"]+)
    | (?P<stray>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def statements(text: str) -> list[list[str]]:
    """Return the words of each statement; empty statements are left out.

    Comments are skipped. What stands in quotes is one word, without its quotes. Raises
    AdminSyntaxError for a quote that is not closed.
    """
    found: list[list[str]] = [[]]
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "end":
            found.append([])
        elif token.lastgroup == "quoted":
            quote = token.group()[0]
            found[-1].append(token.group()[1:-1].replace(quote * 2, quote))
        elif token.lastgroup == "stray":
            raise AdminSyntaxError(
                f"the quote at {text[token.start() : token.start() + 20]!r} is not closed",
                hint="names need no quotes here",
            )
        elif token.lastgroup == "word":
            found[-1].append(token.group())
    return [words for words in found if words]
