"""A client that asks with a nonce in each question, misbehaves, and checks each answer."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shardrouter.wire import messages
from tests.support.proxy import ProxyProcess
from tests.support.raw_client import Message, RawClient, send_cancel

CLOSED_BY_THE_PROXY = {"25P03", "57P01"}
"""Errors after which the connection ends: a transaction was idle, the backend was killed."""

_LARGE_ROWS = 3_000


@dataclass
class Tally:
    """What all clients did together."""

    most_queries: int
    deadline: float
    answered: int = 0
    cancels: int = 0
    resets: int = 0
    connects: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def is_over(self) -> bool:
        return self.answered >= self.most_queries or time.monotonic() > self.deadline


class NonceClient:
    """One client after the other under one number."""

    def __init__(self, proxy: ProxyProcess, number: int, rng: random.Random, tally: Tally) -> None:
        self._proxy = proxy
        self._number = number
        self._rng = rng
        self._tally = tally
        self._count = 0
        self._raw: RawClient | None = None
        weights: dict[Callable[[RawClient], Awaitable[None]], int] = {
            self._simple: 200,
            self._several: 60,
            self._extended: 200,
            self._named: 80,
            self._pipeline: 100,
            self._flush: 60,
            self._copy: 60,
            self._transaction: 40,
            self._error: 60,
            self._setting: 20,
            self._pieces: 30,
            self._ignored: 20,
            self._cancelled: 3,
            self._cancelled_late: 20,
            self._slow: 1,
            self._large: 5,
            self._reset_in_message: 20,
            self._reset_at_work: 5,
            self._reset_unread: 3,
            self._leave_open: 5,
        }
        self._acts, self._weights = list(weights), list(weights.values())

    async def run(self) -> None:
        """Ask until the tally is over."""
        try:
            while not self._tally.is_over():
                await self._act()
        finally:
            if self._raw is not None:
                self._raw.abort()

    async def _act(self) -> None:
        if self._raw is None:
            await self._connect()
            return
        try:
            await self._rng.choices(self._acts, self._weights)[0](self._raw)
        except ConnectionError:
            self._drop()

    async def _connect(self) -> None:
        try:
            self._raw = await RawClient.connect(self._proxy.port, self._proxy.cluster.database)
        except ConnectionError as error:
            assert "Errno" in str(error) or "backend" in str(error) or "closed" in str(error), error
            await asyncio.sleep(0.01)
            return
        self._tally.connects += 1

    def _drop(self) -> None:
        assert self._raw is not None
        self._raw.abort()
        self._raw = None

    # Questions and answers

    def _nonce(self) -> str:
        self._count += 1
        return f"{self._number}.{self._count}"

    async def _expect(self, raw: RawClient, nonces: list[str], cycles: int = 1) -> bool:
        """Read to the end of so many cycles; all values must be these, in order, or a beginning.

        False: an error ended a cycle early.
        """
        got: list[str] = []
        failed = False
        for _ in range(cycles):
            for message in await self._cycle(raw):
                got += _values(message)
                failed |= message.kind == "E"
        wanted = nonces if not failed else None
        if wanted is None:
            assert _is_subsequence(got, nonces), (got, nonces)
        else:
            assert got == wanted, (got, wanted)
        self._tally.answered += len(got)
        return not failed

    async def _cycle(self, raw: RawClient) -> list[Message]:
        found: list[Message] = []
        while True:
            try:
                message = await raw.read()
            except TimeoutError:
                raise AssertionError(f"client {self._number} hangs after {found}") from None
            if message.kind == "E":
                self._tally.errors[message.fields()["C"]] += 1
            found.append(message)
            if message.kind == "Z":
                return found
            if message.kind not in "TDCSENIHdc123tns":
                raise AssertionError(message)

    async def _simple(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(self._rng.choice((1, 1, 1, 5)))]
        raw.send(*(messages.query(f"SELECT '{nonce}'") for nonce in nonces))
        await self._expect(raw, nonces, len(nonces))

    async def _several(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(3)]
        raw.send(messages.query("; ".join(f"SELECT '{nonce}'" for nonce in nonces)))
        await self._expect(raw, nonces)

    async def _extended(self, raw: RawClient) -> None:
        nonce = self._nonce()
        raw.send(*_batch(nonce), messages.sync())
        await self._expect(raw, [nonce])

    async def _named(self, raw: RawClient) -> None:
        """The same name is another statement with each client, and after each Close."""
        nonce, other = self._nonce(), self._nonce()
        text = f"SELECT $1::text, '{self._number % 7}'"
        raw.send(
            messages.close(b"S", "mine"), messages.parse("mine", text), messages.sync(),
            messages.bind("", "mine", [nonce.encode()]), messages.execute(), messages.sync(),
            messages.bind("", "mine", [other.encode()]), messages.execute(), messages.sync(),
        )  # fmt: skip
        mine = str(self._number % 7)
        await self._expect(raw, [nonce, mine, other, mine], 3)

    async def _pipeline(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(self._rng.randint(2, 8))]
        for nonce in nonces:
            raw.send(*_batch(nonce))
            if self._rng.random() < 0.2:
                await asyncio.sleep(0)
        raw.send(messages.sync())
        await self._expect(raw, nonces)

    async def _flush(self, raw: RawClient) -> None:
        """Replies are pushed without an end; then the rest of the cycle follows."""
        nonce, other = self._nonce(), self._nonce()
        raw.send(*_batch(nonce), messages.flush())
        got: list[str] = []
        while not got:
            message = await raw.read()
            if message.kind == "E":
                self._tally.errors[message.fields()["C"]] += 1
                break
            got += _values(message)
        assert got in ([nonce], []), (got, nonce)
        raw.send(*_batch(other), messages.sync())
        if not got:
            await self._expect(raw, [])
            return
        self._tally.answered += 1
        await self._expect(raw, [other])

    async def _copy(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(3)]
        rows = ", ".join(f"('{nonce}')" for nonce in nonces)
        raw.send(messages.query(f"COPY (VALUES {rows}) TO STDOUT"))
        await self._expect(raw, nonces)

    async def _transaction(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(3)]
        raw.send(messages.query("BEGIN"))
        if not await self._expect(raw, []):
            return
        for nonce in nonces:
            raw.send(messages.query(f"SELECT '{nonce}'"))
            if not await self._expect(raw, [nonce]):
                break
        raw.send(messages.query(self._rng.choice(("COMMIT", "ROLLBACK"))))
        await self._expect(raw, [])

    async def _error(self, raw: RawClient) -> None:
        nonces = [self._nonce() for _ in range(3)]
        if self._rng.random() < 0.5:
            raw.send(
                messages.query(f"SELECT '{nonces[0]}'; SELECT 1/0; SELECT '{nonces[1]}'"),
                messages.query(f"SELECT '{nonces[2]}'"),
            )
            await self._expect(raw, nonces, 2)
        else:
            raw.send(
                *_batch(nonces[0]), messages.parse("", "SELECT 1/0"), messages.bind("", ""),
                messages.execute(), *_batch(nonces[1]), messages.sync(),
                *_batch(nonces[2]), messages.sync(),
            )  # fmt: skip
            await self._expect(raw, nonces, 2)

    async def _setting(self, raw: RawClient) -> None:
        nonce = self._nonce()
        raw.send(
            messages.query(f"SET search_path = s{self._number}"),
            messages.query(f"SELECT '{nonce}'"),
        )
        if not await self._expect(raw, [nonce], 2):
            return
        raw.send(messages.query("SHOW search_path"))
        await self._expect(raw, [f"s{self._number}"])

    async def _pieces(self, raw: RawClient) -> None:
        """A message comes byte by byte, or in two halves with time between."""
        nonce = self._nonce()
        data = b"".join([*_batch(nonce), messages.sync()])
        at = self._rng.randrange(1, len(data))
        raw.send(data[:at])
        await asyncio.sleep(self._rng.random() * 0.01)
        raw.send(data[at:])
        await self._expect(raw, [nonce])

    async def _ignored(self, raw: RawClient) -> None:
        """CopyData outside of COPY is ignored; its end comes when all before it is answered."""
        nonce, other = self._nonce(), self._nonce()
        data = messages.typed(b"d", b"x" * 100_000)
        raw.send(messages.query(f"SELECT '{nonce}'"), data[:50_000])
        await self._expect(raw, [nonce])
        raw.send(data[50_000:], messages.query(f"SELECT '{other}'"))
        await self._expect(raw, [other])

    # Cancels, and time limits

    async def _cancelled(self, raw: RawClient) -> None:
        nonce = self._nonce()
        raw.send(messages.query(f"SELECT '{nonce}', pg_sleep(0.02)"))
        self._tally.cancels += 1
        await send_cancel(self._proxy.port, raw.pid, raw.key)
        await self._expect(raw, [nonce, ""])

    async def _cancelled_late(self, raw: RawClient) -> None:
        """The cancel may come before, while or after the question is answered."""
        nonces = [self._nonce() for _ in range(4)]
        cancel = asyncio.ensure_future(send_cancel(self._proxy.port, raw.pid, raw.key))
        self._tally.cancels += 1
        try:
            for nonce in nonces:
                raw.send(messages.query(f"SELECT '{nonce}'"))
                await self._expect(raw, [nonce])
        finally:
            await cancel

    async def _slow(self, raw: RawClient) -> None:
        nonce = self._nonce()
        raw.send(messages.query(f"SELECT '{nonce}', pg_sleep(0.6)"))
        await self._expect(raw, [nonce, ""])

    async def _large(self, raw: RawClient) -> None:
        nonce = self._nonce()
        text = f"SELECT '{nonce}' FROM generate_series(1, {_LARGE_ROWS})"
        raw.send(messages.query(text))
        await asyncio.sleep(0.01)
        before = self._tally.answered
        await self._expect(raw, [nonce] * _LARGE_ROWS)
        self._tally.answered = before + 1

    # Going without a word

    async def _reset_in_message(self, raw: RawClient) -> None:
        """Gone with half a message sent, which may be long enough to be passed on in pieces."""
        nonce = self._nonce() * self._rng.choice((1, 20_000))
        data = b"".join([*_batch(nonce), messages.sync()])
        raw.send(data[: self._rng.randrange(len(data))])
        await asyncio.sleep(self._rng.random() * 0.01)
        self._gone()

    async def _reset_at_work(self, raw: RawClient) -> None:
        raw.send(
            messages.query(f"SELECT '{self._nonce()}', pg_sleep({self._rng.random() * 0.02:f})")
        )
        await asyncio.sleep(self._rng.random() * 0.01)
        self._gone()

    async def _reset_unread(self, raw: RawClient) -> None:
        text = f"SELECT '{self._nonce()}' FROM generate_series(1, 100000)"
        raw.send(messages.query(text))
        await asyncio.sleep(self._rng.random() * 0.02)
        self._gone()

    async def _leave_open(self, raw: RawClient) -> None:
        nonce = self._nonce()
        raw.send(messages.query("BEGIN"), messages.query(f"SELECT '{nonce}'"))
        if await self._expect(raw, [nonce], 2) and self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.random() * 0.1)
        self._gone()

    def _gone(self) -> None:
        self._tally.resets += 1
        self._drop()


def _batch(nonce: str) -> tuple[bytes, ...]:
    return (
        messages.parse("", "SELECT $1::text"),
        messages.bind("", "", [nonce.encode()]),
        messages.execute(),
    )


def _values(message: Message) -> list[str]:
    if message.kind == "D":
        return [(value or b"").decode() for value in message.columns()]
    if message.kind == "d":
        return [message.body.decode().rstrip("\n")]
    return []


def _is_subsequence(got: list[str], wanted: list[str]) -> bool:
    rest = iter(wanted)
    return all(value in rest for value in got)
