"""From a key to its shard, without any connection.

Hypothesis: two dict or tuple look-ups and one hash, so far below a microsecond compiled; the pure
hash is some thirty steps of Python arithmetic, about two microseconds.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any, Final
from uuid import UUID

from benchmarks.library.stage import Stage, open_stage
from benchmarks.machine import build_name
from benchmarks.measure import Contender, check, run_rounds, whole_loop
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter import Router
from shardrouter.topology import KeyColumn, KeyType, Topology, infer_key_types, key_slot, slot_sql

BOUNDS_US: Final = {"compiled": 1.0, "pure": 4.0}
INT: Final = "key -> slot -> shard, int"
SHARD_OF: Final = "router.shard_of(int)"
ROUNDS: Final = 60
CALLS: Final = 5000
MICROSECONDS: Final = 1e6
CHECKED: Final = 200  # keys of each kind whose slot Postgres computes as well


def run(effort: Effort) -> list[Row]:
    """Measure each kind of key, and ``router.shard_of`` with its lease check."""
    kinds = _kinds(Random(2013))
    with open_stage(shards=2) as stage:
        _check_slots(stage, kinds)
        with Router.from_config(stage.settings_path) as router:
            contenders = [
                Contender(name, whole_loop(_path(stage.topology, keys)))
                for name, keys in kinds.items()
            ]
            contenders.append(Contender(SHARD_OF, whole_loop(_shard_of(router, kinds[INT]))))
            rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
    bounds = {INT: BOUNDS_US[build_name()]}
    return [
        Row.of(c.name, "us", rounds.of(c.name, MICROSECONDS), bounds.get(c.name))
        for c in contenders
    ]


def _kinds(random: Random) -> dict[str, list[Any]]:
    """Return keys of every kind, drawn from wide ranges."""
    ints = [random.randrange(-(1 << 63), 1 << 63) for _ in range(CALLS)]
    texts = [f"customer-{value & 0xFFFFFFFF:08x}" for value in ints]
    uuids = [UUID(int=random.getrandbits(128)) for _ in range(CALLS)]
    return {
        INT: ints,
        "key -> slot -> shard, text of 17 characters": texts,
        "key -> slot -> shard, uuid": uuids,
        "key -> slot -> shard, (int, text)": list(zip(ints, texts, strict=True)),
    }


def _path(topology: Topology, keys: Sequence[Any]) -> Callable[[int], None]:
    def loop(calls: int) -> None:
        slots, owner = topology.slots, topology.owner
        for key in islice(keys, calls):
            owner(key_slot(key, slots))

    return loop


def _shard_of(router: Router, keys: Sequence[int]) -> Callable[[int], None]:
    def loop(calls: int) -> None:
        shard_of = router.shard_of
        for key in islice(keys, calls):
            shard_of(key)

    return loop


def _check_slots(stage: Stage, kinds: dict[str, list[Any]]) -> None:
    """Postgres itself says which slots these keys have."""
    slots = stage.topology.slots
    with stage.fleet.primary("s0").connect("app") as connection:
        for name, keys in kinds.items():
            for key in islice(keys, CHECKED):
                query, values = _asked(key, slots)
                row = connection.execute(query.encode(), values).fetchone()
                check(row == (key_slot(key, slots),), f"{name}: slot of {key!r} is {row}")


def _asked(key: Any, slots: int) -> tuple[str, list[Any]]:
    values = list(key) if isinstance(key, tuple) else [key]
    types = infer_key_types(values)
    columns = [KeyColumn(f"k{i}", key_type) for i, key_type in enumerate(types)]
    casts = ", ".join(_casts(columns))
    return f"SELECT {slot_sql(columns, slots)} FROM (SELECT {casts}) AS t", values


def _casts(columns: Sequence[KeyColumn]) -> Iterator[str]:
    for column in columns:
        kind = "text" if column.type is KeyType.TEXT else str(column.type)
        yield f"%s::{kind} AS {column.name}"
