"""What a client left in its session is asked again when the question itself is cancelled."""

from types import SimpleNamespace
from typing import Any

import pytest

from shardrouter.proxy.relay.backend import INSPECTION_TRIES, Backend
from shardrouter.proxy.relay.state import Reported
from shardrouter.proxy.relay.tally import Tally
from shardrouter.wire import messages

READY = messages.ready()
CANCELED = messages.error_response("ERROR", "57014", "statement timeout") + READY
REFUSED = messages.error_response("ERROR", "42501", "permission denied") + READY


class Asked:
    """A backend without a server, and the session that it is inspected for."""

    def __init__(self) -> None:
        self.questions = 0
        self.pins: list[str] = []
        self.learnt = 0
        key = SimpleNamespace(node="s0-p", user="app")
        pool: Any = SimpleNamespace(tally=Tally(4), key=key)
        plane: Any = SimpleNamespace(nothing_set=None)
        self.backend = Backend(plane, pool, self, 1, b"key", Reported({}), 1e9)
        self.session: Any = SimpleNamespace(
            is_over=False,
            custom_names=set(),
            relay=SimpleNamespace(is_waiting=False),
            pin=self.pins.append,
            learn=self._learn,
        )
        self.backend._inspect(self.session)

    def write(self, data: bytes) -> None:
        self.questions += 1

    def _learn(self, backend: Backend, residue: object) -> None:
        self.learnt += 1

    def answer(self, *answers: bytes) -> None:
        for answer in answers:
            self.backend.relay.data_received(answer)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def inspected() -> bytes:
    """The answer to an inspection that found nothing."""
    return messages.command_complete("SELECT 0") + READY


@pytest.mark.parametrize("cancelled", range(INSPECTION_TRIES))
def test_a_cancelled_question_is_asked_again(asked: Asked, cancelled: int) -> None:
    """A statement_timeout of the client counts until our own text has switched it off."""
    asked.answer(*[CANCELED] * cancelled, inspected())
    assert (asked.questions, asked.learnt, asked.pins) == (1 + cancelled, 1, [])
    assert not asked.backend.relay.is_doubtful


def test_but_not_for_ever(asked: Asked) -> None:
    """Then nobody else may get the backend: what the client left there is unknown."""
    asked.answer(*[CANCELED] * INSPECTION_TRIES)
    assert (asked.questions, asked.learnt, asked.pins) == (INSPECTION_TRIES, 0, ["unknown state"])
    assert asked.backend.relay.is_doubtful


def test_another_error_is_not_asked_again(asked: Asked) -> None:
    asked.answer(REFUSED)
    assert (asked.questions, asked.learnt, asked.pins) == (1, 0, ["unknown state"])
    assert asked.backend.relay.is_doubtful


def test_nothing_is_asked_for_a_client_that_left(asked: Asked) -> None:
    asked.session.is_over = True
    asked.answer(CANCELED)
    assert (asked.questions, asked.learnt, asked.pins) == (1, 0, [])
