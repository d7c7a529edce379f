"""The same script for Postgres and for a proxy before it: the answers have to be the same."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tests.support.cluster import Cluster
from tests.support.proxy import USER, ProxyProcess
from tests.support.wire_script import Answer, Pace, Turn, Wire, play
from tests.support.wire_talks import RESET, TABLES

DIRECT: Final = "direct"
CLOSED: Final[Answer] = ("closed", b"")


class Differential:
    """Postgres and proxies, each with a schema of its own on the same server."""

    def __init__(self, cluster: Cluster, proxies: dict[str, ProxyProcess]) -> None:
        self._database = cluster.database
        server = cluster.fleet.node("s0-p")
        self._addresses = {DIRECT: (server.host, server.port)}
        self._addresses |= {name: ("127.0.0.1", proxy.port) for name, proxy in proxies.items()}
        self._connection: psycopg.Connection[TupleRow] = cluster.connect("s0-p")
        for name in self._addresses:
            self._run(name, "CREATE SCHEMA {schema}", TABLES)

    def close(self) -> None:
        """Drop what was made."""
        for name in self._addresses:
            self._run(name, "DROP SCHEMA {schema} CASCADE", "")
        self._connection.close()

    def _run(self, name: str, first: str, then: str) -> None:
        schema = sql.Identifier(_schema(name))
        self._connection.execute(sql.SQL(first).format(schema=schema))  # type: ignore[arg-type]
        self._connection.execute(sql.SQL("SET search_path = {}").format(schema))
        self._connection.execute(then.encode())

    def answers(self, name: str, script: Sequence[Turn], pace: Pace) -> list[Answer]:
        """Play a script on one of them, on fresh rows."""
        self._run(name, "SELECT", RESET)
        with Wire(self._addresses[name]) as wire:
            options = f"-c search_path={_schema(name)} -c statement_timeout=15s"
            said = wire.start({"user": USER, "database": self._database, "options": options})
            assert said[-1][0] == "Z", said
            return play(wire, script, pace)

    def check(self, script: Sequence[Turn], *paces: Pace) -> None:
        """Play it on all of them and compare."""
        for pace in paces or tuple(Pace):
            expected = self.answers(DIRECT, script, pace)
            for name in self._addresses:
                if name != DIRECT:
                    found = self.answers(name, script, pace)
                    assert _is_same(expected, found), _difference(name, pace, expected, found)


def _is_same(expected: list[Answer], found: list[Answer]) -> bool:
    """Compare. Where Postgres hangs up on what was not read yet, TCP may take its words along."""
    if found == expected or expected[-1] != CLOSED or found[-1] != CLOSED:
        return found == expected
    heard = [answer for answer in found[:-1] if not is_fatal(answer)]
    return any(map(is_fatal, expected)) and heard == expected[: len(heard)]


def is_fatal(answer: Answer) -> bool:
    """True for an error that ends the connection."""
    kind, essence = answer
    return kind == "E" and isinstance(essence, tuple) and essence[0] == "FATAL"


def _difference(name: str, pace: Pace, expected: list[Answer], found: list[Answer]) -> str:
    """Return where the answers part, with what was the same before."""
    at = next(
        (n for n, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
        min(len(expected), len(found)),
    )
    lines = [f"{name}, {pace.value}: after {expected[max(0, at - 6) : at]}"]
    lines.append(f"Postgres: {expected[at : at + 6]}")
    return "\n".join([*lines, f"proxy: {found[at : at + 6]}"])


def _schema(name: str) -> str:
    return f"differential_{name}"
