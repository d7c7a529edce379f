"""A guard's refusal is taken back, whatever the chunks it comes in, and the backend is free."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from shardrouter.proxy.relay.client_talk import ClientTalk
from shardrouter.proxy.relay.own_answers import OwnAnswer
from shardrouter.proxy.relay.pair import BackendRelay
from shardrouter.proxy.relay.repeating import NOT_OWNED, take_back
from shardrouter.proxy.relay.standing import Standing
from shardrouter.proxy.relay.tally import Tally
from shardrouter.proxy.telemetry.metrics_snapshot import BUCKETS
from shardrouter.sql.plain import PlainTexts
from shardrouter.wire import messages
from shardrouter.wire.codes import FOR_US, Owed, Seen

SLOT: Final = 17
EPOCH: Final = 4
QUERY: Final = messages.query("INSERT INTO orders VALUES (1, 2)")
BATCH: Final = b"".join(
    (
        messages.parse("", "INSERT INTO orders VALUES ($1, 2)"),
        messages.bind("", "", [b"1"]),
        messages.execute(""),
        messages.sync(),
    )
)
ACCEPTED: Final = messages.typed(b"1") + messages.typed(b"2")


def refusal(**changes: Any) -> bytes:
    """Return what a guard says, of a later epoch than the session was sent by."""
    facts = {"slot": SLOT, "epoch": EPOCH + 1, "shard": "s0"} | changes
    error = messages.error_response("ERROR", NOT_OWNED, "not mine")
    detail = b"D" + json.dumps(facts).encode() + b"\0"
    body = error[5:-1] + detail + b"\0"
    return messages.typed(b"E", body)


class Transport:
    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return False


class Scene:
    """A client at work on a backend, which is about to answer."""

    def __init__(self, sent: bytes = QUERY, **plane: Any) -> None:
        given: dict[str, Any] = {"may_learn": True, "repeats": 0, "refresh_topology": list}
        self.plane = SimpleNamespace(**given | plane)
        self.woken = 0
        self.errors = 0
        self.cancels = 0
        self.own: list[OwnAnswer] = []
        self.idle: list[Any] = []
        pool = SimpleNamespace(idle=self.idle, waiters=[], is_shrinking=False)
        self.relay = BackendRelay(self, pool, Transport(), Tally(BUCKETS), True)
        choice = SimpleNamespace(shard=None, slot=SLOT, epoch=EPOCH, least_epoch=0)
        self.session: Any = SimpleNamespace(choice=choice, repeated_at=-1, is_over=False)
        self.session.attachment = SimpleNamespace(choose_again=self._wake)
        standing = Standing(lambda: 0.0)
        self.client = ClientTalk(self.session, Transport(), 1 << 20, standing, PlainTexts())
        self.session.relay = self.client
        self.client.statements = SimpleNamespace(names={}, unnamed=None)
        self.client.backend, self.relay.client = self.relay, self.client
        self.send(sent)

    def send(self, sent: bytes) -> None:
        """Have the client say something, as far as the backend's plan tells of it."""
        self.client.stream.feed(sent)
        owed = {81: Owed.QUERY, 80: Owed.PARSE, 66: Owed.BIND, 69: Owed.EXECUTE, 83: Owed.SYNC}
        while (kind := self.client.stream.next()) in owed:
            self.client.start()
            self.relay.stream.expect(int(owed[kind]))

    def hear(self, said: bytes, cut: int | None = None) -> None:
        for chunk in (said,) if cut is None else (said[:cut], said[cut:]):
            self.relay.data_received(chunk)

    @property
    def told(self) -> bytes:
        sent: bytes = cast("Any", self.client.transport).sent
        return sent

    # As a backend's keeper

    def note(self, flags: int) -> None:
        if flags & Seen.EVENTS:
            events, self.relay.stream.events = self.relay.stream.events, []
            for kind, body in events:
                self._event(kind, body)

    def _event(self, kind: int, body: bytes) -> None:
        if kind == FOR_US + ord("Z"):
            answer = self.own.pop(0)
            answer.then(answer)
        elif kind == ord("E") and not take_back(
            cast("Any", self), messages.read_error_fields(body)
        ):
            self.errors += 1

    def note_own(self, then: Any) -> None:
        self.own.append(OwnAnswer(then, 0.0))

    def is_over(self) -> bool:
        return False

    def unattached(self, flags: int) -> None:
        pass

    def settle(self) -> None:
        raise AssertionError("nothing keeps the client there")

    def _wake(self) -> None:
        self.woken += 1


@pytest.mark.parametrize(
    ("sent", "said"), [(QUERY, refusal()), (BATCH, ACCEPTED + refusal())], ids=["query", "batch"]
)
async def test_nothing_reaches_the_client_in_any_chunks(sent: bytes, said: bytes) -> None:
    whole = said + messages.ready()
    # What is accepted in a batch comes with the error: a server writes both at once.
    first = 1 if sent is QUERY else len(said)
    for cut in [None, *range(first, len(whole))]:
        scene = Scene(sent)
        scene.hear(whole, cut)
        assert (scene.told, scene.errors, scene.plane.repeats) == (b"", 0, 1)
        assert scene.client.stream.data == sent
        assert (scene.client.stream.end, scene.client.is_waiting) == (0, True)
        assert scene.session.choice.least_epoch == EPOCH + 1
        assert scene.client.backend is None
        assert scene.idle == [scene.relay]
        assert scene.relay.stream.owed() == 0
        assert scene.own == []
        assert scene.relay.tally.queries == 0
        await asyncio.sleep(0)
        assert scene.woken == 1


def test_a_batch_of_which_something_was_told_already_sees_the_error() -> None:
    scene = Scene(BATCH)
    scene.hear(ACCEPTED + refusal(), len(ACCEPTED))
    assert (scene.told, scene.errors) == (ACCEPTED + refusal(), 1)


@pytest.mark.parametrize(
    "changes",
    [{"slot": SLOT + 1}, {"epoch": EPOCH}, {"slot": None}, {"epoch": "?"}],
    ids=["another key", "an older guard", "no slot", "no number"],
)
def test_what_no_newer_topology_mends_is_told(changes: dict[str, Any]) -> None:
    scene = Scene()
    whole = refusal(**changes) + messages.ready()
    scene.hear(whole)
    assert (scene.told, scene.errors, scene.plane.repeats) == (whole, 1, 0)


def test_where_nothing_newer_comes_it_is_told() -> None:
    scene = Scene(may_learn=False)
    scene.hear(refusal() + messages.ready())
    assert scene.errors == 1


@pytest.mark.parametrize("fact", ["keeps", "is_waiting"])
def test_who_keeps_the_backend_is_told(fact: str) -> None:
    scene = Scene()
    setattr(scene.client, fact, True)
    scene.relay.data_received(refusal())
    assert (scene.told, scene.errors) == (refusal(), 1)


@pytest.mark.parametrize("fact", ["suspicion", "is_held", "is_doubtful"])
def test_what_is_not_certain_is_told(fact: str) -> None:
    scene = Scene()
    setattr(scene.relay, fact, 1)
    scene.relay.data_received(refusal())
    assert scene.errors == 1


def test_inside_a_transaction_it_is_told() -> None:
    scene = Scene()
    scene.relay.stream.status = ord("T")
    scene.relay.data_received(refusal() + messages.ready(b"E")[:-1])
    assert scene.errors == 1


def test_after_an_answer_it_is_told() -> None:
    scene = Scene()
    scene.send(QUERY)
    answer = messages.command_complete("INSERT 0 1") + messages.ready()
    scene.hear(answer)
    scene.hear(refusal())
    assert (scene.told, scene.errors) == (answer + refusal(), 1)


async def test_once_is_enough() -> None:
    scene = Scene()
    scene.hear(refusal() + messages.ready())
    scene.client.backend, scene.relay.client = scene.relay, scene.client
    scene.client.is_waiting = False
    scene.session.choice.epoch = EPOCH + 1
    scene.send(b"")
    again = refusal(epoch=EPOCH + 2) + messages.ready()
    scene.hear(again)
    assert (scene.told, scene.errors, scene.plane.repeats) == (again, 1, 1)
