"""Read one statement's tokens from left to right. Pure."""

from collections.abc import Sequence

from shardrouter.sql.effects import Name
from shardrouter.sql.lexer import Token, TokenKind
from shardrouter.sql.token_values import folded, string_value, unquoted


class TokenReader:
    """A place in the tokens of one statement. Words are told in lower case; b"" is none."""

    def __init__(self, text: bytes, tokens: Sequence[Token], standard_strings: bool) -> None:
        self.text = text
        self.tokens = tokens
        self.at = 0
        self._standard_strings = standard_strings

    @property
    def start(self) -> int:
        """Where the statement begins in the text."""
        return self.tokens[0].start

    @property
    def end(self) -> int:
        """Where the statement ends in the text."""
        return self.tokens[-1].end

    def has_ended(self) -> bool:
        return self.at >= len(self.tokens)

    def written(self, at: int) -> bytes:
        """Return a token as it is written."""
        if not 0 <= at < len(self.tokens):
            return b""
        return self.text[self.tokens[at].start : self.tokens[at].end]

    def word_at(self, at: int) -> bytes:
        """Return the unquoted word at a place."""
        if 0 <= at < len(self.tokens) and self.tokens[at].kind is TokenKind.WORD:
            return self.written(at).lower()
        return b""

    def name_at(self, at: int) -> bytes | None:
        """Return what a word or quoted identifier at a place stands for."""
        if 0 <= at < len(self.tokens):
            kind = self.tokens[at].kind
            if kind is TokenKind.WORD:
                return folded(self.written(at))
            if kind is TokenKind.QUOTED:
                return unquoted(self.written(at))
        return None

    def string_at(self, at: int) -> str | None:
        """Return the text of the string literal at a place."""
        if 0 <= at < len(self.tokens) and self.tokens[at].kind is TokenKind.STRING:
            return string_value(self.written(at), standard_strings=self._standard_strings)
        return None

    def word(self, ahead: int = 0) -> bytes:
        return self.word_at(self.at + ahead)

    def sign(self, ahead: int = 0) -> bytes:
        """Return a token here that is an operator or punctuation."""
        at = self.at + ahead
        if 0 <= at < len(self.tokens) and self.tokens[at].kind in (
            TokenKind.OPERATOR,
            TokenKind.PUNCTUATION,
        ):
            return self.written(at)
        return b""

    def take(self, *words: bytes) -> bool:
        """Step over the words when they are all here, one after the other."""
        if all(self.word(ahead) == word for ahead, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def take_any(self, *words: bytes) -> bytes:
        """Step over one of the words and return it."""
        found = self.word()
        if found in words:
            self.at += 1
            return found
        return b""

    def take_name(self) -> Name | None:
        """Step over a name that another one can be written in place of."""
        value = self.name_at(self.at)
        if value is None:
            return None
        token = self.tokens[self.at]
        self.at += 1
        return Name(value, token.start, token.end)

    def take_brackets(self) -> bytes:
        """Step over what is in parentheses here, and return it with them."""
        if self.sign() != b"(":
            return b""
        first, depth = self.at, 0
        while not self.has_ended():
            depth += {b"(": 1, b")": -1}.get(self.sign(), 0)
            self.at += 1
            if depth == 0:
                return self.text[self.tokens[first].start : self.tokens[self.at - 1].end]
        return b""

    def rest(self) -> tuple[int, bytes]:
        """Return what follows, and where it begins."""
        start = self.tokens[self.at].start
        return start, self.text[start : self.end]
