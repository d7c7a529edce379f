"""Run a service's alembic environment on one shard, in a process of its own.

Run as a program, this file reads one request as JSON from stdin and writes one answer as JSON to
stdout. A process for each shard, because alembic's ``context`` is one for a whole process, and
env.py may do what it likes with modules and logging. It imports nothing of shardrouter, so that it
starts in half the time.

Two advisory locks are held for as long as this process lives: one keeps a second migration off
the database; the other has a random number, by which we know that env.py has connected to this
very database and not to one of its own choice.
"""

import json
import os
import secrets
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc, text

PROGRAM: Final = __file__
APPLICATION_NAME: Final = "shardrouter-migrate"
JUST_ENDED_SECONDS: Final = 1.0
MIGRATION_LOCK: Final = 7310010391427282  # advisory, one migration in a database at a time


@dataclass(frozen=True, slots=True)
class Request:
    """What to do on which shard."""

    shard: str
    dsn: str
    url: str
    ini: str
    action: str
    """``upgrade``, ``downgrade`` or ``status``."""

    target: str
    dry_run: bool
    arguments: tuple[str, ...] = ()
    """For env.py's ``context.get_x_argument()``."""

    connect_timeout_seconds: int = 3

    @property
    def changes_nothing(self) -> bool:
        return self.dry_run or self.action == "status"


@dataclass(slots=True)
class Answer:
    """What came of it."""

    is_busy: bool = False
    current: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """Revisions applied; for a dry run and for status: those that would be."""

    error: str | None = None


class _WrongDatabase(Exception):
    """env.py chose a database by itself."""


def run(request: Request) -> Answer:
    """Do what is asked; failures are part of the answer."""
    answer = Answer()
    try:
        with _only_one(request) as nonce:
            if nonce is None:
                answer.is_busy = True
            else:
                _Migration(request, answer, nonce).run()
    except Exception as error:
        traceback.print_exc()
        answer.error = _first_line(error)
    return answer


@contextmanager
def _only_one(request: Request) -> Iterator[int | None]:
    """Hold the locks for the block; yield the random one's number, None when somebody migrates."""
    nonce = secrets.randbits(63)
    with psycopg.connect(
        request.dsn,
        autocommit=True,
        connect_timeout=request.connect_timeout_seconds,
        application_name=APPLICATION_NAME,
    ) as connection:
        if not request.changes_nothing and not _takes_lock(connection):
            yield None
            return
        connection.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [nonce])
        yield nonce


def _takes_lock(connection: psycopg.Connection[Any]) -> bool:
    """True when nobody else migrates; waits a moment for one that has just ended.

    A server process gives its locks back a little after its client has hung up.
    """
    deadline = time.monotonic() + JUST_ENDED_SECONDS
    query = "SELECT pg_catalog.pg_try_advisory_lock(%s)"
    while connection.execute(query, [MIGRATION_LOCK]).fetchone() != (True,):
        if time.monotonic() > deadline:
            return False
        time.sleep(JUST_ENDED_SECONDS / 20)
    return True


class _Migration:
    """One run of the environment, and a look at what it left."""

    def __init__(self, request: Request, answer: Answer, nonce: int) -> None:
        self._request = request
        self._answer = answer
        self._nonce = nonce
        self._config = Config(
            request.ini, cmd_opts=Namespace(x=[f"shard={request.shard}", *request.arguments])
        )
        self._config.set_main_option("sqlalchemy.url", request.url.replace("%", "%%"))
        self._script = ScriptDirectory.from_config(self._config)
        answer.heads = sorted(self._script.get_heads())

    def run(self) -> None:
        if self._is_look:
            self._run_env(self._plan, changes_nothing=True)
            return
        try:
            self._run_env(self._plan, changes_nothing=False)
        except Exception:
            # Each migration may be a transaction of its own: tell how far it came.
            with suppress(Exception):
                self._run_env(self._look, changes_nothing=True)
            raise
        self._run_env(self._look, changes_nothing=True)

    @property
    def _is_look(self) -> bool:
        return self._request.changes_nothing

    def _run_env(self, steps: Any, *, changes_nothing: bool) -> None:
        options = {"destination_rev": self._request.target, "dont_mutate": changes_nothing}
        with EnvironmentContext(self._config, self._script, fn=steps, **options):
            self._script.run_env()

    def _plan(self, current: Any, context: MigrationContext) -> list[Any]:
        """Called by alembic inside env.py's transaction: tell the steps to take."""
        self._refuse_other_database(context)
        self._answer.current = sorted(current or ())
        steps = self._steps_from(current)
        self._answer.steps = [_described(step) for step in steps]
        return [] if self._is_look else steps

    def _look(self, current: Any, context: MigrationContext) -> list[Any]:
        """Called afterwards: note where the shard is, and which steps were taken."""
        self._refuse_other_database(context)
        self._answer.current = sorted(current or ())
        left = {_described(step) for step in self._steps_from(current)}
        self._answer.steps = [step for step in self._answer.steps if step not in left]
        return []

    def _steps_from(self, current: Any) -> list[Any]:
        find = (
            self._script._downgrade_revs
            if self._request.action == "downgrade"
            else self._script._upgrade_revs
        )
        return list(find(self._request.target, current))

    def _refuse_other_database(self, context: MigrationContext) -> None:
        connection = context.connection
        if connection is None or not connection.scalar(_IS_OURS, {"nonce": self._nonce}):
            raise _WrongDatabase(
                "env.py does not use the URL it is given: let it read"
                ' config.get_main_option("sqlalchemy.url") or engine_from_config'
            )


def _described(step: Any) -> str:
    return f"{step.revision.revision} {step.revision.doc}".strip()


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


_IS_OURS: Final = text(
    """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_locks l
      JOIN pg_catalog.pg_database d ON d.oid = l.database
     WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
       AND d.datname = pg_catalog.current_database()
       AND (l.classid::bigint << 32) | l.objid::bigint = :nonce)
"""
)


def main() -> None:
    """Entry point of the process."""
    request = Request(**json.load(sys.stdin))
    stdout = os.dup(1)
    os.dup2(2, 1)  # what env.py prints must not end up in the answer
    answer = run(request)
    with os.fdopen(stdout, "w") as out:
        json.dump(asdict(answer), out)


if __name__ == "__main__":
    main()
