"""Decide how a client must prove who it is: the first fitting line of ``proxy_auth.rules``.

Pure. The lines read as in pg_hba.conf; what we cannot keep (groups, patterns, files, host names,
options) is refused instead of being passed over, because the next line might then let in whom this
one was to keep out.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shardrouter.errors import SettingsError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_KINDS: Final = ("local", "host", "hostssl", "hostnossl")
_SPECIAL: Final = ("+", "@", "/")


class Method(StrEnum):
    """What a client is asked for."""

    TRUST = "trust"
    SCRAM = "scram-sha-256"
    CERTIFICATE = "cert"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    is_quoted: bool

    def is_keyword(self, word: str) -> bool:
        return self.text == word and not self.is_quoted


@dataclass(frozen=True, slots=True)
class Rule:
    """One line."""

    kind: str
    databases: tuple[_Word, ...]
    users: tuple[_Word, ...]
    network: _Network | None
    """None: every address, or a Unix socket."""
    method: Method

    def fits_names(self, user: str, database: str, *, is_replication: bool) -> bool:
        return self._fits_database(user, database, is_replication) and any(
            word.is_keyword("all") or word.text == user for word in self.users
        )

    def _fits_database(self, user: str, database: str, is_replication: bool) -> bool:
        # As in Postgres: a physical replication connection has no database to fit.
        if is_replication:
            return any(word.is_keyword("replication") for word in self.databases)
        return any(
            word.is_keyword("all")
            or (word.is_keyword("sameuser") and database == user)
            or (word.text == database and not word.is_keyword("replication"))
            for word in self.databases
        )


class Rules:
    """All lines, in order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    @property
    def methods(self) -> frozenset[Method]:
        """Every method that some line asks for."""
        return frozenset(rule.method for rule in self._rules)

    def decide(
        self,
        user: str,
        database: str,
        address: str | None,
        *,
        has_tls: bool,
        is_replication: bool = False,
    ) -> Method | None:
        """Return the method of the first line that fits; None where none does.

        ``address`` is that of TCP, None for a Unix socket.
        """
        kinds = _kinds_of(address, has_tls)
        numeric = None if address is None else plain_address(address)
        for rule in self._rules:
            if (
                rule.kind in kinds
                and (rule.network is None or (numeric is not None and numeric in rule.network))
                and rule.fits_names(user, database, is_replication=is_replication)
            ):
                return rule.method
        return None


def plain_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; IPv4 that arrived on an IPv6 socket is IPv4 again."""
    numeric = ipaddress.ip_address(address.partition("%")[0])
    return getattr(numeric, "ipv4_mapped", None) or numeric


def read_rules(lines: Iterable[str]) -> Rules:
    """Return the rules of the lines; SettingsError names the line that cannot be kept."""
    rules = []
    for number, line in enumerate(lines, 1):
        try:
            fields = split_fields(line)
            if fields:
                rules.append(_read_rule(fields))
        except ValueError as error:
            raise SettingsError(
                f"proxy_auth.rules, line {number}: {error}",
                hint="write `host DATABASE USER ADDRESS METHOD` or `local DATABASE USER METHOD`",
            ) from None
    return Rules(rules)


def split_fields(line: str) -> list[list[_Word]]:
    """Return the fields of a line, each a list of words; ``#`` starts a comment."""
    fields: list[list[_Word]] = []
    at, in_list = 0, False
    while at < len(line):
        character = line[at]
        if character == "#":
            break
        if character.isspace():
            at += 1
            continue
        if character == ",":
            in_list = True
            at += 1
            continue
        word, at = _read_word(line, at)
        if in_list and fields:
            fields[-1].append(word)
        else:
            fields.append([word])
        in_list = False
    return fields


def _read_word(line: str, at: int) -> tuple[_Word, int]:
    if line[at] == '"':
        end = line.find('"', at + 1)
        if end < 0:
            raise ValueError("a quote is not closed")
        return _Word(line[at + 1 : end], is_quoted=True), end + 1
    end = at
    while end < len(line) and line[end] not in ',"#' and not line[end].isspace():
        end += 1
    return _Word(line[at:end], is_quoted=False), end


def _read_rule(fields: list[list[_Word]]) -> Rule:
    kind = _only(fields[0])
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is not one of {', '.join(_KINDS)}")
    wanted = 4 if kind == "local" else 5
    if len(fields) != wanted:
        raise ValueError(f"{len(fields)} fields, and {kind} has {wanted}")
    for word in (*fields[1], *fields[2]):
        if word.text.startswith(_SPECIAL) and not word.is_quoted:
            raise ValueError(f"groups, files and patterns are not known: {word.text}")
    try:
        method = Method(_only(fields[-1]))
    except ValueError:
        raise ValueError(f"the method is not one of {', '.join(Method)}") from None
    if method is Method.CERTIFICATE and kind != "hostssl":
        raise ValueError("the method cert needs hostssl")
    network = None if kind == "local" else _network(_only(fields[3]))
    return Rule(kind, tuple(fields[1]), tuple(fields[2]), network, method)


def _only(words: list[_Word]) -> str:
    if len(words) != 1:
        raise ValueError("a list where one word belongs")
    return words[0].text


def _network(text: str) -> _Network | None:
    if text == "all":
        return None
    if "/" not in text:
        raise ValueError(f"the address {text!r} is not a network: write 10.0.0.0/8, or all")
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"the address {text!r}: {error}") from None


def _kinds_of(address: str | None, has_tls: bool) -> tuple[str, ...]:
    if address is None:
        return ("local",)
    return ("host", "hostssl") if has_tls else ("host", "hostnossl")
