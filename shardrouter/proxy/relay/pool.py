"""The backends of one user on one node: who has one, who waits for one, when there is one more.

Waiters are served in the order they came. A backend is opened when somebody waits for it and the
parent grants it (bounds hold over all workers); a node that refuses is tried again after a pause.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from shardrouter.config import ProxyPoolSettings
from shardrouter.control import spawn
from shardrouter.errors import (
    BackendError,
    BackendRefused,
    ControlLost,
    PoolTimeout,
    ShardRouterError,
)
from shardrouter.proxy.relay.backend import Backend
from shardrouter.proxy.relay.pair import BackendRelay
from shardrouter.proxy.relay.tally import Tally
from shardrouter.topology import Node, NodeId, Shard

FIRST_PAUSE_SECONDS: Final = 0.1  # after a node refused; doubles
LONGEST_PAUSE_SECONDS: Final = 5.0
MOST_OPENING: Final = 16  # of one pool at once
LIFETIME_SPREAD: Final = 0.1
FORGOTTEN_AFTER_SECONDS: Final = 60.0
BUSY_STATES: Final = frozenset({"57P03", "53300"})
"""What a node says that starts, or has no connection left: others may be quicker next time."""


class PoolKey(NamedTuple):
    """What backends of one pool have in common."""

    node: NodeId
    dsn: str
    user: str
    database: str
    startup: tuple[tuple[str, str], ...]


class Waiter(Protocol):
    """A session that wants a backend."""

    session: Any
    waits_for: "NodePool | None"
    waits_since: float

    def attach(self, backend: Backend) -> None: ...

    def fail(self, error: ShardRouterError) -> None: ...

    def choose_again(self) -> None: ...


Quota = Callable[[str, str, str], Awaitable[bool]]
Open = Callable[["NodePool"], Awaitable[Backend]]


class NodePool:
    """One pool. ``idle`` is a stack: those not needed grow old at its bottom."""

    def __init__(
        self,
        key: PoolKey,
        shard: Shard,
        node: Node,
        tally: Tally,
        is_for_writes: bool,
        settings: ProxyPoolSettings,
        open_backend: Open,
        want: Callable[["NodePool"], Awaitable[bool]],
        freed: Callable[["NodePool"], None],
    ) -> None:
        self.key = key
        self.shard = shard
        self.node = node
        self.tally = tally
        self.idle: list[BackendRelay] = []
        self.waiters: deque[Waiter] = deque()
        self.backends: set[Backend] = set()
        self.secret: Any = None
        self.is_paused = False
        self.is_shrinking = False
        self.is_retired = False
        self.opening = 0
        self.to_shed = 0
        self.back_off_until = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._open = open_backend
        self._want = want
        self._freed = freed
        self.is_denied = False
        self.last_error: BackendError | None = None
        self.on_trouble: Callable[[NodePool, BackendError], None] = lambda pool, error: None
        self.is_wanted_elsewhere: Callable[[NodePool], bool] = lambda pool: False
        self.is_for_writes = is_for_writes
        self.used_at = monotonic()
        self.configure(settings)

    def configure(self, settings: ProxyPoolSettings) -> None:
        """Take new settings."""
        self.settings = settings
        self.most_waiters = settings.max_waiters
        self.check_after = settings.check_after_seconds

    @property
    def name(self) -> str:
        return f"{self.key.node}/{self.key.user}"

    @property
    def waiting(self) -> int:
        return sum(waiter.waits_for is self for waiter in self.waiters)

    def is_unused(self) -> bool:
        return not (self.backends or self.waiters or self.opening)

    def is_stale(self, now: float) -> bool:
        """True when nobody has used it for long: it can be forgotten."""
        return now - self.used_at > FORGOTTEN_AFTER_SECONDS

    # Taking and giving back

    def wait(self, waiter: Waiter) -> None:
        """Put a session at the end of the row. Raises PoolTimeout when the row is full."""
        if len(self.waiters) >= self.settings.max_waiters:
            raise PoolTimeout(
                f"{len(self.waiters)} clients wait for a backend already",
                shard=self.shard.id,
                node=self.key.node,
                hint="raise proxy_pool.size, or proxy_pool.max_waiters",
            )
        waiter.waits_for = self
        self.used_at = waiter.waits_since = monotonic()
        self.waiters.append(waiter)
        if not self.is_denied:
            self.grow()

    def take_back(self, relay: BackendRelay) -> None:
        """Give a backend that is free to who waits longest, or keep it, or close it."""
        if self.is_retired or self.to_shed > 0 or relay.keeper.is_over():
            self.to_shed -= self.to_shed > 0
            self.is_shrinking = self.is_retired or self.to_shed > 0
            relay.keeper.close("not needed")
            return
        if not self.is_paused:
            waiter = self._next_waiter()
            if waiter is not None:
                waiter.attach(relay.keeper)
                return
        if self.is_wanted_elsewhere(self):
            relay.keeper.close("another pool of this user has use for its place")
            return
        relay.idle_since = monotonic()
        self.idle.append(relay)

    def serve(self) -> None:
        """Hand idle backends to waiters: after a pause, or when somebody was put back."""
        while self.idle and self.waiters and not self.is_paused:
            waiter = self._next_waiter()
            if waiter is None:
                return
            waiter.attach(self.idle.pop().keeper)
        self.grow()

    def _next_waiter(self) -> Waiter | None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if waiter.waits_for is self:
                waiter.waits_for = None
                self.tally.waited(monotonic() - waiter.waits_since)
                return waiter
        return None

    def take_out(self, is_misplaced: Callable[[Waiter], bool]) -> list[Waiter]:
        """Take those out of the row who have no business there any more, and return them."""
        taken = [w for w in self.waiters if w.waits_for is self and is_misplaced(w)]
        for waiter in taken:
            waiter.waits_for = None
        if taken:
            self.waiters = deque(w for w in self.waiters if w.waits_for is self)
        return list(dict.fromkeys(taken))

    def expire(self, now: float) -> None:
        """Refuse those who have waited too long; the row is in the order of their deadlines."""
        limit = now - self.settings.checkout_timeout_seconds
        while self.waiters:
            waiter = self.waiters[0]
            if waiter.waits_for is self:
                if waiter.waits_since > limit:
                    break
                waiter.waits_for = None
                waiter.fail(self._why_not())
            if self.waiters and self.waiters[0] is waiter:
                self.waiters.popleft()

    def _why_not(self) -> ShardRouterError:
        error = self.last_error
        if error is not None and not self.backends:
            error.shard, error.node = self.shard.id, self.key.node
            return error
        return PoolTimeout(
            f"no backend of user {self.key.user} came free within"
            f" {self.settings.checkout_timeout_seconds:g} s",
            shard=self.shard.id,
            node=self.key.node,
            hint="raise proxy_pool.size or proxy_pool.checkout_timeout_seconds, or hold"
            " transactions shorter; SHOW POOLS in the admin database tells who waits",
        )

    # Growing and shrinking

    def grow(self) -> None:
        """Open as many backends as there are waiters without one in sight."""
        if self.is_retired or self.is_denied or monotonic() < self.back_off_until:
            return
        for _ in range(min(len(self.waiters), MOST_OPENING) - self.opening):
            self.opening += 1
            spawn(self._grow_one(), name=f"open {self.name}")

    async def _grow_one(self) -> None:
        try:
            if not await self._want(self):
                self.is_denied = True  # ``granted`` comes when there is room
                return
            await self._open_one()
        except ControlLost as error:
            self._put_off()
            self._fail_all(error)  # this worker leaves: another one has a parent to ask
            return
        finally:
            self.opening -= 1
        self.grow()

    def granted(self) -> None:
        """The parent has counted one more backend for us."""
        self.is_denied = False
        if self.is_retired or not self.waiters:
            self._freed(self)
            return
        self.opening += 1
        spawn(self._use_grant(), name=f"open {self.name}")

    async def _use_grant(self) -> None:
        try:
            await self._open_one()
        finally:
            self.opening -= 1
        self.grow()

    async def _open_one(self) -> None:
        try:
            backend = await self._open(self)
        except BackendError as error:
            self._freed(self)
            self._refused(error)
            return
        except BaseException:
            self._freed(self)
            raise
        self._pause = FIRST_PAUSE_SECONDS
        self.last_error = None
        self.backends.add(backend)
        # Even when it shall go soon: where workers take turns nobody would ever be served else.
        waiter = None if self.is_retired or self.is_paused else self._next_waiter()
        if waiter is None:
            self.take_back(backend.relay)
        else:
            waiter.attach(backend)

    def _refused(self, error: BackendError) -> None:
        """A node that cannot be reached is tried again; what it refuses goes to who asked."""
        self._put_off()
        is_final = isinstance(error, BackendRefused) and error.sqlstate not in BUSY_STATES
        if not is_final:
            self.last_error = error
            self.on_trouble(self, error)
            return
        self._fail_all(error)

    def _put_off(self) -> None:
        """Open no more for a while."""
        self.back_off_until = monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2)

    def _fail_all(self, error: ShardRouterError) -> None:
        waiters, self.waiters = self.waiters, deque()
        for waiter in waiters:
            if waiter.waits_for is self:
                waiter.waits_for = None
                waiter.fail(error)

    def set_aside(self, backend: Backend) -> None:
        """A backend will be gone soon: nobody gets it."""
        if backend.relay in self.idle:
            self.idle.remove(backend.relay)

    def forget(self, backend: Backend) -> None:
        """A backend is gone."""
        self.set_aside(backend)
        if backend in self.backends:
            self.backends.discard(backend)
            self.to_shed = min(self.to_shed, len(self.backends) + self.opening)
            self.is_shrinking = self.is_retired or self.to_shed > 0
            self._freed(self)
        self.grow()

    def shed(self, count: int) -> None:
        """Give up so many backends, idle ones now and others when they come free."""
        while count and self.idle:
            count -= 1
            self.idle.pop(0).keeper.close("shared with other workers")
        self.to_shed += count
        self.is_shrinking = self.to_shed > 0

    def spare(self, count: int) -> None:
        """Give up idle backends that nobody waits for here: another worker has use for them."""
        while count and self.idle and not self.waiters:
            count -= 1
            self.idle.pop(0).keeper.close("not used here, wanted elsewhere")

    def sweep(self, now: float) -> None:
        """Refuse late waiters, close old and long idle backends, try again what was put off."""
        self.expire(now)
        idle_limit = now - self.settings.idle_seconds
        for relay in [r for r in self.idle if r.idle_since < idle_limit or r.keeper.dies_at < now]:
            relay.keeper.close("idle or old")
        if self.waiters:
            self.grow()

    def change_role(self, is_for_writes: bool, tally: Tally) -> None:
        """The node was promoted or demoted: what is open knows the old role."""
        self.is_for_writes = is_for_writes
        self.tally = tally
        self.back_off_until = 0.0
        for relay in list(self.idle):
            relay.keeper.close("the node changed its role")
        for backend in self.backends:
            backend.dies_at = 0.0
            backend.relay.is_doubtful = True  # at work now: it ends when it comes free
        self.send_on()

    def retire(self) -> None:
        """The node left: close what is idle, and the rest when it comes free."""
        self.is_retired = self.is_shrinking = True
        for relay in list(self.idle):
            relay.keeper.close("the node left the topology")
        self.send_on()

    def send_on(self) -> None:
        """Have those who wait choose anew."""
        waiters, self.waiters = self.waiters, deque()
        for waiter in waiters:
            if waiter.waits_for is self:
                waiter.waits_for = None
                waiter.choose_again()


def lifetime(settings: ProxyPoolSettings, rng: random.Random) -> float:
    """Return how long a new backend lives: up to a tenth shorter than the settings say."""
    return settings.lifetime_seconds * (1 - LIFETIME_SPREAD * rng.random())
