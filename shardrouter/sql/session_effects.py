"""Tell what a text of SQL may leave in the session that runs it.

Pure. Reads tokens, not grammar: whether a statement is valid is Postgres' business, and what it
refuses leaves nothing. A semicolon always ends a statement here; inside CREATE RULE (...) and
BEGIN ATOMIC it does not for Postgres, but nothing that could be there is mistaken for more than it
is. Doubt adds flags.

Not seen, because the text does not say it: what functions, triggers, rules and views of users do
inside, and that CREATE TABLE makes a temporary table when search_path begins with pg_temp (so each
CREATE may pin). The caller keeps results by text: reading costs about a microsecond a token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from shardrouter.sql.effects import Effect, Effects, Statement
from shardrouter.sql.lexer import Token, TokenKind, is_readable, tokens
from shardrouter.sql.plain import may_call
from shardrouter.sql.prepared_statements import (
    read_deallocate,
    read_discard,
    read_execute,
    read_prepare,
)
from shardrouter.sql.session_functions import (
    ANY_CODE,
    SESSION_FUNCTIONS,
    called_functions,
    flags_of_words,
)
from shardrouter.sql.setting_statements import OWN_PREFIX, read_reset, read_set, read_show
from shardrouter.sql.token_reader import TokenReader
from shardrouter.sql.transaction_statements import read_begin

LONGEST_READ_BYTES: Final = 32_768  # at most 50 ms of plain Python on the proxy's loop
MOST_STATEMENTS: Final = 1_000

ANYTHING: Final = (
    ANY_CODE | Effect.STATEMENTS | Effect.UNKNOWN_SETTING | Effect.SEQUENCE | Effect.FOREVER
)

_HARMLESS: Final = frozenset(
    b"select insert update delete merge values table with commit end rollback abort savepoint "
    b"release fetch move copy truncate analyze analyse vacuum lock notify alter grant revoke "
    b"comment security reindex cluster refresh checkpoint reassign".split()
)
"""First words of statements that leave nothing but what functions in them and INTO do."""

_READERS: Final[dict[bytes, Callable[[TokenReader], Statement]]] = {
    b"begin": read_begin,
    b"start": read_begin,
    b"prepare": read_prepare,
    b"execute": read_execute,
    b"deallocate": read_deallocate,
    b"discard": read_discard,
}

_SETTINGS: Final = {b"set": read_set, b"reset": read_reset, b"show": read_show}

_HEADS: Final = {
    b"create": (Effect.MAY_PIN, None),
    b"import": (Effect.MAY_PIN, None),
    b"listen": (Effect.MAY_PIN, "LISTEN"),
    b"load": (Effect.FOREVER, "LOAD"),
    b"unlisten": (Effect.MAY_UNPIN, None),
    b"close": (Effect.MAY_UNPIN, None),
    b"drop": (Effect.MAY_UNPIN, None),
    b"do": (ANY_CODE, None),
    b"call": (ANY_CODE, None),
}

_TEMPORARY: Final = frozenset((b"temp", b"temporary"))
_CREATE_MODIFIERS: Final = (b"or", b"replace", b"global", b"local", *_TEMPORARY, b"unlogged")
_TEMPORARY_TABLE: Final = "temporary table"
_CODE_STARTS: Final = frozenset((b"", b"begin", b"then", b"else", b"loop"))
"""Words before a statement of PL/pgSQL; none is a semicolon or label."""


@dataclass(slots=True)
class _Found:
    """What has been found so far, over all statements."""

    low: str
    """The text in lower case: what is not in it need not be looked for."""

    flags: Effect = Effect.NONE
    statements: list[Statement] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    pins: dict[str, None] = field(default_factory=dict)
    own_unreadable: bool = False

    def pin(self, flags: Effect, reason: str | None) -> Effect:
        if reason is not None:
            self.pins[reason] = None
        return flags

    def add(self, statement: Statement, flags: Effect) -> None:
        if flags:
            statement = replace(statement, flags=statement.flags | flags)
        self.statements.append(statement)
        self.flags |= statement.flags


def effects_of(text: bytes, *, standard_strings: bool = True, ascii_safe: bool = True) -> Effects:
    """Return what a text may leave in the session, and its statements.

    ``standard_strings``: standard_conforming_strings is on. ``ascii_safe``: in the session's
    client_encoding each ASCII byte is an ASCII character (false for SJIS, BIG5, GBK, UHC, GB18030,
    JOHAB and SHIFT_JIS_2004). A text that cannot be read, or is too long to be, may do anything
    for which it has the words: it then has the flag SUSPECT and no statements.
    """
    if len(text) > LONGEST_READ_BYTES or not is_readable(text, ascii_safe_encoding=ascii_safe):
        return unread(text)
    found = _Found(text.lower().decode("latin-1"))
    for statement in _split(tokens(text, standard_strings=standard_strings)):
        if statement[-1].kind is TokenKind.BROKEN or len(found.statements) >= MOST_STATEMENTS:
            return unread(text)
        _read(TokenReader(text, statement, standard_strings), found)
    return Effects(
        flags=found.flags,
        statements=tuple(found.statements),
        setting_names=tuple(found.names),
        own_setting_unreadable=found.own_unreadable,
        pins=tuple(found.pins),
    )


def unread(text: bytes) -> Effects:
    """Return what is assumed of a text of which only the words are seen."""
    return Effects(ANY_CODE | Effect.STATEMENTS | flags_of_words(text), ())


def _split(found: list[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each statement that has some, without comments."""
    statement: list[Token] = []
    for token in found:
        if token.kind is TokenKind.SEMICOLON:
            if statement:
                yield statement
            statement = []
        elif token.kind is not TokenKind.COMMENT:
            statement.append(token)
    if statement:
        yield statement


def _read(reader: TokenReader, found: _Found) -> None:
    """Add what one statement does."""
    flags = _functions(reader, found) | _into(reader, found)
    if any(token.kind is TokenKind.UNICODE for token in reader.tokens):
        flags |= ANYTHING  # its name may be that of any function
    _step_to_head(reader)
    head = reader.word()
    if head in _SETTINGS:
        read = _SETTINGS[head](reader)
        found.names |= dict.fromkeys(read.names)
        found.own_unreadable |= read.own_unreadable
        found.add(read.statement, flags)
    elif head in _READERS:
        found.add(_READERS[head](reader), flags)
    elif head == b"create":
        _read_create(reader, found, flags)
    else:
        found.add(_statement(reader), flags | _flags_of_head(reader, head, found))


def _step_to_head(reader: TokenReader) -> None:
    """Step over EXPLAIN with its options, and parentheses around a SELECT."""
    if reader.take(b"explain") and not reader.take_brackets():
        while reader.take_any(b"analyze", b"analyse", b"verbose"):
            pass
    while reader.sign() == b"(":
        reader.at += 1


def _flags_of_head(reader: TokenReader, head: bytes, found: _Found) -> Effect:
    if head in _HARMLESS:
        return Effect.NONE
    if head == b"declare":
        return _declare(reader, found)
    if head == b"do":
        return _do(reader, found)
    if head in _HEADS:
        return found.pin(*_HEADS[head])
    return unread(reader.text[reader.start : reader.end]).flags


def _functions(reader: TokenReader, found: _Found) -> Effect:
    """Return what the functions a statement calls do; UPDATE pg_settings is one of them."""
    flags = Effect.NONE
    calls = may_call(found.low)
    for name, at in called_functions(reader) if calls else ():
        does, reason = SESSION_FUNCTIONS[name]
        flags |= found.pin(does, reason)
        if name == b"set_config":
            flags |= _set_config(reader, at, found)
        elif name == b"set_limit":
            found.names["pg_trgm.similarity_threshold"] = None
        elif does is ANY_CODE:
            flags |= flags_of_words(reader.text[reader.start : reader.end])
    if "pg_settings" in found.low and _updates_settings(reader):
        flags |= Effect.SETTINGS | Effect.UNKNOWN_SETTING
    return flags


def _updates_settings(reader: TokenReader) -> bool:
    """True for UPDATE pg_settings, which is a SET: the view has a rule that says so."""
    places = range(len(reader.tokens))
    return any(reader.name_at(at) == b"pg_settings" for at in places) and any(
        reader.word_at(at) == b"update" for at in places
    )


def _set_config(reader: TokenReader, bracket: int, found: _Found) -> Effect:
    """Note the setting's name; it is known when the first argument is a literal and no more."""
    name = reader.string_at(bracket + 1)
    if name is None or not name.isascii() or reader.written(bracket + 2) != b",":
        return Effect.UNKNOWN_SETTING
    name = name.lower()
    if name.startswith(OWN_PREFIX):
        found.own_unreadable = True
        return Effect.OWN_SETTING
    found.names[name] = None
    return Effect.FOREVER if name == "seed" else Effect.NONE


def _into(reader: TokenReader, found: _Found) -> Effect:
    """Return MAY_PIN for SELECT INTO, which makes a table."""
    flags = Effect.NONE
    if "into" not in found.low:
        return flags
    for at in range(len(reader.tokens)):
        if reader.word_at(at) == b"into" and reader.word_at(at - 1) not in (b"insert", b"merge"):
            flags |= Effect.MAY_PIN
            after = {reader.word_at(at + 1), reader.word_at(at + 2)}
            if after & _TEMPORARY or _is_temporary_schema(reader, at + 1):
                found.pin(flags, _TEMPORARY_TABLE)
    return flags


def _read_create(reader: TokenReader, found: _Found, flags: Effect) -> None:
    """Read CREATE: it may make something temporary, and CREATE TABLE AS may run EXECUTE."""
    flags |= Effect.MAY_PIN
    reader.at += 1
    is_temporary = any(_is_temporary_schema(reader, at) for at in range(len(reader.tokens)))
    while modifier := reader.take_any(*_CREATE_MODIFIERS):
        is_temporary |= modifier in _TEMPORARY
    if is_temporary and not _drops_on_commit(reader):
        found.pin(flags, _TEMPORARY_TABLE)
    if reader.word() == b"table":
        while not reader.has_ended() and reader.word() != b"as":
            if not reader.take_brackets():
                reader.at += 1
        if reader.take(b"as") and reader.word() == b"execute":
            found.add(read_execute(reader), flags)
            return
    found.add(_statement(reader), flags)


def _drops_on_commit(reader: TokenReader) -> bool:
    places = range(reader.at, len(reader.tokens) - 2)
    wanted = (b"on", b"commit", b"drop")
    return any(tuple(reader.word_at(at + n) for n in range(3)) == wanted for at in places)


def _is_temporary_schema(reader: TokenReader, at: int) -> bool:
    name = reader.name_at(at)
    return name is not None and name.startswith(b"pg_temp") and reader.written(at + 1) == b"."


def _declare(reader: TokenReader, found: _Found) -> Effect:
    for at in range(reader.at, len(reader.tokens)):
        if reader.word_at(at) == b"for":
            break
        if reader.word_at(at) == b"with" and reader.word_at(at + 1) == b"hold":
            return found.pin(Effect.MAY_PIN, "cursor WITH HOLD")
    return Effect.NONE


def _do(reader: TokenReader, found: _Found) -> Effect:
    """Return what a DO may do: anything the server can be asked for, and what its code names."""
    flags = ANY_CODE
    for at in range(len(reader.tokens)):
        code = reader.string_at(at)
        if code is not None:
            inner = tokens(code.encode())
            inside = TokenReader(code.encode(), inner, standard_strings=True)
            flags |= _functions(inside, found) if inner else Effect.NONE
            flags |= _code_flags(inside)
            if reader.written(at)[:1] in b"eE":  # words may be hidden behind escapes
                flags |= Effect.UNKNOWN_SETTING
        elif reader.tokens[at].kind is TokenKind.STRING:
            flags |= Effect.UNKNOWN_SETTING  # U&'...'
        elif reader.word_at(at) == b"language" and reader.word_at(at + 1) != b"plpgsql":
            flags |= Effect.UNKNOWN_SETTING
    return flags


def _code_flags(code: TokenReader) -> Effect:
    """Return what statements of PL/pgSQL do: SET, LOAD, and EXECUTE of a text put together."""
    flags = Effect.NONE
    for at in range(len(code.tokens)):
        word = code.word_at(at)
        if word == b"execute" or code.tokens[at].kind is TokenKind.BROKEN:
            flags |= Effect.UNKNOWN_SETTING
        elif word in (b"set", b"load") and code.word_at(at - 1) in _CODE_STARTS:
            # In UPDATE ... SET a name stands before it.
            flags |= Effect.UNKNOWN_SETTING if word == b"set" else Effect.FOREVER
    return flags


def _statement(reader: TokenReader) -> Statement:
    return Statement(start=reader.start, end=reader.end)
