"""How many queries each slot had through this worker, by the keys that sessions named.

The hot path counts the answers of each session anyway: here they are put down to a slot, now and
then and when the session names another key, so that no query costs anything more.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shardrouter.topology import Slot

if TYPE_CHECKING:
    from shardrouter.proxy.relay.session import Session


class SlotQueries:
    """The queries of one worker. Belongs to its event loop."""

    def __init__(self, sessions: "Mapping[int, Session]") -> None:
        self._sessions = sessions
        self._queries: Counter[Slot] = Counter()

    def settle(self, session: "Session") -> None:
        """Put down what was answered since the last time, before the key changes or is gone."""
        choice, queries = session.choice, session.relay.queries
        if choice.slot is not None and queries != choice.queries:
            self._queries[Slot(choice.slot)] += queries - choice.queries
        choice.queries = queries

    def take(self) -> Mapping[Slot, int]:
        """Return the queries since the last time, by slot."""
        for session in self._sessions.values():
            self.settle(session)
        taken, self._queries = self._queries, Counter()
        return taken
