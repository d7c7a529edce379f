"""Turn key values into slots, and refuse by name what has no slot.

Pure: values in, slots out. ``hashing`` does the arithmetic; this file knows which Python values
stand for which column types and where Postgres would hash something else than we can see.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from shardrouter.errors import ShardKeyInvalid, ShardKeyMissing
from shardrouter.topology.hashing import bytes_hash, bytes_slot, combine_hashes, int_hash, int_slot
from shardrouter.topology.ids import Slot
from shardrouter.topology.table import KeyType

_DAY_ZERO: Final = date(2000, 1, 1).toordinal()
_NAIVE_ZERO: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - of the type without time zone
_UTC_ZERO: Final = datetime(2000, 1, 1, tzinfo=UTC)

_INT_BITS: Final[Mapping[KeyType, int]] = {KeyType.INT2: 16, KeyType.INT4: 32, KeyType.INT8: 64}

_BY_PYTHON_TYPE: Final[Mapping[type, KeyType]] = {
    int: KeyType.INT8,
    str: KeyType.TEXT,
    UUID: KeyType.UUID,
    date: KeyType.DATE,
}

_PYTHON_TYPES: Final[Mapping[KeyType, str]] = {
    KeyType.INT2: "an int",
    KeyType.INT4: "an int",
    KeyType.INT8: "an int",
    KeyType.TEXT: "a str",
    KeyType.VARCHAR: "a str",
    KeyType.UUID: "a uuid.UUID",
    KeyType.DATE: "a datetime.date",
    KeyType.TIMESTAMP: "a datetime without time zone",
    KeyType.TIMESTAMPTZ: "a datetime with time zone",
}


def key_slot(key: object, slots: int) -> Slot:
    """Return the slot of a key: one value, or a tuple of values for a composite key.

    The types are those of the Python values (``infer_key_types``). ``slots`` is the slot count
    of the fleet, a power of two. Raises ShardKeyMissing for None, ShardKeyInvalid for a value
    that has no slot.
    """
    if type(key) is int:
        try:
            return Slot(int_slot(key, slots))
        except OverflowError:
            raise _out_of_range(key, KeyType.INT8) from None
    if type(key) is str:
        return Slot(bytes_slot(_text_bytes(key), slots))
    if type(key) is UUID:
        return Slot(bytes_slot(key.bytes, slots))
    values = key if isinstance(key, tuple) else (key,)
    return slot_of(infer_key_types(values), values, slots)


def slot_of(types: Sequence[KeyType], values: Sequence[object], slots: int) -> Slot:
    """Return the slot of the values of the key columns, in the order of the key.

    ``slots`` is the slot count of the fleet, a power of two. Raises ShardKeyMissing for None or
    too few values, ShardKeyInvalid for a value its column type does not take.
    """
    if len(values) != len(types):
        kind = ShardKeyMissing if len(values) < len(types) else ShardKeyInvalid
        raise kind(
            f"the shard key has {len(types)} column(s) and {len(values)} value(s) were given",
            hint="give one value for each key column, in the order of the key",
        )
    row = 0
    for key_type, value in zip(types, values, strict=True):
        row = combine_hashes(row, _HASHES[key_type](value, key_type))
    return Slot(row & (slots - 1))


def infer_key_types(values: Iterable[object]) -> tuple[KeyType, ...]:
    """Return the column types that the Python types of the values stand for.

    int is INT8, str TEXT, UUID UUID, date DATE, datetime TIMESTAMP or, with a time zone,
    TIMESTAMPTZ. Raises ShardKeyMissing for None or no values, ShardKeyInvalid for other types.
    """
    types = tuple(_infer(value) for value in values)
    if not types:
        raise ShardKeyMissing(hint="give the value of the shard key")
    return types


def _infer(value: object) -> KeyType:
    exact = _BY_PYTHON_TYPE.get(type(value))
    if exact is not None:
        return exact
    match value:
        case None:
            raise _missing()
        case bool() | Enum():
            pass
        case int():
            return KeyType.INT8
        case str():
            return KeyType.TEXT
        case UUID():
            return KeyType.UUID
        case datetime():
            return KeyType.TIMESTAMP if value.tzinfo is None else KeyType.TIMESTAMPTZ
        case date():
            return KeyType.DATE
    raise ShardKeyInvalid(f"a value of type {_type_name(value)} has no slot", hint=_advice(value))


def _hash_int(value: object, key_type: KeyType) -> int:
    # The exact type first: to ask Enum takes as long as the rest.
    if type(value) is not int and (not isinstance(value, int) or isinstance(value, bool | Enum)):
        raise _mismatch(value, key_type)
    limit = 1 << (_INT_BITS[key_type] - 1)
    if not -limit <= value < limit:
        raise _out_of_range(value, key_type)
    return int_hash(value)


def _hash_text(value: object, key_type: KeyType) -> int:
    if type(value) is not str and (not isinstance(value, str) or isinstance(value, Enum)):
        raise _mismatch(value, key_type)
    return bytes_hash(_text_bytes(value))


def _text_bytes(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise ShardKeyInvalid(
            f"the shard key is not valid Unicode at character {error.start}: a lone surrogate",
            hint="Postgres cannot store this text: decode the input as UTF-8 first",
        ) from None
    if b"\0" in data:
        raise ShardKeyInvalid(
            f"the shard key has a NUL character at byte {data.index(0)}",
            hint="Postgres cannot store NUL in text: remove it, or hash an encoded form",
        )
    return data


def _hash_uuid(value: object, key_type: KeyType) -> int:
    if isinstance(value, UUID):
        return bytes_hash(value.bytes)
    if isinstance(value, str) and not isinstance(value, Enum):
        try:
            parsed = UUID(value)
        except ValueError:
            parsed = None
        if parsed is not None and str(parsed) == value.lower():
            return bytes_hash(parsed.bytes)
        raise ShardKeyInvalid(
            f"{value!r:.60} is not a uuid in its canonical form",
            hint="pass a uuid.UUID, or text such as 550e8400-e29b-41d4-a716-446655440000",
        )
    raise _mismatch(value, key_type)


def _hash_date(value: object, key_type: KeyType) -> int:
    # A datetime is a date in Python, but Postgres would hash its day only.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _mismatch(value, key_type)
    return int_hash(value.toordinal() - _DAY_ZERO)


def _hash_timestamp(value: object, key_type: KeyType) -> int:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise _mismatch(value, key_type)
    since = value - _NAIVE_ZERO
    return int_hash((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)


def _hash_timestamptz(value: object, key_type: KeyType) -> int:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise _mismatch(value, key_type)
    since = value - _UTC_ZERO
    return int_hash((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)


_HASHES: Final[Mapping[KeyType, Callable[[Any, KeyType], int]]] = {
    KeyType.INT2: _hash_int,
    KeyType.INT4: _hash_int,
    KeyType.INT8: _hash_int,
    KeyType.TEXT: _hash_text,
    KeyType.VARCHAR: _hash_text,
    KeyType.UUID: _hash_uuid,
    KeyType.DATE: _hash_date,
    KeyType.TIMESTAMP: _hash_timestamp,
    KeyType.TIMESTAMPTZ: _hash_timestamptz,
}


def _missing() -> ShardKeyMissing:
    return ShardKeyMissing(
        "the shard key is NULL",
        hint="give every key column a value, and declare the columns NOT NULL",
    )


def _out_of_range(value: int, key_type: KeyType) -> ShardKeyInvalid:
    bits = _INT_BITS[key_type]
    return ShardKeyInvalid(
        f"the shard key {_short(value)} does not fit into {key_type}",
        hint=f"{key_type} goes from -2^{bits - 1} to 2^{bits - 1} - 1",
    )


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**40 else f"of {value.bit_length()} bits"


def _mismatch(value: object, key_type: KeyType) -> ShardKeyInvalid | ShardKeyMissing:
    if value is None:
        return _missing()
    wanted = _PYTHON_TYPES[key_type]
    return ShardKeyInvalid(
        f"a shard key of type {key_type} is {wanted}, not {_described(value)}",
        hint=f"pass {wanted}",
    )


def _described(value: object) -> str:
    if not isinstance(value, datetime):
        return f"a value of type {_type_name(value)}"
    zone = "without" if value.utcoffset() is None else "with"
    return f"a datetime {zone} time zone"


def _type_name(value: object) -> str:
    return "Enum" if isinstance(value, Enum) else type(value).__name__


def _advice(value: object) -> str:
    return _ADVICE.get(
        _type_name(value),
        "keys are int, str, uuid.UUID, date or datetime; a composite key is a tuple of them",
    )


_ADVICE: Final[Mapping[str, str]] = {
    "bool": "a bool has two values, which is no key: shard by another column",
    "float": "Postgres does not hash floats as they print: shard by an integer or text column",
    "Decimal": "equal numerics print differently: shard by an integer or text column",
    "bytes": "decode the bytes to text, or shard by a uuid or integer column",
    "Enum": "enum values hash differently on every shard: pass .value, and shard by text or int",
    "list": "a composite key is a tuple",
    "int64": "this is a numpy number: pass int(key)",
}
