"""How a session gets a backend: at once, after a change of settings, or after a wait.

A backend that needs other settings than it has is *reserved* while the server makes them; only
when that succeeded does the client get it. A session that gives up meanwhile loses the claim.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from shardrouter.errors import ShardRouterError, StatementRefused
from shardrouter.proxy.relay.state import Reported, SessionState
from shardrouter.proxy.relay.verdicts import CLOSED, DROPPED, WAIT
from shardrouter.sql.session_inspection import Residue, sync_sql
from shardrouter.wire import messages

if TYPE_CHECKING:
    from shardrouter.proxy.relay.backend import Backend
    from shardrouter.proxy.relay.own_answers import OwnAnswer
    from shardrouter.proxy.relay.pool import NodePool
    from shardrouter.proxy.relay.session import Session

MOST_HELD_BYTES: Final = 256 * 1024  # of input while a client waits; then its socket is not read


class Attachment:
    """One session's claim to a backend."""

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.waits_for: NodePool | None = None
        self.waits_since = 0.0
        self.prelude = ""
        """SQL to be run on the next backend before the client gets it."""

        self.relay = session.relay
        self._reserved: Backend | None = None
        self._failure: ShardRouterError | None = None
        self._is_input_held = False
        self._is_acquiring = False
        self._first: asyncio.Future[None] | None = None

    # Asked by the relay

    def acquire_slowly(self, pool: "NodePool") -> bool:
        """Attach a backend, or wait for one. True: it is attached already."""
        self._is_acquiring = True
        try:
            found = self._best_idle(pool)
            if found is not None:
                self.attach(found)
            else:
                pool.wait(self)
                self._wait_plainly()
        except ShardRouterError as error:
            self.session.refuse(error)
        finally:
            self._is_acquiring = False
        return self.relay.backend is not None

    def _wait_plainly(self) -> None:
        """Any backend that is like the client may be handed over without asking here."""
        self.relay.waits_plainly = self.relay.waiter is not None and not self.relay.is_particular

    def _best_idle(self, pool: "NodePool") -> "Backend | None":
        """Take an idle backend, if possible one that needs no change of settings."""
        if pool.is_paused or pool.waiters:
            return None
        idle = pool.idle
        for at in range(len(idle) - 1, -1, -1):
            if idle[at].settings is self.relay.settings and not idle[at].keeper.is_over():
                found: Backend = idle.pop(at).keeper
                return found
        while idle:
            found = idle.pop().keeper
            if not found.is_over():
                return found
        return None

    def not_acquired(self) -> int:
        """Say what becomes of the message for which there is no backend now."""
        if self.session.is_over:
            return CLOSED
        return DROPPED if self.session.judge.was_refused() else WAIT

    def hold_input(self) -> None:
        """More has come while the client waits."""
        if self.relay.stream.rest() > MOST_HELD_BYTES and not self._is_input_held:
            self._is_input_held = True
            self.relay.waits_plainly = False
            self.relay.transport.pause_reading()

    def resume_input(self) -> None:
        """The backend takes bytes again."""
        if not self._is_input_held and not self.relay.transport.is_closing():
            self.relay.transport.resume_reading()

    # Attaching

    def attach(self, backend: "Backend") -> None:
        """Take a backend that is free, after it was given this session's settings."""
        relay, wanted = backend.relay, self.relay.settings
        sql, self.prelude = self.prelude, ""
        self.relay.is_particular = self.relay.waits_plainly = False
        is_doubted = monotonic() - relay.idle_since > backend.pool.check_after
        if relay.settings is not wanted:
            sync = sync_sql(residue_of(relay.settings), residue_of(wanted))
            sql = f"{sync}; {sql}" if sync and sql else sync or sql
            backend.replays += 1
        if not sql and not is_doubted:
            self._attached(backend)
            return
        backend.reserved_for = self
        self._reserved = backend
        backend.state = "preparing"
        problems: list[dict[str, str]] = []
        backend.ask(sql, lambda answer: _collect(problems, answer))
        backend.when_quiet(lambda: self._prepared(backend, wanted, problems))

    def _prepared(
        self, backend: "Backend", wanted: SessionState, problems: list[dict[str, str]]
    ) -> None:
        is_mine = backend.reserved_for is self
        backend.reserved_for = None
        self._reserved = None if is_mine else self._reserved
        if problems:
            backend.relay.is_doubtful = True
            backend.give_back()
            if is_mine:
                self._refuse_settings(problems[0], backend)
            return
        backend.relay.settings = wanted
        if is_mine:
            self._attached(backend)
        else:
            backend.give_back()

    def restore(self, backend: "Backend") -> None:
        """Give the attached backend what a RESET took away: the values of the login."""
        relay, wanted = backend.relay, self.relay.settings
        sql = sync_sql(residue_of(relay.settings), residue_of(wanted))
        relay.settings = wanted

        def restored(answer: "OwnAnswer") -> None:
            if answer.error is not None:
                relay.is_doubtful = True
                self._refuse_settings(answer.error, backend)

        backend.ask(sql, restored)

    def _refuse_settings(self, problem: dict[str, str], backend: "Backend") -> None:
        code = problem.get("C", "XX000")
        if self._first is not None:  # the server's own words about what the client asked for
            text = problem.get("M", "the settings of the login are not valid")
            self.fail(StatementRefused(text, sqlstate=code))
            return
        self.session.end_with(
            StatementRefused(
                f"the settings of this session could not be put on a backend: {problem.get('M')}",
                sqlstate=code,
                node=backend.pool.key.node,
                hint="connect again",
            )
        )

    def _attached(self, backend: "Backend") -> None:
        session = self.session
        if session.is_over:
            backend.give_back()
            return
        relay = backend.relay
        backend.state = "attached"
        self.tell_parameters(relay.params)
        relay.client = self.relay
        self.relay.backend = relay
        if session.mode == "session":
            self.relay.keeps = self.relay.is_transparent = True
        if self.relay.is_write_paused:
            relay.transport.pause_reading()
        if self._first is not None:
            self._end_login()
        elif not self._is_acquiring:
            self.go_on()

    def tell_parameters(self, reported: Reported) -> None:
        """Tell the client what is different on this backend, as a server would on a change."""
        if reported is self.relay.params:
            return
        if self.relay.params is not self.session.plane.nothing_reported:
            for name, value in self.relay.params.changes_to(reported):
                self.relay.transport.write(messages.parameter_status(name, value))
        self.relay.params = reported

    # At the login

    @property
    def is_logging_in(self) -> bool:
        return self._first is not None

    async def first_backend(self) -> None:
        """Attach a backend during the login. Raises ShardRouterError."""
        self._first = first = asyncio.get_running_loop().create_future()
        if self.relay.acquire():
            self._first = None
            return
        await first

    def logged_in(self) -> None:
        """From now on the client waits without being asked for more than its turn."""
        if self.session.mode != "session":
            self.relay.waiter = self

    def _end_login(self, error: ShardRouterError | None = None) -> None:
        first, self._first = self._first, None
        if first is None or first.done():
            return
        if error is None:
            first.set_result(None)
        else:
            first.set_exception(error)

    # Going on

    def go_on(self) -> None:
        """Take the messages that had to wait."""
        relay = self.relay
        relay.is_waiting = relay.waits_plainly = False
        if self._is_input_held:
            self._is_input_held = False
            relay.transport.resume_reading()
        if not self.session.is_over:
            relay.process()

    def choose_again(self) -> None:
        """The node that was waited for is no longer the right one, or there is something new."""
        self.waits_for = None
        if self._first is None:
            self.go_on()
        elif self.relay.acquire():
            self._end_login()

    def fail(self, error: ShardRouterError) -> None:
        """There is no backend: refuse the message that waits for one."""
        self._let_go()
        if self._first is not None:
            self._end_login(error)
            return
        self._failure = error
        self.relay.version = 0  # the choice is where the refusal is told
        self.go_on()

    def take_failure(self) -> ShardRouterError | None:
        """Return why the message that is taken again must be refused."""
        failure, self._failure = self._failure, None
        return failure

    def give_up(self) -> None:
        """The session is over."""
        self._let_go()
        if self._first is not None and not self._first.done():
            self._first.cancel()

    def _let_go(self) -> None:
        """Drop the place in the row, and the claim to a backend that is being prepared."""
        self.waits_for = None
        self.session.plane.holding.let_go(self.session)
        self.drop_claim()

    def drop_claim(self) -> None:
        """Let somebody else have the backend that is being prepared for this session."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.reserved_for = None


def residue_of(state: Any) -> Residue:
    """Return a session's state as ``sync_sql`` takes it."""
    return Residue(
        settings=state.settings,
        role=state.role,
        session_authorization=state.session_authorization,
    )


def _collect(problems: list[dict[str, str]], answer: "OwnAnswer") -> None:
    if answer.error is not None:
        problems.append(answer.error)
