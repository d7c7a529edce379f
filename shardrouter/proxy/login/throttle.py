"""Decide how long a proof must wait before it is looked at, so that passwords cannot be guessed.

Pure. Failures fill a vessel for each address and one for each user, which empties at the allowed
rate; where it is full, proofs wait for room. An address that has logged in as the user before is
not held up by what others try in the user's name: else anybody could lock a service out.
"""

import ipaddress
from collections import OrderedDict
from typing import Any, Final

MOST_KEYS: Final = 20_000  # addresses, users: the longest unused make room
_IPV6_PREFIX: Final = 64  # one subscriber has at least as many addresses


class Throttle:
    """Counts the failures of one worker; ``failures_a_minute`` is its share."""

    def __init__(self, failures_a_minute: int) -> None:
        self.failures_a_minute = failures_a_minute
        self._most = float(failures_a_minute)
        self._per_second = failures_a_minute / 60
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._friends: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_seconds(self, address: str, user: str, now: float) -> float:
        """Return how long a proof has to wait; 0: look at it now.

        Race: ask again after the wait, and look at the proof without a pause in between: others
        that waited as long may have failed first.
        """
        place = _place(address)
        wait = self._until_room("address " + place, now)
        if (place, user) not in self._friends:
            wait = max(wait, self._until_room("user " + user, now))
        return wait

    def failed(self, address: str, user: str, now: float) -> None:
        """Count a wrong proof."""
        place = _place(address)
        self._friends.pop((place, user), None)
        for key in ("address " + place, "user " + user):
            self._levels[key] = (self._level(key, now) + 1, now)
            _keep_newest(self._levels, key)

    def succeeded(self, address: str, user: str) -> None:
        """Remember where the user comes from."""
        friend = (_place(address), user)
        self._friends[friend] = None
        _keep_newest(self._friends, friend)

    def _until_room(self, key: str, now: float) -> float:
        excess = self._level(key, now) - self._most + 1
        # Rounding must not leave a wait that is too short to change anything.
        return max(0.001, excess / self._per_second) if excess > 1e-6 else 0.0

    def _level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - at) * self._per_second)


def _place(address: str) -> str:
    """Return what counts as one place: an IPv4 address, an IPv6 network, or the Unix socket."""
    if ":" not in address:
        return address
    numeric = ipaddress.IPv6Address(address.partition("%")[0])
    if numeric.ipv4_mapped is not None:
        return str(numeric.ipv4_mapped)
    return str(ipaddress.IPv6Network((numeric, _IPV6_PREFIX), strict=False).network_address)


def _keep_newest(kept: OrderedDict[Any, Any], key: object) -> None:
    kept.move_to_end(key)
    while len(kept) > MOST_KEYS:
        kept.popitem(last=False)
