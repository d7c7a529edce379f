"""Read SET, RESET and SHOW: which settings they name, and what they say to the proxy. Pure."""

from dataclasses import dataclass
from typing import Final

from shardrouter.sql.effects import Effect, OwnSetting, ResetAll, SettingVerb, Statement
from shardrouter.sql.lexer import TokenKind
from shardrouter.sql.token_reader import TokenReader

OWN_PREFIX: Final = "shardrouter."

_LARGEST_INTEGER: Final = 2**31 - 1  # longer ones are kept as they are written

_SPECIAL: Final[tuple[tuple[tuple[bytes, ...], tuple[str, ...]], ...]] = (
    ((b"session", b"authorization"), ("session_authorization",)),
    (
        (b"session", b"characteristics"),
        (
            "default_transaction_deferrable",
            "default_transaction_isolation",
            "default_transaction_read_only",
        ),
    ),
    ((b"time", b"zone"), ("timezone",)),
    ((b"xml", b"option"), ("xmloption",)),
    ((b"names",), ("client_encoding",)),
    ((b"schema",), ("search_path",)),
    ((b"role",), ("role",)),
    ((b"transaction",), ()),  # what it sets ends with the transaction
    ((b"constraints",), ()),
)
"""Forms in which a setting is not named by its name."""


@dataclass(frozen=True, slots=True)
class SettingRead:
    """A statement that was read, and the settings it changes."""

    statement: Statement
    names: tuple[str, ...] = ()
    own_unreadable: bool = False


def read_set(reader: TokenReader) -> SettingRead:
    """Read SET in all its forms."""
    reader.at += 1
    is_local = _take_scope(reader)
    special = _take_special(reader)
    if special is not None:
        return _changed(reader, special)
    name = read_setting_name(reader)
    if name is None:
        return _unreadable(reader)
    has_value = reader.take(b"to") or reader.sign() == b"="
    if not name.startswith(OWN_PREFIX):
        is_read = has_value or reader.take(b"from", b"current")
        return _changed(reader, (name,)) if is_read else _unreadable(reader)
    if reader.sign() == b"=":
        reader.at += 1
    is_read, value = _value(reader)
    if not (has_value and is_read and reader.has_ended()):
        return _own_unreadable(reader)
    return _own(reader, SettingVerb.SET, name, value, is_local)


def read_reset(reader: TokenReader) -> SettingRead:
    """Read RESET."""
    reader.at += 1
    if reader.take(b"all") and reader.has_ended():
        return SettingRead(ResetAll(start=reader.start, end=reader.end, flags=Effect.SETTINGS))
    special = _take_special(reader)
    if special is not None:
        return _changed(reader, special)
    name = read_setting_name(reader)
    if name is None or not reader.has_ended():
        return _unreadable(reader)
    if name.startswith(OWN_PREFIX):
        return _own(reader, SettingVerb.RESET, name)
    return _changed(reader, (name,))


def read_show(reader: TokenReader) -> SettingRead:
    """Read SHOW; only that of a setting of the proxy is more than a question to the server."""
    reader.at += 1
    name = read_setting_name(reader)
    if name is not None and name.startswith(OWN_PREFIX) and reader.has_ended():
        return _own(reader, SettingVerb.SHOW, name)
    if b"shardrouter" in reader.text[reader.start : reader.end].lower():
        return _own_unreadable(reader)
    return SettingRead(Statement(start=reader.start, end=reader.end))


def read_setting_name(reader: TokenReader) -> str | None:
    """Step over the name of a setting and return it in lower case."""
    parts: list[bytes] = []
    while True:
        part = reader.name_at(reader.at)
        if part is None:
            return None
        parts.append(part)
        reader.at += 1
        if reader.sign() != b".":
            break
        reader.at += 1
    name = b".".join(parts).lower()
    return name.decode() if name.isascii() else None  # others cannot be asked for by name


def _take_scope(reader: TokenReader) -> bool:
    """Step over SESSION or LOCAL; True for LOCAL."""
    word = reader.word()
    if word not in (b"local", b"session"):
        return False
    if reader.word(1) in (b"to", b"authorization", b"characteristics"):
        return False
    if reader.sign(1) in (b".", b"="):
        return False  # a setting whose name begins so
    reader.at += 1
    return word == b"local"


def _take_special(reader: TokenReader) -> tuple[str, ...] | None:
    for words, names in _SPECIAL:
        ahead = len(words)
        if reader.sign(ahead) in (b".", b"=") or reader.word(ahead) == b"to":
            continue  # SET role = x names it as any other
        if reader.take(*words):
            return names
    return None


def _value(reader: TokenReader) -> tuple[bool, str | None]:
    """Step over a value; False when it is not read, None for DEFAULT."""
    sign = reader.sign()
    if sign in (b"-", b"+"):
        reader.at += 1
    if reader.has_ended():
        return False, None
    kind = reader.tokens[reader.at].kind
    written = reader.written(reader.at)
    word, string = reader.word(), reader.string_at(reader.at)
    name = reader.name_at(reader.at)
    reader.at += 1
    if kind is TokenKind.NUMBER:
        return True, _number(written, is_negative=sign == b"-")
    if sign:
        return False, None
    if word == b"default":
        return True, None
    if kind is TokenKind.STRING:
        return string is not None, string
    if name is None or not name.isascii():
        return False, None
    return True, name.decode()


def _number(written: bytes, *, is_negative: bool) -> str:
    text = written.decode()
    if text.isdecimal() and int(text) <= _LARGEST_INTEGER:
        text = str(int(text))
    return f"-{text}" if is_negative else text


def _changed(reader: TokenReader, names: tuple[str, ...]) -> SettingRead:
    flags = Effect.SETTINGS if names else Effect.NONE
    if "seed" in names:
        flags |= Effect.FOREVER  # SET seed is setseed()
    return SettingRead(Statement(start=reader.start, end=reader.end, flags=flags), names)


def _own(
    reader: TokenReader,
    verb: SettingVerb,
    name: str,
    value: str | None = None,
    is_local: bool = False,
) -> SettingRead:
    return SettingRead(
        OwnSetting(
            start=reader.start,
            end=reader.end,
            flags=Effect.OWN_SETTING,
            verb=verb,
            name=name,
            value=value,
            is_local=is_local,
        )
    )


def _unreadable(reader: TokenReader) -> SettingRead:
    """Return a SET whose setting is not known: Postgres refuses most of them."""
    written = reader.text[reader.start : reader.end].lower()
    flags = Effect.SETTINGS | Effect.UNKNOWN_SETTING | Effect.SUSPECT
    return SettingRead(
        Statement(start=reader.start, end=reader.end, flags=flags),
        own_unreadable=b"shardrouter" in written,
    )


def _own_unreadable(reader: TokenReader) -> SettingRead:
    statement = Statement(start=reader.start, end=reader.end, flags=Effect.OWN_SETTING)
    return SettingRead(statement, own_unreadable=True)
