"""Ask a shard for the verifiers of users, through a function that shows nothing else.

One connection of the proxy's own, to which nothing of any client ever travels but the user's name
as a parameter. Names are qualified and the search path is ours, so that no object that somebody
made on the shard is taken for another. Answers are believed for some seconds, users that do not
exist as well; one question at a time about a user, however many clients wait for it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from shardrouter.config import public_dsn
from shardrouter.control.tasks import spawn
from shardrouter.errors import LoginRefused, SettingsError, ShardRouterError
from shardrouter.wire import ScramVerifier, read_verifier

logger = logging.getLogger(__name__)

MOST_CACHED: Final = 20_000
ANSWER_SECONDS: Final = 5.0  # for connecting, and for the answer; the login's own limit also holds
SEARCH_PATH: Final = "pg_catalog, pg_temp"  # pg_temp last, else it would come first

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class VerifierFetch:
    """Verifiers from ``function`` on the server of ``dsn``, which is asked for at each question."""

    def __init__(
        self,
        function: str,
        dsn: Callable[[], str],
        cache_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._question = _question(function)
        self._dsn = dsn
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._cache: OrderedDict[str, tuple[ScramVerifier | None, float]] = OrderedDict()
        self._running: dict[str, asyncio.Task[ScramVerifier | ShardRouterError | None]] = {}
        self._turn = asyncio.Lock()
        self._connection: _Connection | None = None
        self._connected_to = ""

    async def verifier_of(self, user: str) -> ScramVerifier | None:
        """Return the user's verifier, None where no such user may log in.

        Raises LoginRefused 57P03 when the shard does not answer: nobody is let in on old answers.
        """
        known = self._cache.get(user)
        if known is not None and self._clock() - known[1] < self._cache_seconds:
            return known[0]
        task = self._running.get(user)
        if task is None:
            task = spawn(self._fetch(user), name="proxy login")
            self._running[user] = task
            task.add_done_callback(lambda _: self._running.pop(user, None))
        # Shielded: the first client to ask may leave while others wait for the same answer.
        answer = await asyncio.shield(task)
        if isinstance(answer, ShardRouterError):
            raise answer
        return answer

    def forget(self, user: str, older_than_seconds: float = 1.0) -> None:
        """Ask anew at the user's next login, unless the answer is young: a password may be new."""
        known = self._cache.get(user)
        if known is not None and self._clock() - known[1] >= older_than_seconds:
            del self._cache[user]

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _fetch(self, user: str) -> ScramVerifier | ShardRouterError | None:
        async with self._turn:
            asked_at = self._clock()
            try:
                verifier = _read(user, await self._ask_twice(user))
            except (psycopg.Error, OSError, TimeoutError, SettingsError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                logger.warning("verifier_fetch_failed reason=%s", reason)
                return LoginRefused(
                    "the login cannot be checked now: no shard answers",
                    sqlstate="57P03",
                    reason="credentials",
                    hint="try again; the proxy's log says why",
                )
            self._cache[user] = (verifier, asked_at)
            self._cache.move_to_end(user)
            while len(self._cache) > MOST_CACHED:
                self._cache.popitem(last=False)
            return verifier

    async def _ask_twice(self, user: str) -> object:
        """Ask, once more on a new connection where the kept one had broken meanwhile."""
        is_old = self._connection is not None
        try:
            return await self._ask(user)
        except psycopg.OperationalError:
            if not is_old:
                raise
        return await self._ask(user)

    async def _ask(self, user: str) -> object:
        connection = await self._ready_connection()
        work = spawn(_answer(connection, self._question, user), name="proxy login question")
        done, _ = await asyncio.wait({work}, timeout=ANSWER_SECONDS)
        if not done:
            # A frozen server. Cancelling would wait for its answer too: leave the connection to
            # the question, and let the next one have another.
            self._connection = None
            work.add_done_callback(lambda _: connection.pgconn.finish())
            raise TimeoutError(f"no answer in {ANSWER_SECONDS:g} s")
        error = work.exception()
        if error is not None:
            self._connection = None
            await connection.close()
            raise error
        return work.result()

    async def _ready_connection(self) -> _Connection:
        dsn = self._dsn()
        if self._connection is not None and dsn == self._connected_to:
            return self._connection
        await self.close()
        logger.info("verifier_fetch_connects dsn=%s", public_dsn(dsn))
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await psycopg.AsyncConnection.connect(
                dsn,
                autocommit=True,
                application_name="shardrouter-login",
                client_encoding="utf8",
                prepare_threshold=None,
            )
            await connection.execute(
                "SELECT pg_catalog.set_config('search_path', %s, false)", [SEARCH_PATH]
            )
        self._connection, self._connected_to = connection, dsn
        return connection


async def _answer(connection: _Connection, question: sql.Composed, user: str) -> object:
    cursor = await connection.execute(question, [user])
    row = await cursor.fetchone()
    return row[0] if row else None


def _question(function: str) -> sql.Composed:
    schema, separator, name = function.partition(".")
    if not separator or not schema or not name or "." in name:
        raise SettingsError(
            f"proxy_auth.function {function!r} does not name a schema and a function",
            hint="write shardrouter.proxy_login",
        )
    called = sql.Identifier(schema, name)
    return sql.SQL("SELECT {}(%s::pg_catalog.text)::pg_catalog.text").format(called)


def _read(user: str, answer: object) -> ScramVerifier | None:
    """Return the verifier in the answer. A password of another kind cannot be checked by SCRAM."""
    if answer is None:
        return None
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else str(answer)
    try:
        return read_verifier(text)
    except ValueError:
        logger.warning("verifier_unusable user=%s hint=set the password anew", ascii(user[:63]))
        return None
