"""What a session has set and what a client was told: values that are equal are the same object.

The hot path compares by identity: a backend whose settings are the client's needs nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from weakref import WeakValueDictionary

NO_ROLE: Final = "none"
UNSAFE_ENCODINGS: Final = frozenset(
    {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"}
)
"""In these a byte that looks like ASCII may be half of a character."""


class SessionState:
    """Settings in force beyond those of the login, as ``set_config`` takes them."""

    __slots__ = ("__weakref__", "role", "session_authorization", "settings")

    def __init__(
        self, settings: tuple[tuple[str, str], ...], role: str, session_authorization: str
    ) -> None:
        self.settings = settings
        self.role = role
        self.session_authorization = session_authorization


class Reported:
    """The parameters a client or backend was told by ParameterStatus."""

    __slots__ = ("__weakref__", "is_ascii_safe", "standard_strings", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.standard_strings = values.get("standard_conforming_strings") != "off"
        encoding = values.get("client_encoding", "UTF8").upper()
        self.is_ascii_safe = encoding not in UNSAFE_ENCODINGS

    def changes_to(self, other: "Reported") -> Iterable[tuple[str, str]]:
        """Yield what somebody who was told this must be told to know the other."""
        return ((k, v) for k, v in other.values.items() if self.values.get(k) != v)


class States:
    """Makes equal values one object. Those nobody holds any more are forgotten."""

    def __init__(self) -> None:
        self._states: WeakValueDictionary[object, SessionState] = WeakValueDictionary()
        self._reported: WeakValueDictionary[object, Reported] = WeakValueDictionary()

    def state(
        self, settings: Iterable[tuple[str, str]], role: str, session_authorization: str
    ) -> SessionState:
        """Return the state of these settings."""
        ordered = tuple(sorted(settings))
        key = (ordered, role, session_authorization)
        found = self._states.get(key)
        if found is None:
            found = SessionState(*key)
            self._states[key] = found
        return found

    def reported(self, values: Mapping[str, str]) -> Reported:
        """Return these parameters."""
        key = frozenset(values.items())
        found = self._reported.get(key)
        if found is None:
            found = Reported(dict(values))
            self._reported[key] = found
        return found

    def with_change(self, old: Reported, name: str, value: str) -> Reported:
        """Return parameters of which one has changed."""
        return self.reported({**old.values, name: value})
