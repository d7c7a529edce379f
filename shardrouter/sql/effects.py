"""Words for what a text of SQL may leave in a session, and for the statements a proxy acts on.

Pure values. The flags say when to ask the server what a session holds (session_inspection); its
answer decides. Too many flags cost a question, one missing lets a client's state leak.
"""

from dataclasses import dataclass
from enum import Enum, Flag, StrEnum, auto


class Effect(Flag):
    """What a text may do to the session beyond its transaction."""

    NONE = 0
    SETTINGS = auto()
    """SET, RESET, set_config, DISCARD ALL, UPDATE pg_settings."""

    UNKNOWN_SETTING = auto()
    """A setting is changed whose name the text does not say. It may be one like ``myapp.tenant``
    that the server does not list, or the seed of random()."""

    OWN_SETTING = auto()
    """SET, RESET or SHOW of a setting of the proxy: not for the server."""

    MAY_PIN = auto()
    """Something that only this backend has: a temporary object, LISTEN, a session advisory lock, a
    cursor WITH HOLD, a PREPARE that is not read."""

    MAY_UNPIN = auto()
    """It may have taken away what MAY_PIN left."""

    STATEMENTS = auto()
    """SQL's PREPARE, EXECUTE, DEALLOCATE, DISCARD ALL."""

    SEQUENCE = auto()
    """lastval, currval or setval: the client counts on what this backend's sequences did."""

    NEXTVAL = auto()
    FOREVER = auto()
    """What the server cannot be asked for and no reset takes away: LOAD, setseed, a named
    connection of dblink. The client needs this backend, and nobody may have it afterwards."""

    BEGIN = auto()
    READ_ONLY_BEGIN = auto()
    SUSPECT = auto()
    """Code or a form that is not read: DO, CALL, EXECUTE, an unknown statement."""


LEAVES_SOMETHING = (
    Effect.SETTINGS
    | Effect.UNKNOWN_SETTING
    | Effect.OWN_SETTING
    | Effect.MAY_PIN
    | Effect.STATEMENTS
    | Effect.SEQUENCE
    | Effect.FOREVER
    | Effect.READ_ONLY_BEGIN
    | Effect.SUSPECT
)
"""Effects no plain statement has."""


class SettingVerb(StrEnum):
    """What is done to a setting of the proxy."""

    SET = "set"
    RESET = "reset"
    SHOW = "show"


class DiscardKind(Enum):
    """What DISCARD names."""

    ALL = b"all"
    PLANS = b"plans"
    SEQUENCES = b"sequences"
    TEMP = b"temp"


@dataclass(frozen=True, slots=True)
class Name:
    """A statement's name, and where it is written, so that another can be put there."""

    value: bytes
    """As Postgres knows it: folded or unquoted, at most 63 bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a text: what a proxy only passes on."""

    start: int
    end: int
    """Of its last token; neither comments around it nor the semicolon belong to it."""

    flags: Effect = Effect.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSetting(Statement):
    """SET, RESET or SHOW of ``shardrouter.*``."""

    verb: SettingVerb
    name: str
    """Lower case, with the prefix."""

    value: str | None = None
    """None is DEFAULT."""

    is_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAll(Statement):
    """RESET ALL: the proxy's own settings of the session are meant too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare(Statement):
    """PREPARE name (types) AS body. The flags are also those of running the body."""

    name: Name
    types: bytes
    """With its parentheses, or nothing."""

    body: bytes
    body_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute(Statement):
    """EXECUTE name, also below EXPLAIN and CREATE TABLE AS. Who knows the prepared text may put
    its flags in the place of SUSPECT."""

    name: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Deallocate(Statement):
    """DEALLOCATE name or ALL."""

    name: Name | None
    """None is ALL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard(Statement):
    """DISCARD."""

    what: DiscardKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Statement):
    """BEGIN or START TRANSACTION with what it says of itself."""

    read_only: bool | None = None
    isolation: str | None = None
    """For example ``repeatable read``."""

    deferrable: bool | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a text may leave in a session."""

    flags: Effect
    statements: tuple[Statement, ...]
    setting_names: tuple[str, ...] = ()
    """Settings named by SET, RESET or set_config, lower case: those of the form ``myapp.tenant``
    are not listed by pg_settings and must be asked for by name."""

    own_setting_unreadable: bool = False
    """A setting of the proxy is named in a form that is not read: to be refused."""

    pins: tuple[str, ...] = ()
    """What the text says it wants to keep on its backend: reasons to show, or to refuse it."""

    @property
    def unknown_setting(self) -> bool:
        """True when a setting is changed whose name the text does not say."""
        return Effect.UNKNOWN_SETTING in self.flags
