"""What lastval() and currval() may tell a client: what it drew from sequences, not what others did.

A client that asks keeps its backend from then on. Before its first question the backend forgets
what others drew there: outside of a transaction at once; inside of one only if the transaction has
written nothing and called no nextval(), as what it drew itself must stand.
"""

from typing import TYPE_CHECKING, Final

from shardrouter.proxy.relay.own_answers import unused
from shardrouter.sql import Effect, Effects
from shardrouter.wire import messages

if TYPE_CHECKING:
    from shardrouter.proxy.relay.session import Session

PIN: Final = "sequence state"
FORGET: Final = "DISCARD SEQUENCES"
FORGET_IF_NOTHING_WRITTEN: Final = (
    "DO LANGUAGE plpgsql 'BEGIN IF pg_catalog.pg_current_xact_id_if_assigned() IS NULL"
    " THEN DISCARD SEQUENCES; END IF; END'"
)


class SequenceState:
    """One session's use of sequences."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._drew_since = -1.0

    def prepare(self, effects: Effects) -> None:
        """Before a statement: if it asks for the first time, have the backend forget others'."""
        session = self._session
        relay = session.relay
        if not effects.flags & Effect.SEQUENCE or relay.keeps:
            return
        backend = relay.backend
        if backend is None:
            session.attachment.prelude = FORGET
            relay.is_particular = True
        elif self._drew_since != backend.idle_since and not backend.stream.owed():
            relay.put(messages.query(FORGET_IF_NOTHING_WRITTEN))
            backend.keeper.expect_own(unused)
            backend.unnamed = None
            session.pin(PIN)

    def note(self, effects: Effects) -> None:
        """The statement is sent now."""
        session = self._session
        if effects.flags & Effect.NEXTVAL:
            self._drew_since = session.relay.backend.idle_since  # one value for each attachment
        if effects.flags & Effect.SEQUENCE:
            session.pin(PIN)
