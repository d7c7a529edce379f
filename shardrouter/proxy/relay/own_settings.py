"""The proxy's own settings of a session: ``shardrouter.shard``, ``key``, ``key_type``, ``role``,
``token``, ``target_session_attrs`` and ``new_keys``.

By SET, RESET and SHOW, by startup parameters and in ``options``. Values are checked when they are
set; what is wrong is refused by name.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shardrouter.errors import SettingRefused
from shardrouter.routing import Token
from shardrouter.topology import KeyType, TableKind, Topology, parse_key, slot_of

if TYPE_CHECKING:
    from shardrouter.proxy.relay.choice import Choice

PREFIX: Final = "shardrouter."
NAMES: Final = ("key", "key_type", "role", "shard", "target_session_attrs", "token")
ROLES: Final = ("primary", "replica", "auto")
ROLE_OF_ATTRS: Final[Mapping[str, str]] = {
    "read-write": "primary",
    "primary": "primary",
    "read-only": "replica",
    "standby": "replica",
    "prefer-standby": "replica",
    "any": "auto",
}
"""What libpq's ``target_session_attrs`` ask for."""


class OwnSettings:
    """The values of one session. ``choice`` is told what they mean."""

    def __init__(self, choice: "Choice") -> None:
        self._choice = choice
        self._values: dict[str, str] = {}
        self._startup: dict[str, str] = {}

    def start(self, values: Mapping[str, str], topology: Topology) -> None:
        """Take those of the login. Raises SettingRefused and what the topology says."""
        for name, value in values.items():
            self.set(name, value, topology)
        self._startup = dict(self._values)

    def set(self, name: str, value: str | None, topology: Topology) -> None:
        """Set one, or reset it to what the login said (None). ``name`` has the prefix.

        Raises SettingRefused, UnknownShard, ShardKeyInvalid, TokenInvalid; then nothing changed.
        """
        short = name.removeprefix(PREFIX)
        if short not in NAMES:
            raise SettingRefused(
                f'unrecognized configuration parameter "{name}"',
                sqlstate="42704",
                hint=f"the settings of the proxy are {', '.join(PREFIX + n for n in NAMES)}",
            )
        if value is None:
            value = self._startup.get(short)
        before = dict(self._values)
        self._put(short, value)
        try:
            self._apply(topology)
        except Exception:
            self._values = before
            self._apply(topology)
            raise

    def values(self) -> Mapping[str, str]:
        """Return what is set now."""
        return dict(self._values)

    def put_back(self, values: Mapping[str, str], topology: Topology) -> None:
        """Set what was set before."""
        self._values = dict(values)
        self._apply(topology)

    def reset_all(self, topology: Topology) -> None:
        """Return to what the login said."""
        self._values = dict(self._startup)
        self._apply(topology)

    def show(self, name: str) -> str:
        """Return the value of one but the token. Raises SettingRefused."""
        short = name.removeprefix(PREFIX)
        if short not in NAMES:
            self.set(name, None, None)  # type: ignore[arg-type]  # raises
        if short == "role":
            return self._choice.role
        return self._values.get(short, "")

    def _put(self, short: str, value: str | None) -> None:
        if value is None or value == "":
            self._values.pop(short, None)
        else:
            self._values[short] = value
        if short in ("shard", "key") and value:
            self._values.pop("key" if short == "shard" else "shard", None)
        if short in ("role", "target_session_attrs") and value:
            self._values.pop("target_session_attrs" if short == "role" else "role", None)

    def _apply(self, topology: Topology) -> None:
        values, choice = self._values, self._choice
        role = self._role()
        shard = values.get("shard")
        if shard is not None:
            topology.shard(shard)  # raises UnknownShard
        slot = None
        if "key" in values:
            slot = slot_of_text(values["key"], values.get("key_type"), topology)
        token = Token.from_text(values["token"]) if "token" in values else None
        choice.session.plane.queries.settle(choice.session)
        choice.role, choice.shard, choice.slot, choice.problem = role, shard, slot, None  # type: ignore[assignment]
        if token is not None:
            choice.token = choice.token.merged(token)
            del values["token"]  # what was merged is shown by SHOW
        choice.changed()

    def _role(self) -> str:
        if "target_session_attrs" in self._values:
            return _one_of(
                "target_session_attrs", self._values["target_session_attrs"], ROLE_OF_ATTRS
            )
        default = self._choice.session.plane.settings.proxy_session.role
        role = self._values.get("role", default)
        return _one_of("role", role, {name: name for name in ROLES})


def _one_of(short: str, value: str, allowed: Mapping[str, str]) -> str:
    found = allowed.get(value.lower())
    if found is None:
        raise SettingRefused(
            f'invalid value for parameter "{PREFIX}{short}": "{value[:60]}"',
            hint=f"available values: {', '.join(allowed)}",
        )
    return found


def slot_of_text(text: str, type_name: str | None, topology: Topology) -> int:
    """Return the slot of a key that came as text. Raises SettingRefused, ShardKeyInvalid.

    Its type is that of the tables' keys; where they differ, or none is registered, it must be
    said, as 42 and '42' are different keys.
    """
    if type_name is not None:
        try:
            kind = KeyType(type_name.lower())
        except ValueError:
            raise SettingRefused(
                f'invalid value for parameter "{PREFIX}key_type": "{type_name[:60]}"',
                hint=f"available values: {', '.join(KeyType)}",
            ) from None
        return slot_of((kind,), (parse_key(kind, text),), topology.slots)
    kinds = {
        table.key[0].type
        for table in topology.tables
        if table.kind is TableKind.SHARDED and len(table.key) == 1
    }
    if not kinds:
        raise _untyped("no table with a key of one column is registered")
    slots = {slot_of((kind,), (parse_key(kind, text),), topology.slots) for kind in sorted(kinds)}
    if len(slots) > 1:
        raise _untyped(f"the tables have keys of types {', '.join(sorted(kinds))}")
    return slots.pop()


def _untyped(why: str) -> SettingRefused:
    return SettingRefused(
        f"the type of the key is not known: {why}",
        hint=f"SET {PREFIX}key_type = 'int8' first, or name the shard with SET {PREFIX}shard",
    )
